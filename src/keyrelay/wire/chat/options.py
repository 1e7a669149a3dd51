"""What a caller says of tools, of the answer's form and of thinking, in the canonical form."""

from typing import get_args

from keyrelay.core.conversation import Effort, Format, Reasoning, Tool, ToolChoice
from keyrelay.core.errors import CallerError
from keyrelay.wire.chat.shapes import AllowedTool, ChatBody, ChoiceShape, CustomShape, FunctionShape, Named, ToolShape
from keyrelay.wire.parts import raw_text

_EFFORTS: dict[str, Effort] = {effort: effort for effort in get_args(Effort)}


def read_tools(body: ChatBody, left_out: dict[str, None]) -> tuple[Tool, ...]:
    """Functions and custom tools; tools of other kinds are named in `left_out`."""
    tools = []
    for index, shape in enumerate(body.tools or ()):
        tool = _tool(shape, f"tools[{index}]")
        if tool is None:
            left_out[f"tools[{index}]: {shape.type}"] = None
        else:
            tools.append(tool)
    tools += [_function(shape, "") for shape in body.functions or ()]
    return tuple(tools)


def _tool(shape: ToolShape, where: str) -> Tool | None:
    cache = shape.cache_control.word if shape.cache_control is not None else ""
    custom = shape.custom
    if shape.type == "custom" and custom is None and shape.name:  # as the Responses dialect has it
        custom = CustomShape(name=shape.name, description=shape.description, format=shape.format)
    if shape.type == "custom" and custom is not None:
        return Tool(
            name=custom.name,
            description=custom.description or "",
            custom=True,
            grammar=raw_text(custom.format),
            cache=cache,
        )
    if shape.type != "function":
        return None
    if shape.function is not None:
        return _function(shape.function, cache)
    if not shape.name:
        where += ".function"
        raise CallerError(400, f"Missing required field '{where}'.", param=where, code="missing_field")
    flat = FunctionShape(shape.name, shape.description, shape.parameters, shape.strict)
    return _function(flat, cache)


def _function(shape: FunctionShape, cache: str) -> Tool:
    return Tool(
        name=shape.name,
        description=shape.description or "",
        schema=raw_text(shape.parameters),
        strict=shape.strict,
        cache=cache,
    )


def read_tool_choice(body: ChatBody, left_out: dict[str, None]) -> ToolChoice | None:
    """Whether tools are called, in every form; a caller of legacy functions can be told of one call only."""
    parallel = False if legacy_functions(body) else body.parallel_tool_calls
    choice = body.tool_choice if body.tool_choice is not None else body.function_call
    if choice is None:
        return None if parallel is None else ToolChoice(parallel=parallel)
    if isinstance(choice, str):
        return _worded(choice, "tool_choice" if body.tool_choice is not None else "function_call", parallel=parallel)
    if isinstance(choice, Named):
        return ToolChoice(mode="required", names=(choice.name,), parallel=parallel)
    return _shaped(choice, left_out, parallel=parallel)


def legacy_functions(body: ChatBody) -> bool:
    """Whether the caller speaks of `functions`, as it was done before there were tools."""
    return bool(body.functions) and not body.tools


def _worded(word: str, where: str, *, parallel: bool | None) -> ToolChoice:
    match word:
        case "auto" | "none" | "required":
            return ToolChoice(mode=word, parallel=parallel)
        case "any":  # Mistral's word
            return ToolChoice(mode="required", parallel=parallel)
        case _:
            message = f"Invalid value for '{where}': expected 'auto', 'none', 'required' or an object."
            raise CallerError(400, message, param=where, code="invalid_value")


def _shaped(choice: ChoiceShape, left_out: dict[str, None], *, parallel: bool | None) -> ToolChoice | None:
    allowed = choice.allowed_tools
    if choice.type == "allowed_tools" and allowed is not None:
        names = tuple(name for tool in allowed.tools if (name := _name(tool)))
        return ToolChoice(mode="required" if allowed.mode == "required" else "auto", names=names, parallel=parallel)
    name = _name(choice)
    if name:
        return ToolChoice(mode="required", names=(name,), parallel=parallel)
    if choice.type in {"function", "custom"}:
        where = f"tool_choice.{choice.type}.name"
        raise CallerError(400, f"Missing required field '{where}'.", param=where, code="missing_field")
    left_out[f"tool_choice: {choice.type}"] = None
    return None if parallel is None else ToolChoice(parallel=parallel)


def _name(named: AllowedTool | ChoiceShape) -> str:
    inner = named.function or named.custom
    return inner.name if inner is not None else ""


def read_format(body: ChatBody, left_out: dict[str, None]) -> Format | None:
    """What the answer's text has to be."""
    shape = body.response_format
    if shape is None or shape.type == "text":
        return None
    schema = shape.json_schema
    if shape.type == "json_schema" and schema is not None:
        return Format(
            schema=raw_text(schema.schema),
            name=schema.name,
            description=schema.description or "",
            strict=schema.strict,
        )
    if shape.type == "json_object":
        return Format()
    if shape.type == "json_schema":
        where = "response_format.json_schema"
        raise CallerError(400, f"Missing required field '{where}'.", param=where, code="missing_field")
    left_out[f"response_format: {shape.type}"] = None
    return None


def read_reasoning(body: ChatBody) -> Reasoning | None:
    """How much to think: OpenAI's `reasoning_effort`, OpenRouter's `reasoning`, DeepSeek's `thinking`."""
    effort = _effort(body.reasoning_effort, "reasoning_effort")
    budget = shown = None
    if body.reasoning is not None:
        effort = effort or _effort(body.reasoning.effort, "reasoning.effort")
        budget = body.reasoning.max_tokens
        shown = None if body.reasoning.exclude is None else not body.reasoning.exclude
        if body.reasoning.enabled is False:
            effort = "none"
    if body.thinking is not None:
        budget = body.thinking.budget_tokens if budget is None else budget
        if body.thinking.type == "disabled":
            effort = "none"
    if effort is None and budget is None and shown is None:
        return None
    return Reasoning(effort=effort, budget_tokens=budget, shown=shown)


def _effort(word: str | None, where: str) -> Effort | None:
    if word is None or word in _EFFORTS:
        return _EFFORTS.get(word or "")
    words = ", ".join(_EFFORTS)
    raise CallerError(400, f"Invalid value for '{where}': expected one of {words}.", param=where, code="invalid_value")

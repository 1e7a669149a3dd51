"""A conversation, written as a request to `generateContent`."""

import re

import msgspec

from keyrelay.core.conversation import Conversation, Reasoning, Tool, ToolChoice
from keyrelay.core.requests import CallRequest
from keyrelay.wire.dialects import Target, UntranslatableError, Written
from keyrelay.wire.gemini import shapes
from keyrelay.wire.gemini.common import DIALECT, said
from keyrelay.wire.gemini.models import PLACEHOLDER_SIGNATURE, ModelRules, rules_for
from keyrelay.wire.gemini.provider_contents import contents, system_instruction
from keyrelay.wire.parts import lowered_tool

MAX_STOP_SEQUENCES = 5

_DROPPABLE = ("temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty")
_SETTINGS = {
    name: field.name
    for field in msgspec.structs.fields(shapes.GenerationConfig)
    if field.name in _DROPPABLE
    for name in (field.name, field.encode_name)
}
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
_TIERS = {"flex": "flex", "priority": "priority", "standard": "standard", "default": "standard"}
_encoder = msgspec.json.Encoder()
_turns = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_CALL = re.compile(rb'"function(?:Call|_call)"')
_CALLS = frozenset({"functionCall", "function_call"})
_SIGNATURES = frozenset({"thoughtSignature", "thought_signature"})
_SIGNATURE = msgspec.Raw(_encoder.encode(PLACEHOLDER_SIGNATURE))


def write_request(conversation: Conversation, target: Target) -> Written:
    """The body for a provider. Raise UntranslatableError for content that it cannot be given."""
    rules = rules_for(target.model)
    _check(conversation, rules)
    left_out: list[str] = []
    system, turns = system_instruction(conversation), contents(conversation, rules, left_out)
    if not turns:  # Gemini insists on a turn of the user's
        system, turns = [], [shapes.Content(role="user", parts=system or [shapes.Part(text=" ")])]
    config = _config(conversation, rules, target, left_out)
    body = shapes.Body(
        contents=turns,
        system_instruction=shapes.Content(parts=system) if system else None,
        tools=_tools(conversation.tools, left_out),
        tool_config=_tool_config(conversation, left_out),
        generation_config=None if config == shapes.GenerationConfig() else config,
        service_tier=_tier(conversation.tier, left_out),
    )
    left_out += [name for name in ("user", "cache_key") if getattr(conversation, name)]
    return Written(body=_encoder.encode(body), left_out=tuple(dict.fromkeys(left_out)))


def passed_request(request: CallRequest, target: Target) -> Written:
    """The caller's own bytes; only calls without a signature get a placeholder where the model insists on one."""
    body = request.body
    if _CALL.search(body) and rules_for(target.model).signs and "contents" in request.fields:
        signed = _signed(request.fields["contents"])
        if signed is not None:
            body = _encoder.encode({**request.fields, "contents": signed})
    return Written(body=body)


def _signed(raw: msgspec.Raw) -> list[dict[str, msgspec.Raw]] | None:
    """The turns with a signature on the first call of each; None when nothing is missing, or nothing can be read."""
    try:
        turns = _turns.decode(raw)
        changed = [_sign_turn(turn) for turn in turns]
    except msgspec.DecodeError:
        return None
    return turns if any(changed) else None


def _sign_turn(turn: dict[str, msgspec.Raw]) -> bool:
    parts = _turns.decode(turn.get("parts", msgspec.Raw(b"[]")))
    first = next((part for part in parts if not _CALLS.isdisjoint(part)), None)
    if first is None or not _SIGNATURES.isdisjoint(first):
        return False
    first["thoughtSignature"] = _SIGNATURE
    turn["parts"] = msgspec.Raw(_encoder.encode(parts))
    return True


def _check(conversation: Conversation, rules: ModelRules) -> None:
    if conversation.answers > 1:
        raise UntranslatableError("answers", "one answer at a time is translated")
    if conversation.format is not None and conversation.tools and not rules.json_with_tools:
        raise UntranslatableError("format", "this model does not answer in JSON while it has tools")


def _config(
    conversation: Conversation, rules: ModelRules, target: Target, left_out: list[str]
) -> shapes.GenerationConfig:
    sampling, most = conversation.sampling, target.max_output_tokens
    bound = conversation.max_output_tokens
    config = shapes.GenerationConfig(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        seed=sampling.seed,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        max_output_tokens=min(bound, most) if bound is not None and most else bound,
        stop_sequences=list(conversation.stop[:MAX_STOP_SEQUENCES]) or None,
        thinking_config=_thinking(conversation, rules, target, left_out),
    )
    if conversation.format is not None:
        config.response_mime_type = "application/json"
        if conversation.format.schema:
            config.response_json_schema = msgspec.Raw(conversation.format.schema.encode())
    if len(conversation.stop) > MAX_STOP_SEQUENCES:
        left_out.append("stop")
    left_out += [name for name in ("logprobs", "top_logprobs") if getattr(sampling, name)]
    for dropped in target.quirks.drop:
        name = _SETTINGS.get(dropped)
        if name is not None and getattr(config, name) is not None:
            setattr(config, name, None)
            left_out.append(name)
    return config


def _shown(wanted: Reasoning | None, target: Target) -> Reasoning | None:
    """What is wanted of thinking, to be shown where other dialects show it.

    Gemini alone shows thoughts only to those who ask to see them; in other dialects asking for them is enough, and
    nobody has to ask in OpenAI's, where providers show what there is.
    """
    if target.asked_in in {"", DIALECT} or (wanted is not None and wanted.shown is not None):
        return wanted
    if wanted is None:
        return Reasoning(shown=True) if target.asked_in == "openai" else None
    thinks = wanted.effort not in {None, "none"} or bool(wanted.budget_tokens)
    return msgspec.structs.replace(wanted, shown=True) if thinks else wanted


def _thinking(
    conversation: Conversation, rules: ModelRules, target: Target, left_out: list[str]
) -> shapes.ThinkingConfig | None:
    wanted = _shown(conversation.reasoning, target)
    if wanted is None:
        return None
    if rules.thinking == "none":
        if wanted.effort not in {None, "none"} or wanted.budget_tokens:
            left_out.append("reasoning")
        return None
    config = shapes.ThinkingConfig(include_thoughts=wanted.shown)
    if rules.thinking == "level":
        level, exact = rules.level(wanted.effort, wanted.budget_tokens)
        config.thinking_level = level or None
    else:
        config.thinking_budget, exact = rules.budget(wanted.effort, wanted.budget_tokens)
    if not exact:
        left_out.append("reasoning.effort" if wanted.effort is not None else "reasoning.budget_tokens")
    return None if config == shapes.ThinkingConfig() else config


def _tools(tools: tuple[Tool, ...], left_out: list[str]) -> list[shapes.Tool] | None:
    declarations = []
    for tool in tools:
        left_out += [
            name
            for name, lost in (("tools.strict", tool.strict), ("tools.grammar", tool.grammar), ("cache", tool.cache))
            if lost
        ]
        schema = msgspec.Raw(lowered_tool(tool).schema.encode())
        declarations.append(
            shapes.FunctionDeclaration(
                name=tool.name,
                description=tool.description or None,
                parameters_json_schema=schema if said(schema) else shapes.ABSENT,
            )
        )
    return [shapes.Tool(function_declarations=declarations)] if declarations else None


def _tool_config(conversation: Conversation, left_out: list[str]) -> shapes.ToolConfig | None:
    choice = conversation.tool_choice
    if choice is None:
        return None
    if choice.parallel is False:
        left_out.append("tool_choice.parallel")
    if not conversation.tools:
        if choice.mode == "required":
            left_out.append("tool_choice")
        return None
    return shapes.ToolConfig(function_calling_config=_calling(choice))


def _calling(choice: ToolChoice) -> shapes.FunctionCallingConfig:
    """Names go with ANY and VALIDATED only, which is AUTO for functions that are named."""
    if choice.mode == "none":
        return shapes.FunctionCallingConfig(mode="NONE")
    mode = "VALIDATED" if choice.names and choice.mode == "auto" else _MODES[choice.mode]
    return shapes.FunctionCallingConfig(mode=mode, allowed_function_names=list(choice.names) or None)


def _tier(tier: str, left_out: list[str]) -> str | None:
    if tier not in {"", "auto", *_TIERS}:
        left_out.append("tier")
    return _TIERS.get(tier)

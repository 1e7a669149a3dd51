import ast
from collections.abc import Mapping

from tests.house.sources import all_modules, imported


def import_graph() -> dict[str, set[str]]:
    """Which module of the package imports which, at any place of its text."""
    names = {module.name for module in all_modules()}
    graph: dict[str, set[str]] = {name: set() for name in names}
    for module in all_modules():
        for node in ast.walk(module.tree):
            # The longest name is the module that is meant; the packages above it are not counted as imported.
            targets = imported(node)
            below = [target for target in targets[1:] if target in names]
            graph[module.name].update(below or [target for target in targets[:1] if target in names])
            if isinstance(node, ast.Import):
                graph[module.name].update(target for target in targets if target in names)
    return graph


def cycles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """The knots: sets of more than one module that all reach each other."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        waiting = list(graph[start])
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting.extend(graph[name])
        reached[start] = seen
    knots = [{other for other in reached[name] if name in reached[other]} for name in graph if name in reached[name]]
    return [knot for index, knot in enumerate(knots) if knot not in knots[:index]]


def test_no_module_imports_itself_by_a_detour() -> None:
    found = [" ↔ ".join(sorted(knot)) for knot in cycles(import_graph())]
    assert not found, "import cycles; move what both sides need below them:\n" + "\n".join(found)


def test_a_cycle_is_found() -> None:
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]
    assert cycles({"a": {"b"}, "b": set()}) == []

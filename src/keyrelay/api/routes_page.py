"""The generated part of docs/api.md: every route of the control plane, who may call it, and what it does.

`scripts/api-docs` brings it up to date.
"""

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from keyrelay.api.policies import Policy
from keyrelay.configuration.page import replaced

_PREFIX = "/api/v1/"


def renewed(text: str, control: ASGIApp) -> str:
    """The page with the routes brought up to date. Raise ValueError when a marker is missing, or a policy."""
    if not isinstance(control, FastAPI):
        raise TypeError("the control plane is FastAPI's")
    found = [each for each in control.routes if isinstance(each, APIRoute) and each.path.startswith(_PREFIX)]
    found.sort(key=lambda each: (_subject(each), each.path, sorted(each.methods or ())))
    lines, subject = list[str](), ""
    for route in found:
        if _subject(route) != subject:
            subject = _subject(route)
            lines += ["", f"### {subject.capitalize()}", "", "| route | who | what |", "|---|---|---|"]
        for method in sorted(route.methods or ()):
            who = policy_of(route).permission.value
            lines.append(f"| `{method} {route.path}` | {who} | {route.summary or ''} |")
    return replaced(text, "routes", "\n".join(lines) + "\n\n")


def policy_of(route: APIRoute) -> Policy:
    """The one policy that a route declares. Raise ValueError for a route that declares none, or several."""
    declared = [each.call for each in route.dependant.dependencies if isinstance(each.call, Policy)]
    for dependency in route.dependant.dependencies:
        declared += [each.call for each in dependency.dependencies if isinstance(each.call, Policy)]
    if len(declared) != 1:
        raise ValueError(f"{route.path} declares {len(declared)} policies, not one")
    return declared[0]


def _subject(route: APIRoute) -> str:
    return str(route.tags[0]) if route.tags else "more"

"""Asks every operation of an OpenAPI document anything at all: `openapi ORIGIN EXAMPLES`, callers on standard input.

The first line there is JSON: values of what there is, by the names of parameters of paths. Each line behind it is a
caller: a name, a secret (`-`: none), and what the paths to ask begin with. Prints one line of JSON for each answer that
is not as the document says, or that somebody without a secret should not have had, and how many requests were made at
last. Answers of 502 to 504 are no defects: whom a provider fails is told so.
"""

import json
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)

_INTERNAL = 500
_REFUSED = (401, 403)
_CONTROL = "/api/v1/"
_ENDLESS = frozenset({"/api/v1/events"})
_UNDOCUMENTED = frozenset({401, 403, 405, 413, 415, 429, 500, 502, 503, 504, 529})
"""Statuses that any route may answer with, documented there or not."""

_NOBODY = "-"


class Asking:
    """One caller, and what was found."""

    def __init__(self, name: str, secret: str, known: dict[str, str], examples: int) -> None:
        self.name = name
        self.asked = 0
        self._headers = {} if secret == _NOBODY else {"authorization": f"Bearer {secret}"}
        self._nobody = secret == _NOBODY
        self._known = known
        self._examples = examples
        self._told = set[str]()

    def ask(self, operation: Any) -> None:
        """Anything at all, and now and then things that there are."""

        @settings(
            max_examples=self._examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def once(case: Any) -> None:
            if self.asked % 2 and isinstance(case.path_parameters, dict):
                case.path_parameters |= {
                    name: self._known.get(name, text) for name, text in case.path_parameters.items()
                }
            self._call(operation, case)

        once()
        for case in self._from_examples(operation):
            self._call(operation, case)

    def _from_examples(self, operation: Any) -> Iterator[Any]:
        raw = operation.definition.raw
        parameters = {
            each["name"]: self._known.get(each["name"], "x")
            for each in raw.get("parameters", ())
            if each.get("in") == "path"
        }
        body = raw.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
        if body is not None:
            yield operation.Case(path_parameters=parameters, body=body, media_type="application/json")
        else:
            yield operation.Case(path_parameters=parameters)

    def _call(self, operation: Any, case: Any) -> None:
        self.asked += 1
        answer = case.call(headers=self._headers, timeout=20)
        for problem in self._problems(operation, case, answer):
            kind = f"{operation.label} {problem[:80]}"
            if kind not in self._told:
                self._told.add(kind)
                what = {"path": case.formatted_path, "query": repr(case.query)[:200], "body": repr(case.body)[:400]}
                _tell(
                    {
                        "caller": self.name,
                        "operation": operation.label,
                        "problem": problem,
                        **what,
                        "answer": answer.text[:500],
                    }
                )

    def _problems(self, operation: Any, case: Any, answer: Any) -> Iterator[str]:
        status = answer.status_code
        if status == _INTERNAL:
            yield "an internal error"
        if self._nobody and operation.definition.raw.get("security") and status not in _REFUSED:
            yield f"{status} for somebody without a secret"
        if not operation.path.startswith(_CONTROL):
            return
        documented = str(status) in operation.definition.raw["responses"]
        if not documented and status not in _UNDOCUMENTED:
            yield f"status {status} is not documented"
        if documented:
            try:
                case.validate_response(answer, checks=_CONFORMANCE)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told
                yield f"{status}: {error}"


_CONFORMANCE = [content_type_conformance, response_schema_conformance, response_headers_conformance]


def main() -> None:
    """Ask, and print what was found."""
    warnings.simplefilter("ignore")
    origin, examples = sys.argv[1], int(sys.argv[2])
    known = json.loads(sys.stdin.readline())
    schema = schemathesis.openapi.from_url(f"{origin}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    asked = 0
    for line in sys.stdin:
        name, secret, places = line.split()
        asking = Asking(name, secret, known, 1 if secret == _NOBODY and examples < 10 else examples)
        for operation in operations:
            if operation.path not in _ENDLESS and operation.path.startswith(places):
                asking.ask(operation)
        asked += asking.asked
    _tell({"requests": asked, "operations": len(operations)})


def _tell(found: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

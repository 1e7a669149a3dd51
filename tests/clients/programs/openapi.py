"""Asks every operation of an OpenAPI document anything at all: `openapi ORIGIN SECRET EXAMPLES`.

Prints one line of JSON for each answer with status 500, and how many requests were made at last. Answers of 502 to 504
are no defects: whom a provider fails is told so.
"""

import json
import sys
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

_INTERNAL = 500


def main() -> None:
    """Ask, and print what was found."""
    origin, secret, examples = sys.argv[1], sys.argv[2], int(sys.argv[3])
    schema = schemathesis.openapi.from_url(f"{origin}/openapi.json")
    asked = 0

    def ask(operation: Any) -> None:
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def once(case: Any) -> None:
            nonlocal asked
            asked += 1
            answer = case.call(headers={"authorization": f"Bearer {secret}"}, timeout=20)
            if answer.status_code == _INTERNAL:
                found = {"operation": operation.label, "body": repr(case.body)[:500], "answer": answer.text[:500]}
                _tell(found)

        once()

    for result in schema.get_all_operations():
        ask(result.ok())
    _tell({"requests": asked})


def _tell(found: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

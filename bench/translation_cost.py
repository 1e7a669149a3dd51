"""What translation costs beside passing through: `python bench/translation_cost.py`.

The same upstream, in OpenAI's dialect, answers callers of OpenAI's dialect, whose bytes pass through, and callers of
Anthropic's and Responses, whose requests and answers are translated. CPU time of the gateway per answer, in one run.
"""

import argparse
import contextlib
import json
import tempfile
from pathlib import Path
from statistics import median

from rig.load import CLIENT_SECRET
from rig.payloads import ANSWER_MODEL_SMALL, SMALL, STREAM, STREAM_MODEL, Scenario, question
from rig.processes import BenchError, Server
from rig.servers import Amount, Rig
from rig.wakefulness import cpus_awake

GOAL = 3.0
"""A translated answer may cost so many times as much as one that passes through."""

_OK = 200


def _body(dialect: str, model: str, *, stream: bool) -> bytes:
    """The benchmark's question in another dialect."""
    asked = json.loads(question(model, 300, stream=stream))
    said = {"model": model, "stream": stream, "temperature": asked["temperature"]}
    if dialect == "responses":
        return json.dumps({**said, "input": asked["messages"], "max_output_tokens": 256, "store": False}).encode()
    system, turn = asked["messages"]
    return json.dumps({**said, "system": system["content"], "messages": [turn], "max_tokens": 256}).encode()


def _scenarios(gateway: Server) -> list[tuple[Scenario, Scenario]]:
    """What passes through, and what is translated."""
    pairs = []
    for dialect, path in (("anthropic", "/v1/messages"), ("responses", "/v1/responses")):
        for plain, model, stream in ((SMALL, ANSWER_MODEL_SMALL, False), (STREAM, STREAM_MODEL, True)):
            body = _body(dialect, model, stream=stream)
            headers = {"authorization": f"Bearer {CLIENT_SECRET}", "content-type": "application/json"}
            status, answer = gateway.request("POST", path, body, headers)
            if status != _OK:
                raise BenchError(f"{dialect}: the gateway answered {status}: {answer[:300]!r}")
            title = f"{dialect}, {plain.title}"
            pairs.append((plain, Scenario(plain.name, title, plain.path, body, answer, path)))
    return pairs


def main() -> None:
    """Measure in turn, several times, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    amount = Amount(duration_s=2, streams=192)
    with contextlib.ExitStack() as stack:
        stack.enter_context(cpus_awake(wanted=True))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        rig = Rig(directory, pin=True)
        stack.enter_context(rig.surroundings())
        gateway, _ = stack.enter_context(rig.gateway())
        pairs = _scenarios(gateway)
        for plain, translated in pairs:
            rig.load(gateway, translated, Amount(duration_s=1, streams=32))
            rounds = [
                (rig.measure(gateway, plain, amount).cpu_us, rig.measure(gateway, translated, amount).cpu_us)
                for _ in range(asked.rounds)
            ]
            passed_us, translated_us = (median(each[place] for each in rounds) for place in (0, 1))
            ratio = median(each[1] / each[0] for each in rounds)
            verdict = "" if ratio <= GOAL else f"  (more than {GOAL:g})"
            print(
                f"{translated.title}: {passed_us:,.0f} µs passed through, {translated_us:,.0f} µs translated,"
                f" {ratio:.2f} times{verdict}",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""What scripts/compatibility does: run all clients and write the page, or run some and say what they found."""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.clients.matrix import CLIENTS, Client, reason_for
from tests.clients.page import PAGE, renewed
from tests.clients.running import Outcomes, is_installed, run_clients


def surprises(outcomes: Outcomes, client: Client) -> list[str]:
    """What differs from what matrix.py expects of a client, a line each."""
    found = []
    for target in client.targets:
        for feature in client.features:
            outcome = outcomes[client.id, target, feature]
            reason = reason_for(client, target, feature)
            if outcome.ok and reason:
                found.append(f"{client.id}, {target}, {feature}: works, and has a reason not to: {reason}")
            elif not outcome.ok and not reason:
                found.append(f"{client.id}, {target}, {feature}: {outcome.detail}")
    return found


def main(names: list[str]) -> int:
    """Run the clients named, or all and write the page; 1 when something is not as expected."""
    chosen = [client for client in CLIENTS if client.id in names or not names]
    unknown = set(names) - {client.id for client in CLIENTS}
    missing = [client.id for client in chosen if not is_installed(client)]
    if unknown or missing:
        problem = (
            f"no such clients: {', '.join(sorted(unknown))}" if unknown else f"not installed: {', '.join(missing)}"
        )
        sys.stderr.write(f"{problem}; there are {', '.join(client.id for client in CLIENTS)}\n")
        return 2
    began_at = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="keyrelay-clients-") as directory:
        outcomes = asyncio.run(run_clients(Path(directory), chosen))
    found = [line for client in chosen for line in surprises(outcomes, client)]
    right, lasted_s = sum(outcome.ok for outcome in outcomes.values()), time.monotonic() - began_at
    end = f"{right} of {len(outcomes)} cells are a yes, {len(found)} not as expected, {lasted_s:.0f} s"
    sys.stdout.write("".join(f"{line}\n" for line in (*found, end)))
    if not names and not found:
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(renewed(text, lambda client, *cell: outcomes[client.id, *cell].ok), encoding="utf-8")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

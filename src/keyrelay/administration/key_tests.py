"""Testing keys: one at once, many as a task."""

import asyncio
from collections.abc import Sequence

from keyrelay.administration.keys import Keys
from keyrelay.administration.known_keys import KnownKey
from keyrelay.administration.service import Author
from keyrelay.administration.tasks import Task, TaskResult, Tasks
from keyrelay.core.errors import CallerError
from keyrelay.core.probes import Probed

KIND = "test keys"


class KeyTests:
    """Asks the providers what keys are worth, and has that known."""

    __slots__ = ("_keys", "_tasks")

    def __init__(self, keys: Keys, tasks: Tasks) -> None:
        self._keys = keys
        self._tasks = tasks

    async def test(self, known: KnownKey) -> Probed:
        """What the provider says of a key now. Raise CallerError (409) when it is switched off."""
        provider = self._keys.provider_of(known)
        probed = await self._keys.prober.probe(provider, known.key)
        self._keys.health.tested(provider, known.key, probed)
        return probed

    def start(self, wanted: Sequence[KnownKey], author: Author) -> Task:
        """Test many in the background; those whose provider is switched off are left out. Raise CallerError (429)."""
        snapshot = self._keys.administration.configuration.snapshot
        tested = [known for known in wanted if known.key.provider_id in snapshot.providers]

        async def work(task: Task) -> None:
            async with asyncio.TaskGroup() as group:
                for known in tested:
                    group.create_task(self._step(task, known))

        return self._tasks.start(KIND, work, started_by=author.name, total=len(tested))

    async def _step(self, task: Task, known: KnownKey) -> None:
        try:
            probed = await self.test(known)
        except CallerError as error:  # its provider was switched off meanwhile
            task.step(TaskResult(subject=known.key.id, outcome="skipped", message=error.message))
            return
        task.step(TaskResult(subject=known.key.id, outcome=probed.outcome, message=probed.message))

    def __repr__(self) -> str:
        return f"<KeyTests of {self._keys!r}>"

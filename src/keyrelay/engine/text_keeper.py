"""Keeping prompts and answers: they wait in memory, are sealed, and go to the store in batches.

They take no part in what is promised of requests: no request waits for them, what does not fit into the queue is
dropped and counted, and what still waits when the process is killed is gone. Nothing of them is written anywhere but
sealed.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import msgspec

from keyrelay.core.errors import SealedValueError, StoreError, VaultError
from keyrelay.core.kept_texts import ANSWER, REQUEST, TABLE, KeptText, KeptTexts, decode_text, encode_text
from keyrelay.ports import Clock, SealedTexts, TextStore, Vault

FLUSH_EVERY_S = 0.5
"""How often what waits is written."""


class TextKeeperSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds: so many bytes may wait, so many rows and bytes go to the store at a time.

    After a failure nothing is tried for `retry_s`.
    """

    max_waiting_bytes: int = 16 * 1024 * 1024
    max_rows: int = 64
    max_bytes: int = 2 * 1024 * 1024
    retry_s: float = 5.0


_DEFAULTS = TextKeeperSettings()
_ROW_BYTES = 256
"""What a row takes in memory beside its texts."""


class TextCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Texts of requests: those that wait and their bytes, and since the start those written and those dropped."""

    waiting: int
    waiting_bytes: int
    written: int
    dropped: int


class TextKeeper:
    """Keeps texts, and reads them. `open_vault` gives the one vault, and raises StoreError and VaultError.

    `refresh` lets it go on with a key ring that others have changed.
    """

    __slots__ = (
        "_clock",
        "_dropped",
        "_flushing",
        "_open_vault",
        "_queue",
        "_refresh",
        "_retry_at",
        "_settings",
        "_store",
        "_waiting",
        "_written",
    )

    def __init__(
        self,
        store: TextStore,
        open_vault: Callable[[], Awaitable[Vault]],
        clock: Clock,
        settings: TextKeeperSettings = _DEFAULTS,
        *,
        refresh: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._store = store
        self._open_vault = open_vault
        self._clock = clock
        self._settings = settings
        self._refresh = refresh
        self._queue: deque[KeptTexts] = deque()
        self._waiting = self._written = self._dropped = 0
        self._retry_at = 0.0
        self._flushing = asyncio.Lock()

    def keep(self, texts: KeptTexts) -> None:
        """Keep the texts of one request if there is room for them. Neither waits nor raises."""
        size = texts.size + _ROW_BYTES
        if self._waiting + size > self._settings.max_waiting_bytes:
            self._dropped += 1
            return
        self._queue.append(texts)
        self._waiting += size

    async def flush(self) -> None:
        """Write what waits. Raise StoreError and VaultError, upon which it waits on; soon after one it does nothing."""
        async with self._flushing:
            if not self._queue or self._clock.monotonic_s() < self._retry_at:
                return
            try:
                vault = await self._open_vault()
                while self._queue:
                    await self._write(vault)
            except (StoreError, VaultError):
                self._retry_at = self._clock.monotonic_s() + self._settings.retry_s
                raise

    async def drain(self, timeout_s: float) -> bool:
        """Write what waits, for the last time and for no longer than this; False when some of it is lost."""
        self._retry_at = 0.0
        try:
            async with asyncio.timeout(timeout_s):
                await self.flush()
        except (TimeoutError, StoreError, VaultError):
            self._dropped += len(self._queue)
            return False
        return True

    async def read(self, request_id: str) -> KeptTexts | None:
        """The texts of one request; None when there are none. Raise StoreError and VaultError."""
        row = await self._store.read_texts(request_id)
        if row is None:
            return None
        vault = await self._open_vault()
        try:
            return _texts_of(vault, row)
        except SealedValueError:
            if self._refresh is None:
                raise
            await self._refresh()  # it may be sealed under a term that the ring has only now
            return _texts_of(vault, row)

    def counts(self) -> TextCounts:
        """How much waits and how much has been done."""
        return TextCounts(
            waiting=len(self._queue), waiting_bytes=self._waiting, written=self._written, dropped=self._dropped
        )

    async def _write(self, vault: Vault) -> None:
        """Write one batch; only when the store has it, it waits no longer."""
        rows: list[SealedTexts] = []
        size = 0
        for texts in tuple(self._queue)[: self._settings.max_rows]:
            size += texts.size
            if rows and size > self._settings.max_bytes:
                break
            rows.append(_sealed(vault, texts))
            await asyncio.sleep(0)  # requests have their turn
        await self._store.write_texts(rows)
        for _ in rows:
            self._waiting -= self._queue.popleft().size + _ROW_BYTES
        self._written += len(rows)

    def __repr__(self) -> str:
        return f"<TextKeeper {len(self._queue)} waiting, {self._written} written, {self._dropped} dropped>"


def _sealed(vault: Vault, texts: KeptTexts) -> SealedTexts:
    row = texts.request_id
    request, answer = (
        None if text is None else vault.seal(encode_text(text), table=TABLE, row=row, column=column)
        for text, column in ((texts.request, REQUEST), (texts.answer, ANSWER))
    )
    return SealedTexts(request_id=row, request=request, answer=answer)


def _texts_of(vault: Vault, row: SealedTexts) -> KeptTexts:
    name = row.request_id
    request, answer = _opened(vault, row.request, name, REQUEST), _opened(vault, row.answer, name, ANSWER)
    return KeptTexts(request_id=name, request=request, answer=answer)


def _opened(vault: Vault, sealed: bytes | None, row: str, column: str) -> KeptText | None:
    if sealed is None:
        return None
    try:
        return decode_text(vault.open(sealed, table=TABLE, row=row, column=column))
    except ValueError as error:
        raise SealedValueError(
            f"the {column} of {row} is whole and cannot be read: a newer Keyrelay wrote it"
        ) from error

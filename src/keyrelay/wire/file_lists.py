"""The list of a client's files in OpenAI's form, page by page.

A page costs what is on it, however many files there are: what is said of each is kept in the order in which it is
listed, all of it and by purpose.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

import msgspec

from keyrelay.core.errors import CallerError

MOST_LISTED = 10_000
"""Files on one page, and as many as nobody says how many."""


class ListWishes(msgspec.Struct, frozen=True, kw_only=True):
    """Which files a client wants listed: of a purpose, behind one, so many, the newest first or last."""

    purpose: str = ""
    after: str = ""
    limit: int = MOST_LISTED
    newest_first: bool = True


class _Head(msgspec.Struct, gc=False):
    purpose: str = ""
    created_at: float = 0
    expires_at: float | None = None


class _File(msgspec.Struct, frozen=True, gc=False):
    """One file: the object, and where it stands."""

    told: bytes
    purpose: str
    place: tuple[float, str]
    expires_at: float | None


_head = msgspec.json.Decoder(_Head)
_encoder = msgspec.json.Encoder()


class FileList:
    """One client's files. Times are epoch seconds."""

    __slots__ = ("_files", "_places")

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._places: dict[str, list[tuple[float, str]]] = {}  # by purpose; under "" all of them

    def put(self, file_id: str, told: bytes) -> None:
        """Take in the object of a file, in place of what was said of it before."""
        try:
            head = _head.decode(told)
        except msgspec.DecodeError:  # whatever a provider means by it, it is a file all the same
            head = _Head()
        file = _File(told, head.purpose, (head.created_at, file_id), head.expires_at)
        known = self._files.get(file_id)
        if known is None or (known.place, known.purpose) != (file.place, file.purpose):
            self.drop(file_id)
            for purpose in {"", file.purpose}:
                insort(self._places.setdefault(purpose, []), file.place)
        self._files[file_id] = file

    def drop(self, file_id: str) -> None:
        """Forget a file, if it is here."""
        file = self._files.pop(file_id, None)
        if file is None:
            return
        for purpose in {"", file.purpose}:
            places = self._places[purpose]
            del places[bisect_left(places, file.place)]
            if not places:
                del self._places[purpose]

    def page(self, wishes: ListWishes, now_s: float) -> bytes:
        """A page of the list; what has expired is left out. Raise CallerError (400)."""
        page, more = list[_File](), False
        for file in self._from(wishes, now_s):
            if file.expires_at is not None and file.expires_at <= now_s:
                continue
            if len(page) == wishes.limit:
                more = True
                break
            page.append(file)
        return _encoder.encode(
            {
                "object": "list",
                "data": [msgspec.Raw(file.told) for file in page],
                "first_id": page[0].place[1] if page else None,
                "last_id": page[-1].place[1] if page else None,
                "has_more": more,
            }
        )

    def _from(self, wishes: ListWishes, now_s: float) -> Iterator[_File]:
        """The files that are wanted, from where they are wanted. Raise CallerError (400)."""
        places = self._places.get(wishes.purpose, [])
        start, end = 0, len(places)
        if wishes.after:
            at = bisect_left(places, self._place(wishes, now_s))
            start, end = (start, at) if wishes.newest_first else (at + 1, end)
        wanted: Iterable[int] = range(end - 1, start - 1, -1) if wishes.newest_first else range(start, end)
        return (self._files[places[at][1]] for at in wanted)

    def _place(self, wishes: ListWishes, now_s: float) -> tuple[float, str]:
        """Where the file is that the page comes after. Raise CallerError (400)."""
        file = self._files.get(wishes.after)
        expired = file is not None and file.expires_at is not None and file.expires_at <= now_s
        if file is None or expired or wishes.purpose not in {"", file.purpose}:
            message = "There is no file with the id that 'after' names."
            raise CallerError(400, message, param="after", code="invalid_value")
        return file.place

    def __len__(self) -> int:
        return len(self._files)

    def __repr__(self) -> str:
        return f"<FileList of {len(self._files)} files, {len(self._places)} orders>"

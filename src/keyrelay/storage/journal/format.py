"""How records lie in a segment: mark, length, checksum, payload.

The mark's first byte never occurs in UTF-8, so reading finds its way back into step behind bytes that were damaged.
Behind the last record come zeros, as segments are set aside before they are written.
"""

import struct
import zlib
from typing import Final

import msgspec

from keyrelay.core.records import Reserved
from keyrelay.storage.journal.values import OnlyId, Scan

RESERVED, ENDED = 1, 2
"""Kinds of records: a `Reserved` in MessagePack, a `RequestRecord` in JSON. Other kinds are passed over."""

_MARK: Final = 0xFF
_MARK_BYTE: Final = bytes([_MARK])
_SEED: Final = 0x4B524C00
"""What checksums begin with, with the kind: so a mark with zeros behind it is no record, nor one of another kind."""
_RESERVED_SEED: Final = _SEED | RESERVED
_ENDED_SEED: Final = _SEED | ENDED

_HEADER: Final = struct.Struct("<BBII")
HEADER_BYTES: Final = _HEADER.size

_LINE_HEAD: Final = b'{"event":"request","request_id":"'
_ID_AT: Final = len(_LINE_HEAD)

_pack: Final = _HEADER.pack
_unpack_from: Final = _HEADER.unpack_from
_crc32: Final = zlib.crc32
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Reserved).decode


_decode_id: Final = msgspec.json.Decoder(OnlyId).decode


def framed(kind: int, payload: bytes) -> bytes:
    """A record as it is written."""
    return _pack(_MARK, kind, len(payload), _crc32(payload, _SEED | kind)) + payload


def framed_reservation(entry: Reserved) -> bytes:
    """A reservation as it is written."""
    payload = _encode(entry)
    return _pack(_MARK, RESERVED, len(payload), _crc32(payload, _RESERVED_SEED)) + payload


def framed_end(line: bytes) -> bytes:
    """A request's end as it is written: the same as `framed`, for whom each call counts."""
    return _pack(_MARK, ENDED, len(line), _crc32(line, _ENDED_SEED)) + line


def reservation_in(payload: bytes) -> Reserved | None:
    """The reservation that a payload holds; None when it is none."""
    try:
        return _decode(payload)
    except msgspec.MsgspecError:
        return None


def request_id_in(line: bytes) -> str:
    """The request's id in the JSON line of its end, empty when it has none. Finds it by its place where it can."""
    if line.startswith(_LINE_HEAD):
        return str(line[_ID_AT : line.find(b'"', _ID_AT)], "ascii", "replace")
    try:
        return _decode_id(line).request_id
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""


def ended_id_in(frame: bytes) -> str:
    """The id of the request whose end a record is, as it is written; empty when it is no end."""
    return request_id_in(frame[HEADER_BYTES:]) if frame[1] == ENDED else ""


def scan(data: bytes, limit: int, max_records: int) -> Scan:
    """Read records from the beginning of a piece of a segment; never raises.

    `limit` is where the segment ends, counted from the beginning of the piece: a record that would go beyond it is
    none, one that goes beyond the piece is `wanted`.
    """
    records: list[tuple[int, bytes]] = []
    size, at, good, damaged, wanted = len(data), 0, 0, 0, 0
    while at + HEADER_BYTES <= size and len(records) < max_records:
        mark, kind, length, checksum = _unpack_from(data, at)
        end = at + HEADER_BYTES + length
        if mark == _MARK and end <= size:
            payload = data[at + HEADER_BYTES : end]
            if _crc32(payload, _SEED | kind) == checksum:
                records.append((kind, payload))
                damaged += at - good
                at = good = end
                continue
        elif mark == _MARK and end <= limit:
            wanted = end - at
            break
        at = _next_mark(data, at)
    if size == limit and len(records) < max_records:
        at = size  # what is left is too short for a header, and nothing follows
    return Scan(records, at, wanted, damaged, len(data[good:at].rstrip(b"\0")))


def _next_mark(data: bytes, after: int) -> int:
    found = data.find(_MARK_BYTE, after + 1)
    return len(data) if found < 0 else found

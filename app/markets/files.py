"""A file of market metadata into records, whole or not at all.

What a file holds is seen from its content, never from its name: recorders write gzip into
``.json`` and one object into ``.jsonl``. Anything that is not readable to its end is refused by
name and place, since half a file of markets looks like a venue with half its markets.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Final

from app.errors import BadInput, Code
from app.markets.exact_json import documents
from app.markets.model import MarketRecord, Reason
from app.markets.walk import Found, NoMarket, TooDeep, Unreadable, find_markets

DEFAULT_MAX_BYTES: Final = 128 * 1024 * 1024
"""Limit of the file, and of what it unpacks to. Reading takes some ten times as much memory."""

_NEXT: Final = "Give a file with what Gamma's /markets or /events returned."
_GZIP: Final = b"\x1f\x8b"
_MAGIC: Final = (
    (b"PK\x03\x04", "a zip archive"),
    (b"\x28\xb5\x2f\xfd", "zstandard data"),
    (b"BZh", "bzip2 data"),
    (b"\xfd7zXZ", "xz data"),
    (b"PAR1", "a Parquet file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"%PDF", "a PDF"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
    (_GZIP, "gzip inside gzip"),
)
_CUT_OFF: Final = re.compile(r"[\w.+\\-]*\s*")
_CSV: Final = re.compile(r'[\w" .-]+([,;\t])[^{}\[\]]*')


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What a file held.

    ``objects_seen`` counts market objects: the records, ``duplicates`` (a later object with the
    same condition id took the place of an earlier one) and ``unreadable``. ``other_objects``
    holds no market: tags, events without markets.
    """

    markets: tuple[MarketRecord, ...]
    unreadable: tuple[Unreadable, ...]
    objects_seen: int
    duplicates: int
    other_objects: int


def sample_path() -> Path:
    """The small sample file that comes with the project: 20 tradable markets with invented ids."""
    return Path(__file__).with_name("sample.json")


def read_markets(path: str | PathLike[str], *, max_bytes: int = DEFAULT_MAX_BYTES) -> ImportReport:
    """Read a file: one object, an array, JSON lines, an envelope, any of them in gzip.

    A file without markets gives an empty report. Raises `BadInput` with ``BAD_FILE`` for what
    cannot be read to its end: missing, no permission, empty, larger than ``max_bytes`` (packed or
    unpacked), another kind of file, damaged, truncated, not UTF-8, nested too deep.
    """
    name = str(path)
    return read_market_bytes(_load(path, name, max_bytes), name=name, max_bytes=max_bytes)


def read_market_bytes(
    data: bytes, *, name: str, max_bytes: int = DEFAULT_MAX_BYTES
) -> ImportReport:
    """The same for bytes in hand; ``name`` is what an error calls them."""
    text = _decode(_unpack(data, name, max_bytes), name)
    try:
        return collect(_find(text, name))
    except json.JSONDecodeError as error:
        raise _json_error(name, text, error) from error
    except TooDeep as error:
        raise _bad(name, f"it is nested too deep for market data at {error}") from error
    except RecursionError as error:
        raise _bad(name, "it is nested too deep for market data") from error


def _load(path: str | PathLike[str], name: str, max_bytes: int) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise _bad(name, "there is no such file") from error
    except IsADirectoryError as error:
        raise _bad(name, "it is a directory") from error
    except PermissionError as error:
        raise _bad(name, "there is no permission to read it") from error
    except (OSError, ValueError) as error:
        raise _bad(name, f"it cannot be opened ({error})") from error
    if len(data) > max_bytes:
        raise _bad(name, f"it is larger than {max_bytes} bytes")
    return data


def _unpack(data: bytes, name: str, max_bytes: int) -> bytes:
    if not data.startswith(_GZIP):
        return data
    try:
        # one byte more than allowed, so that a bomb is never unpacked whole
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            unpacked = packed.read(max_bytes + 1)
    except EOFError as error:
        raise _bad(name, "its gzip data ends too early (truncated)") from error
    except (OSError, zlib.error) as error:
        raise _bad(name, f"its gzip data is damaged ({error})") from error
    if len(unpacked) > max_bytes:
        raise _bad(name, f"it unpacks to more than {max_bytes} bytes")
    return unpacked


def _decode(data: bytes, name: str) -> str:
    for magic, kind in _MAGIC:
        if data.startswith(magic):
            raise _bad(name, f"it is {kind}, not JSON")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        kind = "binary data" if b"\0" in data[:4096] else "not UTF-8"
        line = data.count(b"\n", 0, error.start) + 1
        raise _bad(name, f"it is {kind} (line {line}, byte {error.start})") from error
    if not text.strip(" \t\r\n"):
        raise _bad(name, "it is empty")
    return text


def _find(text: str, name: str) -> Iterator[Found]:
    line, counted_to = 1, 0
    for offset, value in documents(text):
        line += text.count("\n", counted_to, offset)
        counted_to = offset
        if not isinstance(value, (dict, list)):
            kind = _kind(text) if offset == _start(text) else "a bare value, not an object"
            raise _bad(name, f"it is {kind} (line {line}, offset {offset})")
        where = f"line {line}: $" if offset != _start(text) or line > 1 else "$"
        yield from find_markets(value, where)


def collect(found: Iterable[Found]) -> ImportReport:
    """What was found, the last of several objects for one market, and no token twice."""
    markets: dict[str, MarketRecord] = {}
    unreadable: list[Unreadable] = []
    records = others = 0
    for item in found:
        if isinstance(item, MarketRecord):
            markets[item.condition_id] = item
            records += 1
        elif isinstance(item, Unreadable):
            unreadable.append(item)
        elif isinstance(item, NoMarket):
            others += 1
    return ImportReport(
        markets=_without_shared_tokens(markets),
        unreadable=tuple(unreadable),
        objects_seen=records + len(unreadable),
        duplicates=records - len(markets),
        other_objects=others,
    )


def _without_shared_tokens(markets: dict[str, MarketRecord]) -> tuple[MarketRecord, ...]:
    """Take the outcomes from markets that claim the same token: neither can be believed."""
    owners = Counter(o.token_id for market in markets.values() for o in market.outcomes)
    return tuple(
        replace(market, outcomes=()).refused_for([Reason.OUTCOME_CONFLICT])
        if any(owners[o.token_id] > 1 for o in market.outcomes)
        else market
        for market in markets.values()
    )


def _json_error(name: str, text: str, error: json.JSONDecodeError) -> BadInput:
    place = f"line {error.lineno}, column {error.colno}, offset {error.pos}"
    if text[_start(text)] not in "{[":
        return _bad(name, f"it is {_kind(text)} ({place})")
    # what is left may be half a word ("fal") or half an escape
    if error.msg.startswith("Unterminated string") or _CUT_OFF.fullmatch(text, error.pos):
        return _bad(name, f"it ends in the middle of a JSON value (truncated; {place})")
    return _bad(name, f"it is not JSON: {error.msg} ({place})")


def _kind(text: str) -> str:
    """A name for text that does not begin like JSON."""
    first_line = text.strip().split("\n", 1)[0][:2_000].strip()
    if first_line.startswith("<"):
        return "HTML or XML, not JSON"
    if _CSV.fullmatch(first_line):
        return "CSV or a similar table, not JSON"
    return "not JSON made of objects or arrays"


def _start(text: str) -> int:
    return len(text) - len(text.lstrip(" \t\r\n"))


def _bad(name: str, wrong: str) -> BadInput:
    return BadInput(
        Code.BAD_FILE,
        f"{name!r} cannot be read as market data: {wrong}",
        not_done="No market of it was taken.",
        next_step=_NEXT,
    )

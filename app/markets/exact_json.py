"""JSON read without floats, one document or many, with the place of the error.

The standard decoder turns 0.001 into a binary fraction and 10**5000 into an exception of its own
kind. Here a number with a fraction or exponent stays text (`JsonNumber`), and so does a NaN that
a Python recorder wrote: whoever needs the field refuses it, whoever does not is not bothered.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Final

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_LONGEST_INT: Final = 100


class JsonNumber(str):
    """A JSON number kept as the text it was written in."""

    __slots__ = ()


def _integer(text: str) -> int | JsonNumber:
    # int() of more than 4300 digits raises; no field needs more than the 78 of a uint256
    return int(text) if len(text) <= _LONGEST_INT else JsonNumber(text)


_DECODER: Final = json.JSONDecoder(
    parse_float=JsonNumber, parse_int=_integer, parse_constant=JsonNumber
)


def documents(text: str) -> Iterator[tuple[int, object]]:
    """Each JSON value of ``text`` with its offset: a single one, JSON lines, or any sequence.

    Raises `json.JSONDecodeError` with the place in the whole text, and `RecursionError`.
    """
    at = _skip(text, 0)
    while at < len(text):
        value, end = _DECODER.raw_decode(text, at)
        yield at, value
        at = _skip(text, end)


def single(text: str) -> object:
    """The one JSON value of ``text``. Raises `ValueError` or `RecursionError`."""
    found = [value for _, value in documents(text)]
    if len(found) != 1:
        raise ValueError(f"{len(found)} JSON values instead of one")
    return found[0]


def digest(value: object) -> str:
    """SHA-256 of the value in canonical JSON (sorted keys, ASCII). 0.5 and "0.5" are the same."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at

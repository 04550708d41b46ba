"""Reading the venue's loose types strictly.

The same field comes as a number or as text, as a list or as JSON text of a list, as null, as ""
or not at all (2020 markets have as few as 8 fields). Missing is None. Present and unreadable is
None too, but remembered in ``bad``: the market then says which field it was instead of the import
falling over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from app.errors import BadInput
from app.markets.exact_json import JsonNumber, single
from app.money import MICROS, parse_micros

MAX_TEXT: Final = 2_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
# Control characters reach a terminal as commands, and Postgres stores neither NUL nor half a
# surrogate pair.
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

T = TypeVar("T")


class Fields:
    """One JSON object under strict reading. ``bad`` names the fields that could not be read."""

    def __init__(
        self, raw: Mapping[str, object], *, prefix: str = "", bad: list[str] | None = None
    ) -> None:
        self._raw = raw
        self._prefix = prefix
        self.bad: list[str] = [] if bad is None else bad

    def is_bad(self, *names: str) -> bool:
        """Whether one of the fields, or anything inside one, was present and unreadable."""
        own = tuple(self._prefix + name for name in names)
        return any(b == o or b.startswith((f"{o}.", f"{o}[")) for b in self.bad for o in own)

    def text(self, name: str) -> str | None:
        """Printable text without surrounding spaces; empty text counts as missing."""
        return self._read(name, _as_text) or None

    def identifier(self, name: str) -> str | None:
        """An id that comes as text or as a whole number."""
        return self._read(name, _as_identifier) or None

    def flag(self, name: str) -> bool | None:
        """true or false, also as text."""
        return self._read(name, _as_flag)

    def micros(self, name: str) -> int | None:
        """A decimal number, exact in millionths."""
        return self._read(name, lambda value: _as_micros(value, name))

    def integer(self, name: str) -> int | None:
        """A whole number, zero or more, also as ``1.0`` or text."""
        return self._read(name, lambda value: _as_integer(value, name))

    def instant_ms(self, name: str) -> int | None:
        """An ISO 8601 instant as Unix milliseconds; without a zone it is not an instant."""
        return self._read(name, _as_instant_ms)

    def strings(self, name: str) -> tuple[str, ...] | None:
        """A list of texts or whole numbers, or JSON text of such a list."""
        return self._read(name, lambda v: tuple(_as_identifier(item) for item in _as_list(v)))

    def child(self, name: str) -> Fields | None:
        """An object inside, reading into the same ``bad``."""
        value = self._read(name, _as_object)
        return None if value is None else self._inside(value, f"{name}.")

    def children(self, name: str) -> tuple[Fields, ...]:
        """The objects of a list, reading into the same ``bad``; none when missing or unreadable."""
        items = self._read(name, lambda value: [_as_object(item) for item in _as_list(value)]) or []
        return tuple(self._inside(item, f"{name}[{i}].") for i, item in enumerate(items))

    def _inside(self, value: Mapping[str, object], prefix: str) -> Fields:
        return Fields(value, prefix=self._prefix + prefix, bad=self.bad)

    def _read(self, name: str, convert: Callable[[object], T]) -> T | None:
        value = self._raw.get(name)
        if value is None or value == "":
            return None
        try:
            return convert(value)
        except (ValueError, OverflowError, RecursionError, BadInput):
            full = self._prefix + name
            if full not in self.bad:
                self.bad.append(full)
            return None


def _as_text(value: object) -> str:
    if not isinstance(value, str) or isinstance(value, JsonNumber):
        raise ValueError("not text")
    if len(value) > MAX_TEXT or _UNPRINTABLE.search(value):
        raise ValueError("not printable, or too long")
    return value.strip()


def _as_identifier(value: object) -> str:
    # bool is an int in Python; "True" is nobody's id
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _as_text(value)


def _as_flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise ValueError("neither true nor false")


def _as_micros(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("not a number")
    return parse_micros(str(value), what=name)


def _as_integer(value: object, name: str) -> int:
    whole, rest = divmod(_as_micros(value, name), MICROS)
    if rest or whole < 0:
        raise ValueError("not a whole number, or negative")
    return whole


def _as_instant_ms(value: object) -> int:
    parsed = datetime.fromisoformat(_as_text(value))
    if parsed.tzinfo is None:
        raise ValueError("an instant needs a zone")
    millis = (parsed - _EPOCH) // _MILLISECOND
    if millis < 0:
        raise ValueError("before 1970")
    return millis


def _as_list(value: object) -> list[object]:
    if isinstance(value, str) and not isinstance(value, JsonNumber):
        value = single(value)
    if not isinstance(value, list):
        raise ValueError("not a list")
    return value


def _as_object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value

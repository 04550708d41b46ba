"""Where the venue's text becomes values: strict JSON, exact numbers, printable text, or `Unreadable`.

Nothing is guessed here. A key that stands twice, a NaN, half an array or a number that millionths cannot
hold make the text unreadable, and unreadable is always an answer of its own: never a refusal, never zero.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from app.errors import BadInput
from app.money import MICROS, parse_micros
from app.venue.polymarket.wire import Exchange, Phase

MOST_RAW: Final = 4_000
"""Characters of an answer that are kept beside an outcome; the transport's record holds the rest."""

NOT_TOLD: Final = -1
"""An instant that was not told, or not readably: the ledger books such a fact with its own time."""

_MOST_TEXT: Final = 1_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_NUMBER: Final = re.compile(r"(-?)([0-9]{1,30})(?:\.([0-9]{1,60}))?(?:[eE]([+-]?[0-9]{1,2}))?")
# Control characters reach a terminal as commands, and Postgres stores neither NUL nor half a surrogate pair.
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_MILLISECONDS_FROM: Final = 10**11
_LATEST_MS: Final = 4_102_444_800_000


class Unreadable(Exception):
    """Something is not what the venue documents. The text says what, for people."""


class Number(str):
    """A JSON number with a fraction or an exponent, as the text it was written in."""

    __slots__ = ()


# --- JSON ---------------------------------------------------------------------------------------


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        # Two orderIDs in one answer: whichever a decoder keeps, the other one was said as well.
        raise ValueError("a key stands twice")
    return found


def _constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=Number, parse_constant=_constant
)


def parse(text: str) -> object:
    """The one JSON value of ``text``."""
    at = _skip(text, 0)
    value, end = _value(text, at)
    if _skip(text, end) != len(text):
        raise Unreadable("there is more behind the JSON value")
    return value


def elements(text: str) -> list[tuple[object, str]]:
    """The elements of the one JSON array of ``text``, each with its own text."""
    at = _skip(text, 0)
    if text[at : at + 1] != "[":
        raise Unreadable("not a JSON array")
    at = _skip(text, at + 1)
    found: list[tuple[object, str]] = []
    mark = text[at : at + 1]
    while mark != "]":
        value, end = _value(text, at)
        found.append((value, text[at:end]))
        at = _skip(text, end)
        mark = text[at : at + 1]
        if mark not in (",", "]"):
            raise Unreadable("the JSON array is cut or broken")
        if mark == ",":
            at = _skip(text, at + 1)
    if _skip(text, at + 1) != len(text):
        raise Unreadable("there is more behind the JSON array")
    return found


def _value(text: str, at: int) -> tuple[object, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not JSON: {error}") from error


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


# --- exchanges ----------------------------------------------------------------------------------


def body_text(exchange: Exchange) -> str:
    """The body, if it is UTF-8 as JSON must be."""
    try:
        return exchange.body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable("the body is not UTF-8") from error


def document(exchange: Exchange) -> object:
    """The JSON of a complete 200. Anything else is `Unreadable` and says what it was."""
    if exchange.phase is not Phase.DONE:
        raise Unreadable(f"no complete answer ({exchange.phase}: {exchange.problem[:200]})")
    if exchange.status != 200:
        raise Unreadable(f"HTTP {exchange.status}: {exchange.text[:200]}")
    return parse(body_text(exchange))


def kept(text: str, most: int = MOST_RAW) -> str:
    """``text`` as it is stored beside an outcome: whole, or cut and marked as cut."""
    return text if len(text) <= most else f"{text[:most]} [cut: {len(text)} characters]"


def raw_of(exchange: Exchange) -> str:
    """What is kept of an exchange: the body, and what broke where it did not end well."""
    if exchange.phase is Phase.DONE:
        return kept(exchange.text)
    return kept(f"{exchange.phase}: {exchange.problem}\n{exchange.text}".rstrip())


# --- values -------------------------------------------------------------------------------------


class Fields:
    """One JSON object, read field by field; each reader raises `Unreadable` with the field's name."""

    def __init__(self, value: object, what: str) -> None:
        if not isinstance(value, Mapping):
            raise Unreadable(f"{what} is not an object")
        self._raw: Mapping[str, Any] = value
        self._what = what

    def get(self, name: str) -> object:
        return self._raw.get(name)

    def has(self, name: str) -> bool:
        return name in self._raw

    def names(self) -> tuple[str, ...]:
        return tuple(str(name) for name in self._raw)

    def text(self, name: str) -> str:
        """Printable text that is not empty."""
        found = printable(self._raw.get(name))
        if not found:
            raise Unreadable(f"{self._what}: {name} is no text")
        return found

    def optional(self, name: str) -> str:
        """Printable text, or empty: for what is shown and nothing follows from."""
        return printable(self._raw.get(name))

    def decimal(self, name: str) -> str:
        """A decimal number as plain text, however it was written."""
        found = plain(self._raw.get(name))
        if found is None:
            raise Unreadable(f"{self._what}: {name} is no number: {shown(self._raw.get(name))}")
        return found

    def price_micros(self, name: str) -> int:
        """A price from 0 to 1, to the nearest millionth: the average of a match may have no end."""
        whole, _, fraction = self.decimal(name).partition(".")
        micros = int(whole + fraction[:6].ljust(6, "0")) + (fraction[6:7] >= "5")
        if whole.startswith("-") or not 0 <= micros <= MICROS:
            raise Unreadable(f"{self._what}: {name} is no price: {shown(self._raw.get(name))}")
        return micros

    def micros(self, name: str) -> int:
        """An amount of zero or more, exactly."""
        return exact_micros(self.decimal(name), f"{self._what}: {name}")

    def optional_micros(self, name: str) -> int | None:
        """An amount, or None for what millionths cannot hold: for what is shown only."""
        try:
            return self.micros(name)
        except Unreadable:
            return None

    def flag(self, name: str) -> bool | None:
        found = self._raw.get(name)
        return found if isinstance(found, bool) else None

    def rows(self, name: str) -> list[object]:
        found = self._raw.get(name)
        if not isinstance(found, list):
            raise Unreadable(f"{self._what}: {name} is no list")
        return found

    def instant_ms(self, *names: str) -> int:
        """The first of the fields that holds an instant, or `NOT_TOLD`."""
        told = (instant_ms(self._raw.get(name)) for name in names)
        return next((at for at in told if at != NOT_TOLD), NOT_TOLD)


def shown(value: object) -> str:
    """The beginning of a value; of what is nested its kind, since to print it may take more stack than to read it."""
    return type(value).__name__ if isinstance(value, list | dict) else f"{value!r:.60}"


def printable(value: object) -> str:
    """The text, without spaces around it; empty for anything that is not short, printable text."""
    if not isinstance(value, str) or isinstance(value, Number) or len(value) > _MOST_TEXT:
        return ""
    return "" if _UNPRINTABLE.search(value) else value.strip()


def plain(value: object) -> str | None:
    """``5``, ``"5"``, ``0.5`` or ``5e-1`` as plain decimal text; None for what is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    match = _NUMBER.fullmatch(str(value)) if _short(value) else None
    if match is None or (match[4] and not isinstance(value, Number)):
        return None
    sign, whole, fraction, exponent = match[1], match[2], match[3] or "", int(match[4] or 0)
    if exponent >= 0:
        fraction = fraction.ljust(exponent, "0")
        whole, fraction = whole + fraction[:exponent], fraction[exponent:]
    else:
        digits = whole.rjust(1 - exponent, "0")
        whole, fraction = digits[:exponent], digits[exponent:] + fraction
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def _short(value: int | str) -> bool:
    # int() and str() of a number of thousands of digits raise
    return abs(value) < 10**30 if isinstance(value, int) else len(value) <= 100


def exact_micros(decimal: str, what: str) -> int:
    """Plain decimal text as micros of zero or more, exactly."""
    whole, _, fraction = decimal.partition(".")
    fraction = fraction.rstrip("0")
    try:
        micros = parse_micros(f"{whole}.{fraction}" if fraction else whole, what=what)
    except BadInput as error:
        raise Unreadable(error.wrong) from error
    if micros < 0:
        raise Unreadable(f"{what} is negative: {decimal[:40]}")
    return micros


def instant_ms(value: object) -> int:
    """Unix seconds, Unix milliseconds or ISO 8601 with a zone, as Unix milliseconds; else `NOT_TOLD`."""
    if isinstance(value, bool) or not isinstance(value, (int, str)) or not _short(value):
        return NOT_TOLD
    told = str(value).strip()
    if re.fullmatch(r"[0-9]{1,18}", told):
        number = int(told)
        at = number if number >= _MILLISECONDS_FROM else number * 1000
    else:
        at = _iso_ms(told)
    return at if 0 < at <= _LATEST_MS else NOT_TOLD


def _iso_ms(told: str) -> int:
    try:
        parsed = datetime.fromisoformat(told)
        return (parsed - _EPOCH) // _MILLISECOND if parsed.tzinfo else NOT_TOLD
    except (ValueError, OverflowError):
        return NOT_TOLD

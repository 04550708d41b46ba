"""Reads what a person types: durations, instants, scopes, order numbers. Exact or an error."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from app.errors import BadInput, Code

_DURATION: Final = re.compile(r"(?P<number>[0-9]{1,9})(?P<unit>ms|s|m|h|d)")
_UNIT_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_ORDER_ID: Final = re.compile(r"[0-9]{1,18}")
_VENUE_ID: Final = re.compile(r"0x[0-9a-fA-F]{64}")
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
"""What Python makes of a byte of the command line that is not UTF-8."""
_SCOPES: Final = ("account", "group", "market")

NOTHING: Final = "nothing was changed"


def parse_duration_ms(text: str, *, what: str) -> int:
    """``30s``, ``5m``, ``1500ms``, ``1h`` as milliseconds; a unit is needed. Code BAD_VALIDITY."""
    match = _DURATION.fullmatch(text.strip()) if len(text) <= 32 else None
    if match is None:
        raise BadInput(
            Code.BAD_VALIDITY,
            f"{what} is not a duration: {text[:40]!r}",
            not_done=NOTHING,
            next_step="write a whole number and a unit, such as 1500ms, 30s, 5m, 1h",
        )
    return int(match["number"]) * _UNIT_MS[match["unit"]]


def parse_instant_s(text: str, *, what: str) -> int:
    """Unix seconds, or ISO 8601 with a time zone, as Unix seconds. Code BAD_VALIDITY."""
    given = text.strip()[:64]
    if re.fullmatch(r"[0-9]{1,12}", given):
        return int(given)
    try:
        instant = datetime.fromisoformat(given)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None or instant.microsecond:
        raise BadInput(
            Code.BAD_VALIDITY,
            f"{what} is not an instant in whole seconds: {given[:40]!r}",
            not_done=NOTHING,
            next_step="write Unix seconds, or a date with its time zone: 2030-01-31T12:00:00Z",
        )
    return int(instant.timestamp())


def parse_scope(text: str) -> tuple[str, str | None]:
    """``global``, ``account:ID``, ``group:ID`` or ``market:ID``. Code BAD_REQUEST."""
    kind, colon, name = text.strip().partition(":")
    if kind == "global" and not colon:
        return "global", None
    if kind in _SCOPES and name:
        return kind, name
    raise BadInput(
        Code.BAD_REQUEST,
        f"{text[:60]!r} is not a scope",
        not_done=NOTHING,
        next_step="write global, account:ID, group:ID or market:ID",
    )


def parse_count(text: str, *, what: str, least: int, most: int) -> int:
    """A whole number within bounds. Code BAD_NUMBER."""
    given = text.strip()
    if not re.fullmatch(r"[0-9]{1,12}", given) or not least <= int(given) <= most:
        raise BadInput(
            Code.BAD_NUMBER,
            f"{what} is not a whole number from {least} to {most}: {given[:40]!r}",
            not_done=NOTHING,
            next_step=f"give a whole number from {least} to {most}",
        )
    return int(given)


def check_text(arguments: Sequence[str]) -> None:
    """Raise for bytes that are no text: the database could not store them. Codes BAD_KEY for a key,
    else BAD_REQUEST.
    """
    for before, given in zip(("", *arguments), arguments, strict=False):
        if given.isascii() or not _LONE_SURROGATE.search(given):
            continue
        if before == "--key" or given.startswith("--key="):
            raise BadInput(
                Code.BAD_KEY,
                "the key is not UTF-8 text",
                not_done=NOTHING,
                next_step="give a key of 1 to 200 bytes of UTF-8, the same whenever this intent is "
                "repeated",
            )
        raise BadInput(
            Code.BAD_REQUEST,
            f"the argument {given[:60].encode('utf-8', 'replace').decode()!r} is not UTF-8 text",
            not_done=NOTHING,
            next_step="write it in UTF-8 (see the locale of this shell)",
        )


def is_order_number(text: str) -> bool:
    """Whether it is the ledger's own number of an order."""
    return _ORDER_ID.fullmatch(text) is not None


def is_venue_order_id(text: str) -> bool:
    """Whether it has the form of an order's hash."""
    return _VENUE_ID.fullmatch(text) is not None

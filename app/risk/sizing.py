"""How large an order may be: a base size, made smaller by volatility, drawdown, the hour, the weekend and the close.

Pure: no clock, no database, no float. The same inputs give the same size on every machine, and all
of them are kept with the intent (see `Sized.record`), so that a size can be recomputed long after
from what was known then. The limits themselves are the ledger's: nothing here opens anything that
a reservation would refuse.

Factors are in millionths (ppm). Each is between nothing and the whole, so a size is never above its
base; what remains is rounded down to the step and is nothing if that is below the minimum.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import pairwise
from math import isqrt
from typing import Any, Final

from app.errors import BadInput, Code
from app.money import MAX_MICROS, MICROS

WHOLE: Final = 1_000_000
"""The factor that changes nothing."""

MOST_MIDS: Final = 60
MOST_LIMITS: Final = 16
MOST_NAME: Final = 40
"""What is recorded is bounded, since it goes into a row with each intent."""

MOST_RECORD_BYTES: Final = 3_000

_MINUTE_MS: Final = 60_000
_DAY_MINUTES: Final = 1_440
_DAY_MS: Final = _DAY_MINUTES * _MINUTE_MS
_FIRST_DAY: Final = 3
"""1 January 1970 was a Thursday; Monday is 0."""

_MILLENNIA_MS: Final = 10**14


@dataclass(frozen=True, slots=True, kw_only=True)
class SizingRules:
    """What a strategy wants; each rule is off as delivered but for the step.

    ``base_micros``, ``min_size_micros`` and ``step_micros`` are shares. Volatility is the root mean
    square of the changes between recent mids: up to ``calm_micros`` the size stays whole, beyond it
    shrinks in proportion, and from ``wild_micros`` on nothing is bought; with fewer than
    ``mids_needed`` mids, or than two, ``unknown_ppm`` holds. Within ``peak_from_minute`` to ``peak_to_minute`` of
    the UTC day (which may span midnight; equal: never) ``peak_ppm`` holds, on Saturdays and Sundays
    ``weekend_ppm`` (0 switches the weekend off). The last ``close_from_ms`` before the close shrink
    evenly to nothing at ``close_to_ms``.
    """

    base_micros: int
    min_size_micros: int
    step_micros: int = 10_000
    calm_micros: int = 0
    wild_micros: int = 0
    mids_needed: int = 0
    unknown_ppm: int = WHOLE
    peak_from_minute: int = 0
    peak_to_minute: int = 0
    peak_ppm: int = WHOLE
    weekend_ppm: int = WHOLE
    close_from_ms: int = 0
    close_to_ms: int = 0

    def __post_init__(self) -> None:
        for one in fields(self):
            _whole(one.name, getattr(self, one.name), most=MAX_MICROS)
        for name in ("unknown_ppm", "peak_ppm", "weekend_ppm"):
            _whole(name, getattr(self, name), most=WHOLE)
        _whole("step_micros", self.step_micros, least=1)
        _whole("mids_needed", self.mids_needed, most=MOST_MIDS)
        for name in ("peak_from_minute", "peak_to_minute"):
            _whole(name, getattr(self, name), most=_DAY_MINUTES)
        if self.wild_micros and self.wild_micros <= self.calm_micros:
            raise _wrong("wild_micros must be above calm_micros, or 0 for never")
        if self.close_to_ms > self.close_from_ms:
            raise _wrong("close_to_ms must not be above close_from_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What was known when an order was sized.

    ``mids`` are recent middles of the book, oldest first, at most 60, at even distances in time.
    ``drawdown_ppm`` is the account's ``size_factor_ppm``. ``closes_at_ms`` is None where nothing
    closes. ``limits_left`` names what is left under each limit that bounds the order, in shares
    (see `shares_for`); the smallest one holds.
    """

    now_ms: int
    mids: tuple[int, ...] = ()
    drawdown_ppm: int = WHOLE
    closes_at_ms: int | None = None
    limits_left: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _whole("now_ms", self.now_ms, most=_MILLENNIA_MS)
        _whole("drawdown_ppm", self.drawdown_ppm, most=WHOLE)
        if self.closes_at_ms is not None:
            _whole("closes_at_ms", self.closes_at_ms, most=_MILLENNIA_MS)
        if len(self.mids) > MOST_MIDS:
            raise _wrong(f"{len(self.mids)} mids were given, and at most {MOST_MIDS} are taken")
        for mid in self.mids:
            _whole("a mid", mid, most=MICROS)
        if len(self.limits_left) > MOST_LIMITS:
            raise _wrong(
                f"{len(self.limits_left)} limits were given, at most {MOST_LIMITS} are taken"
            )
        for name, left in self.limits_left.items():
            if not 1 <= len(name.encode()) <= MOST_NAME:
                raise _wrong(f"the name of a limit is text of 1 to {MOST_NAME} bytes")
            _whole(f"what is left under {name}", left, least=-MAX_MICROS, most=MAX_MICROS)


@dataclass(frozen=True, slots=True)
class Sized:
    """A size with the reason for it: every factor, every input, every rule.

    ``size_micros`` is 0 if nothing is to be placed. ``bound_by`` names the limit that was smaller
    than the factors left, or is empty.
    """

    size_micros: int
    factors: Mapping[str, int]
    bound_by: str
    rules: SizingRules
    moment: Moment

    def record(self) -> dict[str, Any]:
        """What is kept with the intent: JSON of a bounded size, from which `again` sizes anew.

        Rules at rest are left out.
        """
        return {
            "size": self.size_micros,
            "factors": dict(self.factors),
            "bound_by": self.bound_by,
            "rules": _unlike_default(self.rules),
            "moment": _unlike_default(self.moment),
        }


def size(rules: SizingRules, moment: Moment) -> Sized:
    """The size of an order: see `SizingRules` for each factor. Never above the base."""
    factors = {
        "volatility": volatility_factor(rules, moment.mids),
        "drawdown": moment.drawdown_ppm,
        "peak": _peak_factor(rules, moment.now_ms),
        "weekend": rules.weekend_ppm if _is_weekend(moment.now_ms) else WHOLE,
        "close": _close_factor(rules, moment),
    }
    share, whole = rules.base_micros, 1
    for factor in factors.values():  # one division at the end: no factor is rounded before another
        share, whole = share * factor, whole * WHOLE
    wanted = share // whole
    bound_by = min(
        moment.limits_left, key=lambda name: (moment.limits_left[name], name), default=""
    )
    left = moment.limits_left.get(bound_by, wanted)
    given = max(min(wanted, left), 0) // rules.step_micros * rules.step_micros
    if given < rules.min_size_micros:
        given = 0
    return Sized(given, factors, bound_by if left < wanted else "", rules, moment)


def again(record: Mapping[str, Any]) -> Sized:
    """Size anew from what `Sized.record` kept. Raises `BadInput` for what no sizing recorded."""
    try:
        moment = dict(record["moment"])
        moment["mids"] = tuple(moment.get("mids", ()))
        return size(SizingRules(**record["rules"]), Moment(**moment))
    except (KeyError, TypeError, ValueError) as error:
        raise _wrong(f"this is no record of a sizing: {error}") from error


def volatility(mids: tuple[int, ...]) -> int:
    """Root mean square of the changes from one mid to the next, in micros, rounded down."""
    changes = [later - earlier for earlier, later in pairwise(mids)]
    return isqrt(sum(change * change for change in changes) // len(changes)) if changes else 0


def volatility_factor(rules: SizingRules, mids: tuple[int, ...]) -> int:
    """The whole while calm, in proportion beyond, nothing when wild."""
    # A change takes two mids: with fewer nothing is known, however few the rules ask for.
    judged = rules.calm_micros > 0 or rules.wild_micros > 0
    if len(mids) < max(rules.mids_needed, 2 if judged else 0):
        return rules.unknown_ppm
    moved = volatility(mids)
    if rules.wild_micros and moved >= rules.wild_micros:
        return 0
    if not rules.calm_micros or moved <= rules.calm_micros:
        return WHOLE
    return rules.calm_micros * WHOLE // moved


def shares_for(collateral_micros: int, price_micros: int) -> int:
    """How many shares a limit in collateral leaves at a price, rounded down. Raises `BadInput` for a price of 0."""
    _whole("collateral_micros", collateral_micros, least=-MAX_MICROS)
    _whole("price_micros", price_micros, least=1, most=MICROS)
    return collateral_micros * MICROS // price_micros


def _peak_factor(rules: SizingRules, now_ms: int) -> int:
    minute = now_ms % _DAY_MS // _MINUTE_MS
    start, end = rules.peak_from_minute, rules.peak_to_minute
    within = start <= minute < end if start <= end else minute >= start or minute < end
    return rules.peak_ppm if within else WHOLE


def _is_weekend(now_ms: int) -> bool:
    return (now_ms // _DAY_MS + _FIRST_DAY) % 7 >= 5


def _close_factor(rules: SizingRules, moment: Moment) -> int:
    if moment.closes_at_ms is None:
        return WHOLE
    left_ms = moment.closes_at_ms - moment.now_ms
    if left_ms <= rules.close_to_ms:
        return 0
    if left_ms >= rules.close_from_ms:
        return WHOLE
    return (left_ms - rules.close_to_ms) * WHOLE // (rules.close_from_ms - rules.close_to_ms)


def _unlike_default(given: SizingRules | Moment) -> dict[str, Any]:
    found = {one.name: getattr(given, one.name) for one in fields(given)}
    resting = {one.name: one.default for one in fields(given)}
    kept = {name: value for name, value in found.items() if value != resting[name]}
    if "mids" in kept:
        kept["mids"] = list(kept["mids"])
    if "limits_left" in kept:
        kept["limits_left"] = dict(kept["limits_left"])
    return kept


def record_bytes(record: Mapping[str, Any]) -> int:
    """How much room a record takes in a row."""
    return len(json.dumps(record, ensure_ascii=False).encode())


def _whole(name: str, value: object, *, least: int = 0, most: int = MAX_MICROS) -> None:
    # bool is an int to Python, and no size to anybody.
    if type(value) is not int or not least <= value <= most:
        raise _wrong(f"{name} must be a whole number from {least} to {most}, not {value!r:.40}")


def _wrong(what: str) -> BadInput:
    return BadInput(
        Code.BAD_NUMBER,
        what,
        not_done="nothing was sized",
        next_step="give whole numbers: micros, milliseconds, millionths",
    )

"""The terms an order must obey: tokens, tick, minimum size, fees, exchange. Missing means not
tradable.

Each function reads one term and appends to ``reasons`` why it cannot be relied on. A field that
is present and unreadable is reported by its name elsewhere, so it is not called missing here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from app.markets.events import EventFacts
from app.markets.fields import Fields
from app.markets.model import (
    MAX_FEE_EXPONENT,
    MAX_FEE_RATE_MICROS,
    TICKS_MICROS,
    OutcomeRecord,
    Reason,
)

_TOKEN_ID: Final = re.compile(r"[1-9][0-9]{0,77}")
_UINT256_END: Final = 1 << 256
_V2_RESERVED_BITS: Final = ((1 << 64) - 1) << 40
# Names held free in an augmented event: "Person B", "Company AA". One word only, for "New York J"
# is a team.
_PLACEHOLDER: Final = re.compile(r"(?i:other|another\b.*)|\w+ [A-Z]{1,2}")


@dataclass(frozen=True, slots=True)
class FeeTerms:
    """``rate_micros`` and ``exponent`` are None together, when the fee is not known."""

    enabled: bool | None
    rate_micros: int | None
    exponent: int | None
    taker_only: bool


def read_version(market: Fields, event: EventFacts) -> str:
    """Protocol version: ``v1`` unless the market or its event says ``v2``; others are bad."""
    said = (market.text("version") or event.version or "v1").lower()
    if said not in ("v1", "v2"):
        market.bad.append("version")
        return "v1"
    return said


def read_outcomes(market: Fields, version: str, reasons: list[str]) -> tuple[OutcomeRecord, ...]:
    """Both sides of the market, or none: half a market cannot be hedged, netted or checked."""
    token_field = "positionIds" if version == "v2" else "clobTokenIds"
    labels = market.strings("outcomes")
    tokens = market.strings(token_field)
    if (labels is not None and len(labels) != 2) or market.text("marketType") == "scalar":
        reasons.append(Reason.NOT_BINARY)
        return ()
    if labels is not None and (labels[0] == labels[1] or not all(labels)):
        market.bad.append("outcomes")
        labels = None
    if labels is None and not market.is_bad("outcomes"):
        reasons.append(Reason.NOT_BINARY)
    if tokens is None or not tokens:
        if not market.is_bad(token_field):
            reasons.append(Reason.NO_TOKENS)
        return ()
    if not _usable(tokens):
        market.bad.append(token_field)
        return ()
    if not _in_id_space(tokens, version):
        reasons.append(Reason.PROTOCOL_MISMATCH)
        return ()
    if labels is None:
        return ()
    return tuple(OutcomeRecord(i, labels[i], tokens[i]) for i in (0, 1))


def _usable(tokens: tuple[str, ...]) -> bool:
    return len(set(tokens)) == len(tokens) == 2 and all(
        _TOKEN_ID.fullmatch(token) and int(token) < _UINT256_END for token in tokens
    )


def _in_id_space(tokens: tuple[str, ...], version: str) -> bool:
    """The token id decides which exchange takes the order (docs/venue.md 2.2), so it must agree
    with the version.

    A V2 id also ends in its outcome's index: a swapped pair would buy the other side.
    """
    structural = [int(token) & _V2_RESERVED_BITS == 0 for token in tokens]
    if version == "v1":
        return not any(structural)
    return all(structural) and [int(token) & 0xFF for token in tokens] == [0, 1]


def read_tick(market: Fields, reasons: list[str]) -> int | None:
    """Tick in micros, one of `TICKS_MICROS`."""
    tick = market.micros("orderPriceMinTickSize")
    if tick is None:
        if not market.is_bad("orderPriceMinTickSize"):
            reasons.append(Reason.NO_TICK)
    elif tick not in TICKS_MICROS:
        reasons.append(Reason.BAD_TICK)
        return None
    return tick


def read_min_size(market: Fields, reasons: list[str]) -> int | None:
    """Smallest order in micro-shares, above zero."""
    size = market.micros("orderMinSize")
    if size is None:
        if not market.is_bad("orderMinSize"):
            reasons.append(Reason.NO_MIN_SIZE)
    elif size <= 0:
        reasons.append(Reason.BAD_MIN_SIZE)
        return None
    return size


def read_fees(market: Fields, reasons: list[str]) -> FeeTerms:
    """The highest fee that what is stated allows.

    A schedule counts even where ``feesEnabled`` is false or absent: a hold that is too high comes
    back, one that is too low is an overdraft. No schedule is free of fees only where
    ``feesEnabled`` is false in words and no base fee contradicts it; otherwise the fee is
    unknown. ``takerOnly`` absent means that makers pay too. ``takerBaseFee`` is a ceiling (1000
    or 0) and never a rate (docs/venue.md 8.2).
    """
    enabled = market.flag("feesEnabled")
    ceilings = [market.micros(name) for name in ("takerBaseFee", "makerBaseFee")]
    schedule = market.child("feeSchedule")
    if schedule is None:
        if enabled is False and not any(ceilings) and not market.is_bad("feeSchedule"):
            return FeeTerms(enabled, 0, 1, True)
        if not market.is_bad("feeSchedule", "feesEnabled"):
            reasons.append(Reason.NO_FEES)
        return FeeTerms(enabled, None, None, False)
    rate = schedule.micros("rate")
    exponent = schedule.integer("exponent")
    taker_only = schedule.flag("takerOnly") is True
    if rate is None or exponent is None:
        if not market.is_bad("feeSchedule"):
            reasons.append(Reason.NO_FEES)
        return FeeTerms(enabled, None, None, taker_only)
    if not (0 <= rate <= MAX_FEE_RATE_MICROS and exponent <= MAX_FEE_EXPONENT):
        reasons.append(Reason.BAD_FEES)
        return FeeTerms(enabled, None, None, taker_only)
    return FeeTerms(enabled, rate, exponent, taker_only)


def read_neg_risk(
    market: Fields, event: EventFacts, reasons: list[str]
) -> tuple[bool | None, bool]:
    """(neg-risk, augmented). The first picks the exchange to sign for: two opinions are none."""
    own = market.flag("negRisk")
    said = event.neg_risk if own is None else event.neg_risk | {own}
    augmented = True in event.augmented
    if len(said) != 1 or market.is_bad("negRisk"):
        if not market.is_bad("negRisk"):
            reasons.append(Reason.NEG_RISK_CONFLICT if said else Reason.NEG_RISK_UNKNOWN)
        return None, augmented
    (neg_risk,) = said
    if neg_risk and not event.augmented:
        reasons.append(Reason.AUGMENTED_UNKNOWN)
    name = market.text("groupItemTitle")
    if market.flag("negRiskOther") or (
        augmented and (name is None or _PLACEHOLDER.fullmatch(name))
    ):
        reasons.append(Reason.PLACEHOLDER_OUTCOME)
    return neg_risk, augmented

"""The CLOB's own object of a market, and what becomes of a Gamma record once it is read.

Gamma is a cache; the order book refuses by its own terms. So tick, minimum size and fees come from
here (docs/venue.md 8.2, 10), and where the two disagree on what a market *is* (its tokens, its
exchange) it is not traded. Two forms are served: the compact one of ``/clob-markets/{condition}``,
which leaves out what is false, and the long one of ``/markets/{condition}``, which has no real fee.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from app.markets.exact_json import digest
from app.markets.fields import Fields
from app.markets.gamma import normal_condition
from app.markets.model import (
    MAX_FEE_EXPONENT,
    MAX_FEE_RATE_MICROS,
    TICKS_MICROS,
    MarketRecord,
    OutcomeRecord,
    Reason,
    bad_field,
)

_MENDED: Final = re.compile(
    "NO_TICK|BAD_TICK|NO_MIN_SIZE|BAD_MIN_SIZE|NO_FEES|BAD_FEES"
    "|BAD_FIELD:(orderPriceMinTickSize|orderMinSize|feesEnabled|takerBaseFee|makerBaseFee"
    r"|feeSchedule(\..*)?)"
)
"""Reasons of a Gamma record that are about terms of which the CLOB has the last word."""


@dataclass(frozen=True, slots=True)
class ClobToken:
    """``won`` is None where the object does not say (the compact form never does)."""

    token_id: str
    label: str
    won: bool | None


@dataclass(frozen=True, slots=True)
class ClobMarket:
    """One CLOB market object as read; None means that it does not say.

    ``bad`` names the fields that are present and unreadable. ``fee_rate_micros`` is the real rate
    (``fd.r``); ``fee_ceilings`` are the base fees, an authorisation and never a rate.
    ``taker_delay`` says that marketable orders are held, ``seconds_delay`` for how long.
    """

    form: Literal["compact", "long"]
    condition_id: str | None
    tokens: tuple[ClobToken, ...]
    tick_micros: int | None
    min_size_micros: int | None
    fee_stated: bool
    fee_rate_micros: int | None
    fee_exponent: int | None
    fee_taker_only: bool
    fee_ceilings: tuple[int, ...]
    neg_risk: bool
    accepting_orders: bool | None
    order_book: bool | None
    active: bool | None
    closed: bool | None
    archived: bool | None
    game_start_ms: int | None
    seconds_delay: int | None
    taker_delay: bool
    bad: tuple[str, ...]
    raw_digest: str


def read_clob_market(raw: Mapping[str, object]) -> ClobMarket:
    """Read either form. Never raises for what a field holds; nesting too deep raises
    `RecursionError`.
    """
    return _long(raw) if "condition_id" in raw or "tokens" in raw else _compact(raw)


def _compact(raw: Mapping[str, object]) -> ClobMarket:
    market = Fields(raw, prefix="clob.")
    fees = market.child("fd")
    ceilings = (market.micros("mbf"), market.micros("tbf"))
    return ClobMarket(
        form="compact",
        condition_id=_condition(market, "c"),
        tokens=_tokens(market, "t", "t", "o"),
        tick_micros=market.micros("mts"),
        min_size_micros=market.micros("mos"),
        fee_stated=fees is not None or market.is_bad("fd"),
        fee_rate_micros=None if fees is None else fees.micros("r"),
        fee_exponent=None if fees is None else fees.integer("e"),
        fee_taker_only=fees is not None and fees.flag("to") is True,
        fee_ceilings=tuple(each for each in ceilings if each is not None),
        neg_risk=market.flag("nr") is True,
        accepting_orders=market.flag("ao"),
        order_book=None,
        active=None,
        closed=None,
        archived=None,
        game_start_ms=market.instant_ms("gst"),
        seconds_delay=None,
        taker_delay=market.flag("itode") is True,
        bad=tuple(market.bad),
        raw_digest=digest(raw),
    )


def _long(raw: Mapping[str, object]) -> ClobMarket:
    market = Fields(raw, prefix="clob.")
    ceilings = (market.micros("maker_base_fee"), market.micros("taker_base_fee"))
    delay = market.integer("seconds_delay")
    return ClobMarket(
        form="long",
        condition_id=_condition(market, "condition_id"),
        tokens=_tokens(market, "tokens", "token_id", "outcome"),
        tick_micros=market.micros("minimum_tick_size"),
        min_size_micros=market.micros("minimum_order_size"),
        fee_stated=False,
        fee_rate_micros=None,
        fee_exponent=None,
        fee_taker_only=False,
        fee_ceilings=tuple(each for each in ceilings if each is not None),
        neg_risk=market.flag("neg_risk") is True,
        accepting_orders=market.flag("accepting_orders"),
        order_book=market.flag("enable_order_book"),
        active=market.flag("active"),
        closed=market.flag("closed"),
        archived=market.flag("archived"),
        game_start_ms=market.instant_ms("game_start_time"),
        seconds_delay=delay,
        taker_delay=bool(delay),
        bad=tuple(market.bad),
        raw_digest=digest(raw),
    )


def _condition(market: Fields, name: str) -> str | None:
    text = market.text(name)
    condition = None if text is None else normal_condition(text)
    if text is not None and condition is None:
        market.bad.append(f"clob.{name}")
    return condition


def _tokens(market: Fields, name: str, token: str, label: str) -> tuple[ClobToken, ...]:
    return tuple(
        ClobToken(each.identifier(token) or "", each.text(label) or "", each.flag("winner"))
        for each in market.children(name)
    )


# ------------------------------------------------------------------------------------- the merge


def worth_asking(gamma: MarketRecord) -> bool:
    """Whether the CLOB's object could make, or keep, this record tradable."""
    return bool(gamma.outcomes) and not _lasting(gamma.untradable_reasons)


def merge(gamma: MarketRecord, clob: ClobMarket) -> MarketRecord:
    """The record with the CLOB's tick, minimum size and fees, and every reason that is left.

    What the CLOB leaves out is not filled in from Gamma, but for fees, where Gamma's rate stands in
    if it is above zero: a hold that is too high comes back, one that is too low is an overdraft.
    """
    reasons = _lasting(gamma.untradable_reasons)
    reasons += [bad_field(name) for name in clob.bad]
    if clob.condition_id not in (None, gamma.condition_id):
        reasons.append(Reason.CLOB_MISMATCH)
    rate, exponent, taker_only = _fees(gamma, clob, reasons)
    outcomes = _outcomes(gamma, clob, reasons)
    if gamma.neg_risk is not None and gamma.neg_risk is not clob.neg_risk:
        reasons.append(Reason.NEG_RISK_CONFLICT)
    _check_state(clob, reasons)
    merged = replace(
        gamma,
        outcomes=outcomes,
        tick_micros=_tick(clob, reasons),
        min_size_micros=_min_size(clob, reasons),
        fee_rate_micros=rate,
        fee_exponent=exponent,
        fee_taker_only=taker_only,
        neg_risk=None if Reason.NEG_RISK_CONFLICT in reasons else gamma.neg_risk,
        # it is the book that cancels resting orders at the start
        game_start_ms=clob.game_start_ms or gamma.game_start_ms,
        accepting_orders=gamma.accepting_orders and clob.accepting_orders is not False,
        active=gamma.active and clob.active is not False,
        closed=gamma.closed or clob.closed is True,
        seconds_delay=max(gamma.seconds_delay, clob.seconds_delay or 0),
        untradable_reasons=(),
        raw_digest=digest([gamma.raw_digest, clob.raw_digest]),
    )
    return merged.refused_for(reasons)


def unknown_to_clob(gamma: MarketRecord) -> MarketRecord:
    """The record of a market that the CLOB says it does not know."""
    return gamma.refused_for([Reason.NO_CLOB_MARKET])


def unread_at_clob(gamma: MarketRecord) -> MarketRecord:
    """The record of a market whose CLOB object could not be read."""
    return gamma.refused_for([Reason.CLOB_UNREAD])


def _lasting(reasons: Sequence[str]) -> list[str]:
    return [reason for reason in reasons if not _MENDED.fullmatch(reason)]


def _says_nothing(clob: ClobMarket, *names: str) -> bool:
    """Whether a value is missing rather than unreadable, which is reported by its name."""
    return not any(f"clob.{name}" in clob.bad for name in names)


def _tick(clob: ClobMarket, reasons: list[str]) -> int | None:
    if clob.tick_micros in TICKS_MICROS:
        return clob.tick_micros
    if clob.tick_micros is not None:
        reasons.append(Reason.BAD_TICK)
    elif _says_nothing(clob, "mts", "minimum_tick_size"):
        reasons.append(Reason.NO_TICK)
    return None


def _min_size(clob: ClobMarket, reasons: list[str]) -> int | None:
    if clob.min_size_micros is None:
        if _says_nothing(clob, "mos", "minimum_order_size"):
            reasons.append(Reason.NO_MIN_SIZE)
    elif clob.min_size_micros <= 0:
        reasons.append(Reason.BAD_MIN_SIZE)
        return None
    return clob.min_size_micros


def _fees(
    gamma: MarketRecord, clob: ClobMarket, reasons: list[str]
) -> tuple[int | None, int | None, bool]:
    """(rate, exponent, takers only)."""
    if clob.fee_stated:
        rate, exponent = clob.fee_rate_micros, clob.fee_exponent
        if rate is None or exponent is None:
            if _says_nothing(clob, "fd", "fd.r", "fd.e"):
                reasons.append(Reason.NO_FEES)
            return None, None, clob.fee_taker_only
        if not (0 <= rate <= MAX_FEE_RATE_MICROS and exponent <= MAX_FEE_EXPONENT):
            reasons.append(Reason.BAD_FEES)
            return None, None, clob.fee_taker_only
        return rate, exponent, clob.fee_taker_only
    known = gamma.fee_rate_micros is not None and gamma.fee_exponent is not None
    if known and (gamma.fee_rate_micros or not any(clob.fee_ceilings)):
        return gamma.fee_rate_micros, gamma.fee_exponent, gamma.fee_taker_only
    if not known and len(clob.fee_ceilings) == 2 and not any(clob.fee_ceilings):
        # nothing may be charged where nothing is authorised
        return 0, 1, True
    reasons.append(Reason.NO_FEES)
    return None, None, False


def _outcomes(
    gamma: MarketRecord, clob: ClobMarket, reasons: list[str]
) -> tuple[OutcomeRecord, ...]:
    """Gamma's outcomes if the CLOB names the same two tokens with the same labels, else none."""
    if not clob.tokens:
        if _says_nothing(clob, "t", "tokens"):
            reasons.append(Reason.NO_TOKENS)
        return gamma.outcomes
    ours = {each.token_id: each.label.casefold() for each in gamma.outcomes}
    theirs = {each.token_id: each.label.casefold() for each in clob.tokens}
    if len(theirs) == len(clob.tokens) and ours == theirs:
        return gamma.outcomes
    if gamma.outcomes:
        reasons.append(Reason.OUTCOME_CONFLICT)
    return ()


def _check_state(clob: ClobMarket, reasons: list[str]) -> None:
    """What the CLOB says against trading. What it leaves out, Gamma has had to say."""
    for wrong, reason in (
        (clob.closed is True, Reason.CLOSED),
        (clob.archived is True, Reason.ARCHIVED),
        (clob.active is False, Reason.NOT_ACTIVE),
        (clob.accepting_orders is False, Reason.NOT_ACCEPTING),
        (clob.order_book is False, Reason.NO_ORDERBOOK),
        (any(each.won for each in clob.tokens), Reason.RESOLVED),
    ):
        if wrong:
            reasons.append(reason)

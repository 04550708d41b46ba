"""Answers to the four DELETE requests: cancelled is only what the list of the cancelled names."""

from __future__ import annotations

from typing import Any, Final

from app.venue.interface import CancelAccepted, CancelNotListed, CancelNotSent, CancelRefused
from app.venue.polymarket import answers
from app.venue.polymarket.wire import Endpoint, Exchange, Phase
from proof.fuzzing.answers import (
    IDS,
    STRANGER,
    Nonsense,
    bent_exchange,
    body_of,
    printable_enough,
    whole,
)
from proof.fuzzing.model import Random, Target, require, steady
from proof.fuzzing.targets.placing import refusal

_ENDPOINTS: Final = (
    Endpoint.DELETE_ORDER,
    Endpoint.DELETE_ORDERS,
    Endpoint.DELETE_ALL,
    Endpoint.DELETE_MARKET,
)
_WIDE: Final = (Endpoint.DELETE_ALL, Endpoint.DELETE_MARKET)


def make(rng: Random) -> tuple[Exchange, tuple[str, ...]]:
    endpoint = rng.choice(_ENDPOINTS)
    ours = IDS[: 1 if endpoint is Endpoint.DELETE_ORDER else rng.choice((1, 2, 3))]
    if rng.random() < 0.2:
        return refusal(rng, endpoint), ours
    canceled, refused = [], {}
    for one in (*ours, STRANGER):
        roll = rng.random()
        if roll < 0.5:
            canceled.append(rng.choice((one, one, one.upper().replace("0X", "0x"))))
        elif roll < 0.8:
            refused[one] = rng.choice(
                (
                    "order not found",
                    "matched orders can't be canceled",
                    "the order is already canceled",
                    "",
                )
            )
    body: dict[str, Any] = {"canceled": canceled, "not_canceled": refused}
    return bent_exchange(rng, endpoint, body), ours


def check(given: tuple[Exchange, tuple[str, ...]]) -> str:
    exchange, ours = given
    outcomes = answers.cancel_outcomes(exchange, ours)
    require(
        len(outcomes) == len(ours), "misread", f"{len(outcomes)} outcomes for {len(ours)} cancels"
    )
    listed = _listed(exchange)
    for one, outcome in zip(ours, outcomes, strict=True):
        printable_enough(outcome.raw, "the raw answer")
        is_named = listed is not None and one in listed
        if isinstance(outcome, CancelAccepted):
            require(is_named, "misread", "taken for cancelled, and no list says so")
        elif isinstance(outcome, CancelRefused):
            printable_enough(outcome.reason, "the reason")
            require(
                listed is not None and not is_named,
                "misread",
                "taken for refused, and the list says cancelled",
            )
        elif isinstance(outcome, CancelNotListed):
            require(
                exchange.endpoint in _WIDE and listed is not None,
                "misread",
                "not listed, where nothing was listed",
            )
            require(not is_named, "misread", "not listed, and the list names it")
        elif isinstance(outcome, CancelNotSent):
            whole(outcome.retry_after_ms, 0, 3_600_000, "the time to wait")
            require(
                exchange.phase is Phase.CONNECTING
                or (exchange.phase is Phase.DONE and exchange.status != 200),
                "misread",
                "not processed, and yet there is an answer",
            )
    whole(answers.wide_cost(exchange, 3), 0, 10**6, "what it cost")
    answers.mode_of(exchange)
    return "+".join(type(one).__name__ for one in outcomes)


def _listed(exchange: Exchange) -> set[str] | None:
    """The ids of the list of a clean 200 that are not in the other list as well; None where there is no such list."""
    if exchange.status != 200:
        return None
    try:
        body = body_of(exchange)
    except Nonsense:
        return None
    if not isinstance(body, dict) or "canceled" not in body:
        return None
    canceled, refused = body["canceled"] or [], body.get("not_canceled") or {}
    if not isinstance(canceled, list) or not isinstance(refused, dict):
        return None
    return {one.lower() for one in canceled if isinstance(one, str)} - {
        str(one).lower() for one in refused
    }


TARGETS: Final = (Target("cancel", make, steady(check), weight=1.5),)

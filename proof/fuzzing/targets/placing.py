"""Answers to ``POST /order`` and ``POST /orders``: accepted, refused or not placed only where the documents say so."""

from __future__ import annotations

import re
from typing import Any, Final

from app.venue.interface import (
    Accepted,
    NotPlaced,
    PlaceOutcome,
    RefusedBy,
    Rejected,
    Seen,
    Unknown,
)
from app.venue.polymarket import answers
from app.venue.polymarket.wire import Endpoint, Exchange, Phase
from proof.fuzzing.answers import (
    IDS,
    OURS,
    STRANGER,
    Nonsense,
    bent_exchange,
    body_of,
    printable_enough,
    whole,
)
from proof.fuzzing.model import Random, Target, Violated, require, steady

REFUSALS: Final = (
    "not enough balance / allowance",
    "not enough balance / allowance: the balance is not enough -> balance: 1, order amount: 2",
    "invalid signature",
    "order 0x" + "a1" * 32 + " is invalid. Price (0.123) breaks minimum tick size rule: 0.01",
    "order 0x" + "a1" * 32 + " is invalid. Size (1) lower than the minimum: 5",
    "invalid post-only order: order crosses book",
    "order couldn't be fully filled. FOK orders are fully filled or killed.",
    "no orders found to match with FAK order. FAK orders are partially filled or killed if no match is found.",
    "the orderbook 123 does not exist",
    "invalid expiration",
    "invalid nonce",
    "Invalid order payload",
    "order_version_mismatch",
    "'0xabc' address banned",
    "'0xabc' address in closed only mode",
    "the order owner has to be the owner of the API KEY",
    "maker address not allowed, please use the deposit wallet flow",
)
"""Texts that the venue documents for a definite end of these bytes."""

PUT_OFF: Final = (
    "the market is not yet ready to process new orders",
    "order match delayed due to market conditions",
    "Trading is currently cancel-only. New orders are not accepted, but cancels are allowed.",
    "Trading is currently disabled. Check polymarket.com for updates",
    "post-only mode: only post-only orders and cancels are allowed",
)
SEEN: Final = (
    "order 0x" + "a1" * 32 + " is invalid. Duplicated.",
    "order is invalid. Duplicated. Same order has already been placed, can't be placed again",
    "order 0x" + "a1" * 32 + " already exists",
)
OPEN: Final = (
    "could not insert order", "could not run the execution", "there are no matching orders", "order timed out",
    "the trade contains rounding issues", "error delaying the order", "context canceled", "internal error",
    "Rate limit exceeded for tokenId: 123", "FOK orders are filled or killed", "Bad Gateway", "",
)  # fmt: skip
"""Texts that say nothing about these bytes."""

_ENDS: Final = re.compile(
    "not enough balance|invalid signature|invalid signer|minimum tick size|lower than the minimum|crosses"
    "|fully filled|fak order|orderbook|invalid expiration|invalid nonce|invalid order|order_version|address banned"
    "|closed only|order owner|order signer|maker address|invalid amounts|too many orders|invalid post-only"
    "|ctf exchange|restricted in your region|unauthorized|invalid api key|invalid l1"
)
_SAYS_LATER: Final = re.compile(
    "not yet ready|match delayed|cancel-only|currently disabled|post-only mode"
)
_SAYS_SEEN: Final = re.compile("duplicated|already exists")
_SAYS_NOTHING: Final = re.compile(
    "could not insert|could not run|no matching orders|rounding issues|discrepancy|are filled or killed|timed out"
    "|error delaying|context cancel|rate limit exceeded for tokenid"
)
_LATER_STATUSES: Final = (425, 429)


# --- inputs ---------------------------------------------------------------------------------------


def result(rng: Random, ours: str) -> dict[str, Any]:
    """One result in a documented shape."""
    kind = rng.random()
    if kind < 0.55:
        return {
            "success": True,
            "errorMsg": "",
            "orderID": rng.choice((ours, ours, ours, ours.upper().replace("0X", "0x"), STRANGER)),
            "status": rng.choice(("live", "matched", "delayed", "live", "unmatched", "")),
            "makingAmount": rng.choice(("", "4.5", "9.999999")),
            "takingAmount": rng.choice(("", "10")),
            **({"tradeIDs": ["t-1"]} if rng.random() < 0.3 else {}),
        }
    text = rng.choice(rng.choice((REFUSALS, PUT_OFF, SEEN, OPEN)))
    return {
        "success": rng.choice((True, False)),
        "errorMsg": text,
        "orderID": "" if rng.random() < 0.8 else ours,
        "status": "" if rng.random() < 0.8 else "live",
    }


def make_single(rng: Random) -> tuple[Exchange, tuple[str, ...]]:
    if rng.random() < 0.3:
        return refusal(rng, Endpoint.POST_ORDER), (OURS,)
    return bent_exchange(rng, Endpoint.POST_ORDER, result(rng, OURS)), (OURS,)


def make_batch(rng: Random) -> tuple[Exchange, tuple[str, ...]]:
    ours = IDS[: rng.choice((1, 2, 2, 3, 3))]
    if rng.random() < 0.2:
        return refusal(rng, Endpoint.POST_ORDERS), ours
    results = [result(rng, one) for one in ours]
    if rng.random() < 0.1:
        rng.shuffle(results)
    return bent_exchange(rng, Endpoint.POST_ORDERS, results), ours


def refusal(rng: Random, endpoint: Endpoint) -> Exchange:
    """A whole request refused, under a status."""
    text = rng.choice(
        rng.choice((REFUSALS, PUT_OFF, SEEN, OPEN, ("Unauthorized/Invalid api key",)))
    )
    body: dict[str, Any] = {rng.choice(("error", "error", "errorMsg")): text}
    if rng.random() < 0.2:
        body |= {"code": "post_only_mode", "retry_after_seconds": rng.choice((1, 5, "2.5", -1))}
    status = rng.choice((400, 400, 401, 403, 404, 425, 429, 500, 503))
    return bent_exchange(rng, endpoint, body, status=status)


# --- what must hold -------------------------------------------------------------------------------


def check(given: tuple[Exchange, tuple[str, ...]]) -> str:
    exchange, ours = given
    outcomes = answers.place_outcomes(exchange, ours)
    judge(exchange, ours, outcomes)
    return "+".join(type(one).__name__ for one in outcomes)


def judge(exchange: Exchange, ours: tuple[str, ...], outcomes: list[PlaceOutcome]) -> None:
    """Hold the outcomes against the documents."""
    require(
        len(outcomes) == len(ours), "misread", f"{len(outcomes)} outcomes for {len(ours)} orders"
    )
    items = _items(exchange, len(ours))
    for at, (outcome, one) in enumerate(zip(outcomes, ours, strict=True)):
        item = items[at] if items is not None else None
        printable_enough(outcome.raw, "the raw answer")
        match outcome:
            case Accepted():
                _accepted(exchange, item, one, outcome)
            case Rejected():
                require(
                    type(outcome.reason_class) is RefusedBy,
                    "misread",
                    "a refusal without its class",
                )
                _ended(exchange, item, len(ours))
                _not_alive(exchange, item, one)
            case NotPlaced():
                whole(outcome.retry_after_ms, 0, 3_600_000, "the time to wait")
                _later(exchange, item)
                _not_alive(exchange, item, one)
            case Seen():
                _seen(exchange, item)
            case Unknown():
                printable_enough(outcome.reason, "the reason")
                require(
                    not (item is not None and _is_acceptance(exchange, items, at, one)),
                    "misread",
                    "a documented acceptance was not taken for one",
                )
            case _:
                raise Violated("misread", f"an outcome of another kind: {type(outcome).__name__}")


def _items(exchange: Exchange, count: int) -> list[Any] | None:
    """The results of a 200, one for each order; None where there are none."""
    if exchange.status != 200:
        return None
    try:
        body = body_of(exchange)
    except Nonsense:
        return None
    found = [body] if exchange.endpoint is Endpoint.POST_ORDER else body
    return found if isinstance(found, list) and len(found) == count else None


def says_accepted(item: Any, ours: str) -> bool:
    """The documented shape of an acceptance: our id, a known status, and that it went well."""
    if not isinstance(item, dict) or any(
        item.get(name) not in (None, "") for name in ("error", "errorMsg")
    ):
        return False
    named, status, success = item.get("orderID"), item.get("status"), item.get("success")
    went_well = success is True or (success is None and item.get("errorMsg") == "")
    return (
        isinstance(named, str)
        and named.lower() == ours
        and type(status) is str
        and status in ("live", "matched", "delayed")
        and went_well
    )


def _is_acceptance(exchange: Exchange, items: list[Any] | None, at: int, ours: str) -> bool:
    """Beyond doubt: its own place, and every result in its place."""
    if exchange.phase is not Phase.DONE or exchange.status != 200 or items is None:
        return False
    if exchange.body.count(b"[") + exchange.body.count(b"{") > 200:
        return False  # what is nested too deep for the reader is unreadable, and that is right
    places = [one.get("orderID") if isinstance(one, dict) else None for one in items]
    moved = any(name not in (None, "", own) for name, own in zip(places, IDS, strict=False))
    return not moved and says_accepted(items[at], ours) and items[at].get("success") is True


def _not_alive(exchange: Exchange, item: Any, ours: str) -> None:
    """No definite end, and nothing put off, where the same answer shows our order alive or seen."""
    if exchange.phase is not Phase.DONE:
        return
    if exchange.status != 200:
        try:
            item = body_of(exchange)
        except Nonsense:
            return
    if not isinstance(item, dict):
        return
    named = item.get("orderID")
    alive = (
        isinstance(named, str)
        and named.lower() == ours
        and item.get("status") in ("live", "matched", "delayed")
    )
    require(
        not alive,
        "misread",
        f"not alive by HTTP {exchange.status}, and the answer shows our order alive",
    )
    text = _text(exchange, item)
    seen = text is not None and _SAYS_SEEN.search(text) and "0x" in text
    require(
        not seen,
        "misread",
        f"not alive by HTTP {exchange.status}, and the answer says that the venue has it",
    )


def _accepted(exchange: Exchange, item: Any, ours: str, outcome: Accepted) -> None:
    require(exchange.phase is Phase.DONE, "misread", "accepted without a complete answer")
    require(exchange.status == 200, "misread", f"accepted under HTTP {exchange.status}")
    require(says_accepted(item, ours), "misread", "accepted, and the answer does not say so")
    require(outcome.venue_order_id == ours, "misread", "accepted under another id")


def _text(exchange: Exchange, item: Any) -> str | None:
    """The error text that an outcome rests on, in lower case; None where there is none that can be read."""
    if exchange.phase is not Phase.DONE:
        return None
    if exchange.status != 200:
        try:
            item = body_of(exchange)
        except Nonsense:
            return None
    if not isinstance(item, dict):
        return None
    told = [item[name] for name in ("error", "errorMsg") if item.get(name) not in (None, "")]
    if len(told) != 1 or not isinstance(told[0], str):
        return None
    return " ".join(told[0].split()).replace("\u2019", "'").lower()


def _ended(exchange: Exchange, item: Any, orders: int) -> None:
    """A refusal for good needs its text, and nothing beside it that speaks of an order."""
    text = _text(exchange, item)
    require(text is not None, "misread", "refused for good, and no text says so")
    assert text is not None
    require(_ENDS.search(text), "misread", f"refused for good by {text[:80]!r}")
    require(not _SAYS_NOTHING.search(text), "misread", f"refused for good by {text[:80]!r}")
    if exchange.status == 200:
        require(
            not item.get("orderID") and not item.get("status"),
            "misread",
            "refused, and yet it names an order",
        )
    else:
        require(
            exchange.status in (400, 401, 403, 404),
            "misread",
            f"refused for good by HTTP {exchange.status}",
        )
        require(
            orders == 1
            or re.search("too many|banned|region|unauthorized|api key|l1 request", text),
            "misread",
            "one text ended a whole batch",
        )


def _later(exchange: Exchange, item: Any) -> None:
    if exchange.phase is Phase.CONNECTING:
        return
    require(exchange.phase is Phase.DONE, "misread", "not placed, though bytes may have left")
    if exchange.status in _LATER_STATUSES:
        return
    text = _text(exchange, item)
    coded = _code(exchange) == "post_only_mode" and exchange.status == 503
    require(
        coded or (text and _SAYS_LATER.search(text)),
        "misread",
        f"not placed by HTTP {exchange.status} {text!r:.80}",
    )
    require(not (text and _SAYS_NOTHING.search(text)), "misread", f"not placed by {text!r:.80}")
    if exchange.status == 200:
        require(
            not item.get("orderID") and not item.get("status"),
            "misread",
            "not placed, and yet it names an order",
        )


def _code(exchange: Exchange) -> Any:
    try:
        body = body_of(exchange)
    except Nonsense:
        return None
    return body.get("code") if isinstance(body, dict) else None


def _seen(exchange: Exchange, item: Any) -> None:
    text = _text(exchange, item)
    require(text and _SAYS_SEEN.search(text), "misread", "seen, and no text says so")


TARGETS: Final = (
    Target("place-one", make_single, steady(check), weight=2.0),
    Target("place-batch", make_batch, steady(check), weight=2.0),
)

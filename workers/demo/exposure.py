"""How much was ever at stake at once, recomputed from the venue's history and the writers' promises.

The ledger's own counters have no part in it. An order counts from the moment its writer was told that
it is admitted, with its whole size while it may still fill, and with what it bought for ever; what was
sold is taken off once the sale is confirmed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Place: TypeAlias = tuple[str, str, str]
"""Account, condition id, outcome."""

Breach: TypeAlias = tuple[str, str, str, int, int]
"""Account, condition id, which cap, the peak and the cap in share micros."""


@dataclass(frozen=True, slots=True)
class Cap:
    """The highest caps that were in force, in share micros."""

    outcome_micros: int
    market_micros: int


@dataclass(frozen=True, slots=True)
class VenueMoment:
    """One event of the venue. For an order: its size and what of it is matched; for a trade
    (``trade_id``): the size of our part.
    """

    at_ms: int
    account: str
    venue_order_id: str
    token_id: str
    side: str
    status: str
    size_micros: int
    matched_micros: int = 0
    trade_id: str = ""


@dataclass(frozen=True, slots=True)
class Pending:
    """A BUY that was promised. ``ended_at_ms``: when it ended without having reached the venue."""

    at_ms: int
    account: str
    token_id: str
    venue_order_id: str
    size_micros: int
    ended_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Change:
    """From ``at_ms`` on, ``subject`` counts for ``counts_micros`` in ``place``."""

    at_ms: int
    place: Place
    subject: str
    counts_micros: int


def breaches(
    moments: Sequence[VenueMoment],
    pending: Iterable[Pending],
    caps: Mapping[tuple[str, str], Cap],
    tokens: Mapping[str, tuple[str, str]],
) -> list[Breach]:
    """Every cap that was exceeded at some time, with the highest value seen."""
    changes = [*_at_venue(moments, tokens), *_promised(moments, pending, tokens)]
    outcome, market = _peaks(changes)
    found: list[Breach] = []
    for (account, condition_id), cap in sorted(caps.items()):
        for number in ("0", "1"):
            peak = outcome.get((account, condition_id, number), 0)
            if peak > cap.outcome_micros:
                found.append((account, condition_id, f"outcome {number}", peak, cap.outcome_micros))
        peak = market.get((account, condition_id), 0)
        if peak > cap.market_micros:
            found.append((account, condition_id, "both outcomes", peak, cap.market_micros))
    return found


def _at_venue(
    moments: Sequence[VenueMoment], tokens: Mapping[str, tuple[str, str]]
) -> list[Change]:
    changes = []
    for one in moments:
        place = (one.account, *tokens[one.token_id])
        if not one.trade_id:
            if one.side == "BUY":
                live = one.status == "LIVE"
                counts = one.size_micros if live else one.matched_micros
                changes.append(Change(one.at_ms, place, one.venue_order_id, counts))
        elif (one.side, one.status) in (("SELL", "CONFIRMED"), ("BUY", "FAILED")):
            subject = f"{one.trade_id}/{one.venue_order_id}"
            changes.append(Change(one.at_ms, place, subject, -one.size_micros))
    return changes


def _promised(
    moments: Sequence[VenueMoment],
    pending: Iterable[Pending],
    tokens: Mapping[str, tuple[str, str]],
) -> list[Change]:
    arrived: dict[str, int] = {}
    for one in moments:
        arrived[one.venue_order_id] = min(one.at_ms, arrived.get(one.venue_order_id, one.at_ms))
    changes = []
    for order in pending:
        until = arrived.get(order.venue_order_id, order.ended_at_ms)
        if until is not None and until <= order.at_ms:
            continue
        place = (order.account, *tokens[order.token_id])
        subject = f"promise {order.venue_order_id or id(order)}"
        changes.append(Change(order.at_ms, place, subject, order.size_micros))
        if until is not None:
            changes.append(Change(until, place, subject, 0))
    return changes


def _peaks(changes: list[Change]) -> tuple[dict[Place, int], dict[tuple[str, str], int]]:
    """The highest sum per outcome and per market. Of one millisecond only the end counts: what
    happened within it has no order that two clocks could agree on.
    """
    counts: dict[tuple[Place, str], int] = {}
    sums: defaultdict[Place, int] = defaultdict(int)
    outcome: dict[Place, int] = {}
    market: dict[tuple[str, str], int] = {}
    ordered = sorted(changes, key=lambda one: one.at_ms)  # stable: the venue's order stays
    for i, one in enumerate(ordered):
        key = (one.place, one.subject)
        sums[one.place] += one.counts_micros - counts.get(key, 0)
        counts[key] = one.counts_micros
        if i + 1 < len(ordered) and ordered[i + 1].at_ms == one.at_ms:
            continue
        for place, total in sums.items():
            outcome[place] = max(outcome.get(place, 0), total)
        for account, condition_id, _ in list(sums):
            both = sum(sums.get((account, condition_id, n), 0) for n in ("0", "1"))
            market[(account, condition_id)] = max(market.get((account, condition_id), 0), both)
    return outcome, market

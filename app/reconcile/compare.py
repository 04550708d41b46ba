"""Two views in, actions and differences out. No clock, no chance, no I/O.

The venue's list of open orders is paged over a moving set, so absence from it proves nothing: such an
order is looked up by id. An order there that we do not know is never matched by its looks, only by
its id (freqtrade 13399 attached the wrong order by price and time).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class DriftClass(StrEnum):
    """What a difference asks for."""

    RESYNC = "resync"
    """The ledger takes over what the venue knows better, or goes on asking; trading goes on."""
    HALT = "halt"
    """Nobody here decided it, or both views are final: trading stops until a person has looked."""


@dataclass(frozen=True, slots=True)
class Ours:
    """An order the ledger believes to be at the venue, or not ended. Sizes in share micros."""

    order_id: int
    venue_order_id: str
    state: str
    matched_micros: int


@dataclass(frozen=True, slots=True)
class Theirs:
    """An open order as the venue's list shows it."""

    venue_order_id: str
    matched_micros: int


@dataclass(frozen=True, slots=True)
class OurFill:
    trade_id: str
    venue_order_id: str
    settlement: str
    """provisional, confirmed or failed."""
    fee_micros: int = 0
    fee_is_final: bool = False
    """Said with the confirmation, and not only before."""
    contradicted: bool = False
    """Already known to be confirmed and failed."""


@dataclass(frozen=True, slots=True)
class TheirTrade:
    trade_id: str
    venue_order_id: str
    settlement: str
    fee_micros: int = 0
    """0: none, or not said."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which the two views disagree. ``ours`` is what the ledger said before anything was done."""

    kind: str
    subject: str
    ours: str
    theirs: str
    drift_class: DriftClass = DriftClass.RESYNC


@dataclass(frozen=True, slots=True)
class Plan:
    observe: tuple[str, ...]
    """Venue ids whose row in the list is news to the ledger."""
    look_up: tuple[str, ...]
    """Venue ids about which the list and the ledger disagree: to be read one by one."""
    book: tuple[tuple[str, str], ...]
    """(trade id, venue id) of trades the ledger has not, or has in an older state."""
    differences: tuple[Difference, ...]


NO_PLAN: Final = Plan((), (), (), ())
AT_VENUE: Final = frozenset({"LIVE", "DELAYED"})


def compare_orders(ours: Iterable[Ours], theirs: Iterable[Theirs]) -> Plan:
    """Open orders. A difference is something one view knows and the other contradicts."""
    mine: Mapping[str, Ours] = {order.venue_order_id: order for order in ours}
    seen: Mapping[str, Theirs] = {order.venue_order_id: order for order in theirs}
    differences: list[Difference] = []
    observe: list[str] = []
    look_up: list[str] = []
    for venue_order_id, their in sorted(seen.items()):
        our = mine.get(venue_order_id)
        if our is None:
            observe.append(venue_order_id)
            differences.append(
                Difference(
                    "order_not_ours", venue_order_id, "unknown or ended", "open", DriftClass.HALT
                )
            )
        elif our.state not in AT_VENUE:
            # The list may be older than the end we recorded: a fresh look-up decides.
            look_up.append(venue_order_id)
            differences.append(Difference("order_found", venue_order_id, our.state, "open"))
        elif their.matched_micros > our.matched_micros:
            observe.append(venue_order_id)
            differences.append(
                Difference(
                    "matched_behind",
                    venue_order_id,
                    str(our.matched_micros),
                    str(their.matched_micros),
                )
            )
    unlisted = sorted(
        one.venue_order_id
        for one in mine.values()
        if one.state in AT_VENUE and one.venue_order_id not in seen
    )
    differences += [
        Difference("order_not_listed", one, mine[one].state, "not in the list of open orders")
        for one in unlisted
    ]
    return Plan(tuple(observe), (*look_up, *unlisted), (), tuple(differences))


def compare_trades(ours: Iterable[OurFill], theirs: Iterable[TheirTrade]) -> Plan:
    """Our parts of trades. What only the ledger has is no difference: the venue's answer covers a window."""
    mine = {(fill.trade_id, fill.venue_order_id): fill for fill in ours}
    differences: list[Difference] = []
    book: list[tuple[str, str]] = []
    for trade in sorted(theirs, key=lambda one: (one.trade_id, one.venue_order_id)):
        key = (trade.trade_id, trade.venue_order_id)
        found = _trade_difference(mine.get(key), trade)
        if found is not None:
            kind, our, their, news = found
            drift_class = (
                DriftClass.HALT if kind == "settlement_contradicted" else DriftClass.RESYNC
            )
            differences.append(Difference(kind, "/".join(key), our, their, drift_class))
            if news:
                book.append(key)
    return Plan((), (), tuple(book), tuple(differences))


def _trade_difference(our: OurFill | None, their: TheirTrade) -> tuple[str, str, str, bool] | None:
    """Kind, what either side says, and whether booking what the venue says changes anything here."""
    if our is None:
        return "trade_missing", "none", their.settlement, True
    if {our.settlement, their.settlement} == {"confirmed", "failed"}:
        # Both are final. The ledger stays with confirmed, halts, and is told once; the difference stands.
        news = our.settlement == "failed" or not our.contradicted
        return "settlement_contradicted", our.settlement, their.settlement, news
    if our.settlement == "provisional" != their.settlement:
        return "settlement_behind", our.settlement, their.settlement, True
    if (
        our.settlement == their.settlement == "confirmed"
        and their.fee_micros
        and their.fee_micros != our.fee_micros
    ):
        # Of two fees said with a confirmation the ledger keeps the higher one.
        news = not our.fee_is_final or their.fee_micros > our.fee_micros
        kind = "fee_behind" if news else "fee_contradicted"
        return kind, str(our.fee_micros), str(their.fee_micros), news
    return None


def confirmed_by_both(
    first: Sequence[Difference], second: Sequence[Difference]
) -> tuple[Difference, ...]:
    """What stood in two comparisons some time apart. What a running worker caught up with meanwhile is not drift."""
    again = {(one.kind, one.subject) for one in second}
    return tuple(one for one in first if (one.kind, one.subject) in again)

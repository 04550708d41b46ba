"""What became of each difference that a comparison found: the words, the proof and the state afterwards.

A row of ``audit.drift`` is read by a person who must decide what to do, so it says what was done and never what
usually is: an action is written by whoever acted, with what the venue answered and which halt stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from app.errors import Code
from app.ledger.calls import Item, refused, storable
from app.reconcile.compare import AT_VENUE, Difference, DriftClass
from app.venue.interface import Found, VenueOrder, VenueTrade
from workers.statements import statement
from workers.worker.context import Context

_UNTOUCHED: Final[Mapping[str, str]] = {
    "fee_contradicted": "nothing: of two fees said with a confirmation the higher one stands",
    "settlement_contradicted": (
        "nothing new: journaled, and its market halted, when it was heard of first"
    ),
    "reward_over_allocated": "nothing: a person says again to whose strategy it counts",
}
"""What the comparison itself calls no news. Anything else without an act was not reached."""

_NOT_REACHED: Final = "nothing: the comparison ended before it came to this"


@dataclass(frozen=True, slots=True)
class Drift:
    """A difference and what became of it."""

    difference: Difference
    after: str
    """What the ledger said when the comparison ended; ``ours`` is what it had said before."""
    action: str
    evidence: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As ``ledger.end_run`` takes it."""
        one = self.difference
        return {
            "kind": one.kind,
            "drift_class": one.drift_class.value,
            "subject": storable(one.subject),
            "ours": one.ours,
            "theirs": storable(one.theirs),
            "after": self.after,
            "action": storable(self.action),
            "evidence": dict(self.evidence),
        }


@dataclass(frozen=True, slots=True)
class Act:
    """What was done about one subject. ``drift_class``: where acting showed that it is graver than it looked."""

    action: str
    evidence: Mapping[str, Any]
    drift_class: DriftClass | None = None


class Acts:
    """What one run did, by the subject of the difference."""

    def __init__(self) -> None:
        self._done: dict[str, Act] = {}

    def of_trades(self, trades: Iterable[VenueTrade], answers: Iterable[Item]) -> None:
        """Trades that were booked, or why not."""
        for trade, answer in zip(trades, answers, strict=True):
            evidence = {"told": _plain(trade), "answer": dict(answer)}
            subject = f"{trade.trade_id}/{trade.venue_order_id}"
            if refused(answer) and answer["code"] == Code.UNKNOWN_ORDER:
                action = "not booked: no intent explains its order; kept as a foreign order"
                self._done[subject] = Act(action, evidence, DriftClass.HALT)
            elif refused(answer):
                action = f"not booked: {answer['code']}: {answer['detail']}"
                self._done[subject] = Act(action, evidence)
            else:
                self._done[subject] = Act("booked as the venue says", evidence)

    def of_list(self, orders: Iterable[VenueOrder], answers: Iterable[Item]) -> None:
        """Rows of the list of open orders that were observed."""
        for order, answer in zip(orders, answers, strict=True):
            evidence = {"listed": _plain(order), "answer": dict(answer)}
            if not refused(answer):
                act = Act("booked as the venue's list says", evidence)
            elif answer["code"] == Code.UNKNOWN_ORDER:
                act = Act("kept as a foreign order", evidence, DriftClass.HALT)
            else:
                act = Act(f"not booked: {answer['code']}: {answer['detail']}", evidence)
            self._done[order.venue_order_id] = act

    def of_look_up(
        self, venue_order_id: str, seen: Found[VenueOrder] | None, answer: Item | None
    ) -> None:
        """An order that was read by its id; None where the venue cleanly showed nothing."""
        if seen is None or answer is None:
            action = (
                "nothing: read by its id it is not shown, which proves nothing; it is asked again"
            )
            self._done[venue_order_id] = Act(action, {"read": None})
            return
        evidence = {"read": _plain(seen.value), "answer": dict(answer)}
        said = f"read by its id: {seen.value.raw_status or seen.value.status.value}"
        why = f"; not booked: {answer['code']}" if refused(answer) else ", booked"
        self._done[venue_order_id] = Act(said + why, evidence)

    def add(
        self, subject: str, action: str, drift_class: DriftClass | None = None, **evidence: Any
    ) -> None:
        """Something further that was done about a subject."""
        before = self._done.get(subject)
        if before is None:
            self._done[subject] = Act(action, evidence, drift_class)
        else:
            words = f"{before.action}; {action}"
            graver = drift_class or before.drift_class
            self._done[subject] = Act(words, {**before.evidence, **evidence}, graver)

    def rows(
        self, differences: Sequence[Difference], after: Mapping[str, str]
    ) -> tuple[Drift, ...]:
        """Each difference with what became of it."""
        return tuple(self._row(one, after.get(one.subject, one.ours)) for one in differences)

    def _row(self, one: Difference, after: str) -> Drift:
        act = self._done.get(one.subject)
        if act is None:
            return Drift(one, after, _UNTOUCHED.get(one.kind, _NOT_REACHED), {})
        if act.drift_class is not None:
            one = replace(one, drift_class=act.drift_class)
        return Drift(one, after, act.action, act.evidence)


async def state_after(
    context: Context, account: str, differences: Sequence[Difference]
) -> dict[str, str]:
    """What our rows say now of each subject, in the words of the comparison. Holdings are left out: nothing
    books them.
    """
    rows = await context.calls.rows(
        statement("drift_after"), account, [storable(one.subject) for one in differences]
    )
    now = {row["subject"]: row for row in rows}
    return {one.subject: _after(one, now[one.subject]) for one in differences if one.subject in now}


def _after(one: Difference, row: Mapping[str, Any]) -> str:
    if one.kind.startswith("fee_"):
        return str(row["fee"])
    if one.kind == "matched_behind":
        return str(row["matched"])
    return str(row["state"])


async def halts_behind(
    context: Context, account: str, drift: Sequence[Difference], acts: Acts
) -> None:
    """Name the halt behind each foreign order: set by the ledger when it was first seen, and not again."""
    foreign = [one.subject for one in drift if one.kind in ("order_not_ours", "trade_missing")]
    if not foreign:
        return
    rows = await context.calls.rows(
        statement("foreign_halts"), account, [subject.rsplit("/", 1)[-1] for subject in foreign]
    )
    known = {row["venue_order_id"]: row for row in rows}
    for subject in foreign:
        row = known.get(subject.rsplit("/", 1)[-1])
        if row is not None:
            stands = row["halt_id"] is not None
            action = (
                f"the account is halted, version {row['halt_id']}"
                if stands
                else "no halt stands: a person resumed after it was first seen"
            )
            acts.add(subject, action, halt=row["halt_id"])


def reads_as_held(one: Difference, after: Mapping[str, str], absent: set[str]) -> bool:
    """An order that is in no list, but by its id reads as we hold it, is no drift: lists lag."""
    return (
        one.kind == "order_not_listed"
        and one.subject not in absent
        and after.get(one.subject) in AT_VENUE
    )


def _plain(seen: VenueOrder | VenueTrade) -> dict[str, Any]:
    return {
        name: storable(value) if isinstance(value, str) else value
        for name, value in asdict(seen).items()
    }

"""What the ledger answers, as values: admissions, refusals, orders, replacements.

A refusal is an answer and not a failure: a bot meets caps and limiters all day. Fields that a later
schema adds are ignored here, so an older client reads a newer ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.errors import Code, LedgerError, Refused


@dataclass(frozen=True, slots=True)
class Admission:
    """The intent is a durable order in state RESERVED, and its exposure is taken in every process.

    ``size_micros`` and ``price_micros`` are what was admitted: less than asked if ``clamped``, and for
    a post-only order that asked to be clamped the nearest price that does not cross. ``replay`` says
    that this key was admitted before and this is that first answer. ``duplicate_of`` is the same order
    under another key a moment before: an alarm, not a refusal.
    """

    order_id: int
    price_micros: int
    size_micros: int
    replay: bool
    clamped: bool
    duplicate_of: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing was reserved and nothing will be sent. ``code`` is stable, ``detail`` is for people."""

    code: Code
    detail: str

    def error(self) -> Refused:
        """The refusal as an exception, for those who want to be told loudly."""
        return Refused(self.code, self.detail, not_done="nothing was reserved and nothing was sent")


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A cancel was asked for. ``state`` is the order's state now: ended if it was never sent, else
    the cancel is queued for the venue and a read confirms it later (await `Ledger.settled`).
    """

    order_id: int
    state: str


@dataclass(frozen=True, slots=True)
class ReplaceAsked:
    """The old order is being cancelled; what became of the new one is found under its key.

    ``replay`` says that the key asked for this replacement before.
    """

    replacement_id: int
    replay: bool


@dataclass(frozen=True, slots=True)
class ReplacementView:
    """A replacement: ``waiting``, ``done`` (``new_order_id`` is its order) or ``refused``
    (``code`` says why).
    """

    replacement_id: int
    state: str
    old_order_id: int
    new_order_id: int | None
    code: str


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order as one read saw it. Amounts are micros, times are the database's, in UTC.

    ``state`` is one of the names in ``docs/state-machine.md``; ``ended`` says it is a final one
    and ``settled`` that nothing is held for the order any more and every fill is booked.
    ``matched_micros`` is the size filled as seen in any read or trade, ``traded_micros`` what is
    booked from trades, ``confirmed_micros`` what is final at the venue, ``failed_micros`` what was
    reversed. ``cause`` explains the state.
    """

    order_id: int
    account: str
    market: str
    slug: str | None
    outcome: int
    outcome_label: str
    token_id: str
    side: str
    price_micros: int
    size_micros: int
    order_type: str
    post_only: bool
    order_class: str
    key: str
    state: str
    cause: str
    ended: bool
    settled: bool
    venue_order_id: str | None
    matched_micros: int
    traded_micros: int
    confirmed_micros: int
    failed_micros: int
    held_micros: int
    attempts: int
    cancel_asked: bool
    seen_at_venue: bool
    valid_until: datetime
    created_at: datetime
    state_at: datetime

    @property
    def remaining_micros(self) -> int:
        """Shares that could still be filled; 0 once the order has ended."""
        return 0 if self.ended else max(self.size_micros - self.matched_micros, 0)

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> OrderView:
        """From the object that ``ledger.get_orders`` and its neighbours answer with."""
        given = {name: answer[name] for name in cls.__slots__ if name in answer}
        given["order_class"] = answer["class"]
        given.setdefault("outcome_label", "")
        for name in ("valid_until", "created_at", "state_at"):
            given[name] = datetime.fromisoformat(answer[name])
        return cls(**given)


def refusal_of(answer: Mapping[str, Any]) -> Refusal | None:
    """The refusal in an answer of a SQL function, or None if it went through."""
    if answer["status"] != "refused":
        return None
    return Refusal(Code(answer["code"]), str(answer["detail"]))


def admission_of(answer: Mapping[str, Any]) -> Admission | Refusal:
    """One answer of ``ledger.reserve_pending``.

    A key that asked for a replacement before is answered with that replacement, which is no order.
    """
    refusal = refusal_of(answer)
    if refusal is not None:
        return refusal
    if "order_id" not in answer:
        return Refusal(Code.KEY_REUSED, "the key belongs to a replacement; nothing was reserved")
    return Admission(
        order_id=int(answer["order_id"]),
        price_micros=int(answer["price_micros"]),
        size_micros=int(answer["size_micros"]),
        replay=bool(answer["replay"]),
        clamped=bool(answer["clamped"]),
        duplicate_of=answer.get("duplicate_of"),
    )


def unwrapped(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The answer itself; raises `Refused` if it is a refusal."""
    refusal = refusal_of(answer)
    if refusal is not None:
        raise Refused(refusal.code, refusal.detail, not_done="nothing was changed")
    return answer


def as_refusal(error: LedgerError) -> Refusal:
    """An error that concerned one request alone, as an answer to it."""
    return Refusal(error.code, error.wrong)

"""What certainly stood at a turn, from what was asked and from the venue's book alone.

Nobody outside knows the moment at which the ledger took or released a hold. But much is certain: who was told
"admitted" has a hold from then on at the latest, and it cannot end before something happened that may end it: the
venue ended the order, refused it, or never saw it and it was cancelled, halted or too late. So at every turn there is a
sum that was held at least, and a cap is broken for sure if that sum is above it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from proof.auditor.index import (
    MICROS,
    admitted,
    by_venue_id,
    highest_fee,
    intents,
)
from proof.auditor.interface import (
    Asked,
    CancelAsked,
    HaltAsked,
    OrderAsked,
    Received,
    VenueBook,
    VenueFill,
    VenueOrder,
    Views,
    WithdrawalAsked,
)

NEVER = 1 << 62
QUARANTINE_US = 120_000_000
"""The least time after which absence may be concluded, if nobody has set a longer one."""


@dataclass(frozen=True, slots=True)
class Stake:
    """One admitted order: decided somewhere in ``[begun, since]``, held whole from ``since`` until ``until`` at least.

    After ``until`` only what it filled counts. ``fee`` is its highest fee, ``order`` its venue order if it has one.
    """

    account: str
    market: str
    group: str | None
    outcome: int
    side: str
    token: str
    price: int
    size: int
    begun: int
    since: int
    until: int
    fee: int
    name: str
    order: VenueOrder | None

    def matched(self, turn: int) -> list[VenueFill]:
        """Fills that had happened and not failed."""
        if self.order is None:
            return []
        return [f for f in self.order.fills if f.turn <= turn and not _failed(f, turn)]

    def shares(self, turn: int) -> int:
        """Of a BUY: what certainly counts in exposure."""
        if self.since > turn:
            return 0
        if turn < self.until:
            failed = sum(f.size_micros for f in self._gone(turn))
            return max(self.size - failed, 0)
        return min(sum(f.size_micros for f in self.matched(turn)), self.size)

    def collateral(self, turn: int, *, spent: bool = True) -> int:
        """Of a BUY: what it certainly holds, and (``spent``) what its fills cost. Rounded down."""
        if self.since > turn:
            return 0
        fills = self.matched(turn)
        filled = sum(f.size_micros for f in fills) + sum(f.size_micros for f in self._gone(turn))
        rest = max(self.size - filled, 0) if turn < self.until else 0
        held = rest * self.price // MICROS + (self.fee * rest // self.size if rest else 0)
        paid = (f.price_micros * f.size_micros // MICROS + f.fee_micros for f in fills)
        return held + (sum(paid) if spent else 0)

    def offered(self, turn: int) -> int:
        """Of a SELL: the tokens that it certainly holds or has sold."""
        if self.since > turn:
            return 0
        if turn < self.until:
            return max(self.size - sum(f.size_micros for f in self._gone(turn)), 0)
        return min(sum(f.size_micros for f in self.matched(turn)), self.size)

    def open(self, turn: int) -> bool:
        """Whether it certainly has not ended."""
        filled = sum(f.size_micros for f in self.order.fills if f.turn <= turn) if self.order else 0
        return self.since <= turn < self.until and filled < self.size

    def _gone(self, turn: int) -> list[VenueFill]:
        if self.order is None:
            return []
        return [f for f in self.order.fills if f.turn <= turn and _failed(f, turn)]


def _failed(fill: VenueFill, turn: int) -> bool:
    """A fill that fails may be reversed as soon as it has failed; without a turn, any time."""
    return fill.status == "FAILED" and (fill.final_turn is None or fill.final_turn <= turn)


def stakes(asked: Asked, venue: VenueBook, views: Views) -> list[Stake]:
    """Of every order that somebody was told is admitted. Replacements are left out: their hold begins when it may.

    The views serve for one thing only: which venue order is whose.
    """
    ids = {(r["account"], r["key"]): v for v, rows in by_venue_id(views).items() for r in rows}
    book = {order.venue_order_id: order for order in venue.orders}
    sent: dict[str, list[Received]] = {}
    for request in venue.received:
        if request.kind == "place" and request.venue_order_id is not None:
            sent.setdefault(request.venue_order_id, []).append(request)
    found = []
    for intent, calls in intents(asked).items():
        told = [call for call in calls if admitted(call)]
        if not told or told[0].replaces is not None:
            continue
        venue_id = ids.get(intent)
        found.append(
            _stake(asked, calls, told, book.get(venue_id or ""), sent.get(venue_id or "", []))
        )
    return found


def _stake(
    asked: Asked,
    calls: Sequence[OrderAsked],
    told: Sequence[OrderAsked],
    order: VenueOrder | None,
    sent: Sequence[Received],
) -> Stake:
    call = told[0]
    market = asked.markets[call.market]
    answer = call.answer
    assert answer is not None
    size = call.size_micros if answer.size_micros is None else answer.size_micros
    price = call.price_micros if answer.price_micros is None else answer.price_micros
    since = min(one.turn if one.answered_turn is None else one.answered_turn for one in told)
    rate = 0 if call.post_only else market.fee_rate_micros
    order_id = answer.order_id
    return Stake(
        account=call.account,
        market=call.market,
        group=market.group,
        outcome=call.outcome,
        side=call.side,
        token=market.tokens[call.outcome],
        price=price,
        size=size,
        begun=min(one.turn for one in calls),
        since=since,
        until=_until(asked, call, order_id, order, sent),
        fee=highest_fee(price, size, rate, market.fee_exponent) if call.side == "BUY" else 0,
        name=f"key {call.key} of {call.account}",
        order=order,
    )


def _until(
    asked: Asked,
    call: OrderAsked,
    order_id: int | None,
    order: VenueOrder | None,
    sent: Sequence[Received],
) -> int:
    """The first turn at which its hold may have ended, whatever then happened."""
    mine = [one for one in asked.cancels if covers(one, call, order_id) and _not_before(one, call)]
    if order is not None:
        if order.at_us - call.at_us > QUARANTINE_US:
            return 0  # by then it may have been proven absent; what came later is a fact
        ended = NEVER if order.state == "live" else order.ended_turn or 0
        return min([ended, *(one.turn for one in mine if one.why == "resolve")])
    ends = [one.turn for one in mine]
    ends += [r.turn for r in sent if not r.lost]
    ends += [_first_after(asked, call, r.at_us + QUARANTINE_US) for r in sent]
    over = [one for one in asked.halts if one.on and halts(one, asked, call)]
    ends += [one.turn for one in over if _not_before(one, call)]
    drained = [one for one in asked.withdrawals if one.account == call.account]
    ends += [one.turn for one in drained if _not_before(one, call)]
    ends.append(_first_after(asked, call, call.valid_until_us))
    return min(ends)


def _not_before(one: CancelAsked | HaltAsked | WithdrawalAsked, call: OrderAsked) -> bool:
    """It was answered after the order was asked for, or never: what ended before cannot end the order."""
    return one.answered_turn is None or one.answered_turn >= call.turn


def _first_after(asked: Asked, call: OrderAsked, at_us: int | None) -> int:
    """The first turn that may lie after that time; where no time is known, any may."""
    if at_us is None:
        return 0
    times = [(one.turn, one.at_us) for one in asked.orders]
    times += [(one.turn, one.at_us) for one in asked.cancels]
    times += [(one.turn, one.at_us) for one in asked.halts]
    times += [asked.ended] if asked.ended is not None else []
    before = (turn for turn, when in times if when < at_us and turn >= call.turn)
    return max(before, default=call.turn) + 1


def covers(cancel: CancelAsked, call: OrderAsked, order_id: int | None) -> bool:
    """Whether the cancel is of this order."""
    if cancel.account not in (None, call.account):
        return False
    if cancel.order_id is not None:
        return cancel.order_id == order_id
    return cancel.market in (None, call.market)


def halts(halt: HaltAsked, asked: Asked, call: OrderAsked) -> bool:
    """Whether the halt is over this order."""
    subjects = {
        "global": halt.subject,
        "account": call.account,
        "market": call.market,
        "group": asked.markets[call.market].group,
    }
    slug = asked.markets[call.market].slug
    return subjects.get(halt.scope) == halt.subject or (
        halt.scope == "market" and slug == halt.subject
    )


Tokens = tuple[str, str]
"""Account and token."""


class Positions:
    """What changes positions besides the orders that were told admitted."""

    def __init__(self, asked: Asked, venue: VenueBook) -> None:
        self._sold: dict[Tokens, list[tuple[int, int]]] = {}
        self._came: dict[Tokens, list[tuple[int, int]]] = {}
        self._touched: dict[Tokens, int] = {}
        for order in venue.orders:
            for fill in order.fills if order.side == "SELL" else ():
                self._went(order.account, order.token_id, fill.turn)
                if fill.status == "CONFIRMED":
                    final = fill.turn if fill.final_turn is None else fill.final_turn
                    self._add(self._sold, order.account, order.token_id, final, fill.size_micros)
        for one in asked.moved:
            if one.amount_micros < 0:
                self._went(one.account, one.asset, one.turn)
                self._add(self._sold, one.account, one.asset, one.turn, -one.amount_micros)
            elif one.done and one.answered_turn is not None:
                self._add(self._came, one.account, one.asset, one.answered_turn, one.amount_micros)

    def _went(self, account: str, token: str, turn: int) -> None:
        first = self._touched.get((account, token), NEVER)
        self._touched[account, token] = min(first, turn)

    @staticmethod
    def _add(
        to: dict[Tokens, list[tuple[int, int]]], account: str, token: str, turn: int, size: int
    ) -> None:
        to.setdefault((account, token), []).append((turn, size))

    def sold(self, of: Tokens, turn: int) -> int:
        """The most that can have left the position by then."""
        return sum(size for when, size in self._sold.get(of, ()) if when <= turn)

    def came(self, of: Tokens, turn: int) -> int:
        """What certainly had come without a trade."""
        return sum(size for when, size in self._came.get(of, ()) if when <= turn)

    def untouched(self, of: Tokens, turn: int) -> bool:
        """Nothing had left it: so everything it cost is still at risk."""
        return turn < self._touched.get(of, NEVER)


def turns(found: Iterable[Stake]) -> list[int]:
    """When sums can have grown: the turns at which somebody was told."""
    return sorted({stake.since for stake in found})

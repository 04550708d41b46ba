"""What leaves, and when: cancels at once, and nothing that nobody wants any more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from proof.auditor.history import covers, halts
from proof.auditor.index import admitted, by_venue_id, intents
from proof.auditor.interface import (
    Asked,
    CancelAsked,
    HaltAsked,
    OrderAsked,
    Outage,
    Received,
    VenueBook,
    VenueOrder,
    Views,
)

CANCEL_BOUND_US = 3_000_000
"""How long a cancel may take to the wire while somebody can work for the account."""
SEND_BY_US = 2_000_000
"""How long after its commit an attempt may still leave."""


def cancels_leave_at_once(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """A cancel of an order that is at the venue is on the wire within a bound, and before any order of its lane that
    was asked for later. Of several cancels of one order the first counts.
    """
    broken: list[str] = []
    calls = _calls(asked, views)
    done: set[str] = set()
    for cancel in sorted(asked.cancels, key=lambda one: one.turn):
        for order in venue.orders:
            call = calls.get(order.venue_order_id)
            if call is None or not covers(cancel, call, _order_id(call)):
                continue
            told = cancel.answer is not None and cancel.answer.accepted
            if told and order.venue_order_id not in done and _there(order, cancel):
                broken += _one(asked, venue, cancel, order, calls)
            done.add(order.venue_order_id)
    return broken


def _order_id(call: OrderAsked) -> int | None:
    return None if call.answer is None else call.answer.order_id


def _calls(asked: Asked, views: Views) -> dict[str, OrderAsked]:
    """The call behind each venue order, its answer with the order's number in it."""
    of = intents(asked)
    found: dict[str, OrderAsked] = {}
    for venue_id, rows in by_venue_id(views).items():
        for row in rows:
            calls = of.get((row["account"], row["key"]), [])
            told = [call for call in calls if admitted(call)] or calls
            if told:
                answer = told[0].answer
                if answer is not None:
                    answer = replace(answer, order_id=row["order_id"])
                found[venue_id] = replace(told[0], answer=answer)
    return found


def _there(order: VenueOrder, cancel: CancelAsked) -> bool:
    """The venue had it when the cancel was asked for, and did not end it by itself at that moment."""
    return order.turn < cancel.turn and (order.ended_turn is None or order.ended_turn > cancel.turn)


def _one(
    asked: Asked,
    venue: VenueBook,
    cancel: CancelAsked,
    order: VenueOrder,
    calls: dict[str, OrderAsked],
) -> list[str]:
    who = f"{order.venue_order_id} of {order.account}"
    left = [request for request in venue.received if _cancels(request, order)]
    first = min((r for r in left if _turn(r) >= cancel.turn), key=_turn, default=None)
    until = cancel.at_us + CANCEL_BOUND_US + _outage(asked, cancel.at_us, order.account)
    ended = order.ended_us is not None and order.ended_us <= until
    broken = []
    if first is None and not ended and _was_seen(venue, asked, until):
        broken.append(f"the cancel of {who}, asked at {cancel.turn}, never left")
    elif first is not None and _us(first) > until and not ended:
        late = (_us(first) - cancel.at_us) // 1000
        broken.append(f"the cancel of {who}, asked at {cancel.turn}, left after {late} ms")
    overtaken = _overtaken(asked, venue, cancel, order, calls)
    at = None if first is None else _turn(first)
    gone = order.ended_turn
    for request in overtaken:
        before_end = gone is None or _turn(request) < gone
        if before_end and (at is None or _turn(request) < at):
            broken.append(
                f"{request.venue_order_id}, asked after the cancel of {who}, left before that at {_turn(request)}"
            )
    return broken


def _was_seen(venue: VenueBook, asked: Asked, until_us: int) -> bool:
    """The run went on beyond the bound."""
    times = [one.at_us for one in venue.received] + [one.at_us for one in asked.orders]
    times += [one.at_us for one in asked.cancels] + [one.ended_us or 0 for one in venue.orders]
    return max(times, default=0) > until_us


def _cancels(request: Received, order: VenueOrder) -> bool:
    if request.account != order.account:
        return False
    if request.kind == "cancel":
        return request.venue_order_id == order.venue_order_id
    return request.kind == "cancel_all" or (
        request.kind == "cancel_market" and request.market == order.market
    )


def _turn(request: Received) -> int:
    return request.turn if request.sent_turn is None else request.sent_turn


def _us(request: Received) -> int:
    return request.at_us if request.sent_us is None else request.sent_us


def _outage(asked: Asked, from_us: int, account: str) -> int:
    """How long, from then on, nobody could work: outages that begin before the bound has passed, one after another."""
    more = 0
    for one in sorted(asked.outages, key=lambda outage: outage.at_us):
        begins, ends = max(one.at_us, from_us), one.until_us
        near = begins <= from_us + CANCEL_BOUND_US + more
        if one.account in (None, account) and ends > from_us and near:
            more += ends - begins
    return more


def _overtaken(
    asked: Asked,
    venue: VenueBook,
    cancel: CancelAsked,
    order: VenueOrder,
    calls: dict[str, OrderAsked],
) -> Iterable[Received]:
    """Placements of the lane that were asked for after the cancel had been answered."""
    told = cancel.turn if cancel.answered_turn is None else cancel.answered_turn
    for request in venue.received:
        if request.kind != "place" or request.venue_order_id in (None, order.venue_order_id):
            continue
        call = calls.get(request.venue_order_id or "")
        if call is None or (call.account, call.market) != (order.account, order.market):
            continue
        urgent = call.kind in ("hedge", "unwind", "emergency")
        # Asked again under its key, it stood there since it was asked first, answer or not.
        key = (call.account, call.key)
        first = min(one.turn for one in asked.orders if (one.account, one.key) == key)
        if first > told and not urgent and not _out(asked.outages, cancel, request):
            yield request


def _out(outages: Sequence[Outage], cancel: CancelAsked, request: Received) -> bool:
    """Between the two somebody died: whoever took over finds both, and its first is the cancel, but the one who died
    may have had the cancel in its hands.
    """
    return any(one.turn < _turn(request) and one.until_turn > cancel.turn for one in outages)


def nothing_unwanted_is_sent(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """No bytes leave later than an attempt may take after the intent's time was over, its cancel was answered, or a
    halt over it was. Only for requests whose time of sending is known.
    """
    calls = _calls(asked, views)
    broken: list[str] = []
    for request in venue.received:
        call = calls.get(request.venue_order_id or "")
        if request.kind != "place" or request.sent_us is None or call is None:
            continue
        who = f"{request.venue_order_id} of {request.account}"
        late = request.sent_us - SEND_BY_US
        if call.valid_until_us is not None and late > call.valid_until_us:
            broken.append(
                f"{who} left at {request.sent_us}, it was wanted until {call.valid_until_us}"
            )
        for cancel in asked.cancels:
            told = cancel.answer is not None and cancel.answer.accepted
            if told and covers(cancel, call, _order_id(call)) and _since(cancel, call, late):
                broken.append(
                    f"{who} left at {request.sent_us}, its cancel was asked at {cancel.at_us}"
                )
        if _halted(asked, call, late):
            broken.append(f"{who} left at {request.sent_us} under a halt")
    return broken


def _since(cancel: CancelAsked, call: OrderAsked, late: int) -> bool:
    """The cancel came after the order, and had been answered before that."""
    answered = call.turn if call.answered_turn is None else call.answered_turn
    return cancel.turn > answered and cancel.at_us + ANSWER_US < late


ANSWER_US = 1_000_000
"""What the answer to a request of the operator may take; its own time is told by turns alone."""


def _halted(asked: Asked, call: OrderAsked, late: int) -> bool:
    """Whether a halt over it stood then, for long enough."""
    standing: dict[tuple[str, str], int] = {}
    for one in sorted(asked.halts, key=lambda halt: halt.turn):
        if not halts(one, asked, call) or one.at_us > late + SEND_BY_US:
            continue
        done = one.answer is not None and one.answer.accepted
        if one.on and done:
            standing.setdefault((one.scope, one.subject), one.at_us)
        elif not one.on and (one.answer is None or done):
            standing.pop((one.scope, one.subject), None)
    return any(at_us + ANSWER_US < late for at_us in standing.values())


def halted_admits_nothing(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """Nothing is admitted that was asked for after a halt over it had been answered and before its end was asked."""
    broken = []
    for call in asked.orders:
        if not admitted(call) or (call.answer is not None and call.answer.replayed):
            continue
        stands: dict[tuple[str, str], int] = {}
        for one in sorted(asked.halts, key=lambda halt: halt.turn):
            scope = one.scope, one.subject
            told = one.answer is not None and one.answer.accepted
            answered = one.turn if one.answered_turn is None else one.answered_turn
            if not halts(one, asked, call):
                continue
            if one.on and told and answered < call.turn:
                stands[scope] = answered
            if not one.on and one.turn < _end(call):
                refused = one.answer is not None and not one.answer.accepted
                if not refused:
                    stands.pop(scope, None)
        if stands:
            broken.append(
                f"key {call.key} of {call.account} was admitted under the halts {sorted(stands)}"
            )
    return broken


def _end(call: OrderAsked) -> int:
    return call.turn if call.answered_turn is None else call.answered_turn


def what_is_cancelled_ends(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """At rest nothing is live at the venue whose cancel was answered, which was replaced, or over which a halt stands:
    also what was on its way there when that was asked.
    """
    if not views.at_rest:
        return []
    replaced = {call.replaces for call in asked.orders if admitted(call) and call.replaces}
    standing = _standing_halts(asked)
    calls = _calls(asked, views)
    broken = []
    for order in venue.orders:
        call = calls.get(order.venue_order_id)
        if order.state != "live" or call is None or _order_id(call) in views.excused:
            continue
        who = f"{order.venue_order_id} of {order.account}"
        if _order_id(call) in replaced:
            broken.append(f"{who} was replaced and is live at the venue")
        if any(
            _told(c) and covers(c, call, _order_id(call)) and c.turn > _end(call)
            for c in asked.cancels
        ):
            broken.append(f"{who} was cancelled and is live at the venue")
        if any(halts(halt, asked, call) for halt in standing):
            broken.append(f"{who} is live at the venue under a halt")
    return broken


def _told(cancel: CancelAsked) -> bool:
    return cancel.answer is not None and cancel.answer.accepted


def _standing_halts(asked: Asked) -> list[HaltAsked]:
    """Those that were answered, and whose end nobody asked for since."""
    found: dict[tuple[str, str], HaltAsked] = {}
    for one in sorted(asked.halts, key=lambda halt: halt.turn):
        scope = one.scope, one.subject
        if one.on and one.answer is not None and one.answer.accepted:
            found[scope] = one
        if not one.on and (one.answer is None or one.answer.accepted):
            found.pop(scope, None)
    return list(found.values())

"""One venue order per intent, and never more or other than was wanted."""

from __future__ import annotations

from collections import Counter, defaultdict

from proof.auditor.index import admitted, by_venue_id, intents, named
from proof.auditor.interface import Asked, OrderAsked, Row, VenueBook, VenueOrder, Views


def one_venue_order_per_intent(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """Every order that the venue accepted is of exactly one intent, and no intent has two."""
    broken = (
        _venue_ids_repeat(venue) + _keys_repeat(views) + _more_orders_than_intents(asked, venue)
    )
    for venue_id, rows in by_venue_id(views).items():
        if len(rows) > 1:
            orders = sorted(row["order_id"] for row in rows)
            broken.append(f"venue order {venue_id} belongs to the orders {orders}")
    return broken


def _venue_ids_repeat(venue: VenueBook) -> list[str]:
    ids = Counter(order.venue_order_id for order in venue.orders)
    broken = [f"the venue accepted {venue_id} {n} times" for venue_id, n in ids.items() if n > 1]
    digests: dict[str, set[str]] = defaultdict(set)
    salts: dict[tuple[str, str], set[str]] = defaultdict(set)
    for request in venue.received:
        if request.kind == "place" and request.venue_order_id is not None:
            if request.digest:
                digests[request.venue_order_id].add(request.digest)
            if request.salt:
                salts[request.account, request.salt].add(request.venue_order_id)
    broken += [
        f"{venue_id} was sent in {len(found)} different texts"
        for venue_id, found in digests.items()
        if len(found) > 1
    ]
    return broken + [
        f"the salt {salt} of {account} was signed into {sorted(found)}"
        for (account, salt), found in salts.items()
        if len(found) > 1
    ]


def _keys_repeat(views: Views) -> list[str]:
    keys: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in views.of("orders"):
        if row["key"] is not None:
            keys[row["account"], row["key"]].append(row["order_id"])
    return [
        f"key {key} of {account} became the orders {sorted(orders)}"
        for (account, key), orders in keys.items()
        if len(orders) > 1
    ]


def _more_orders_than_intents(asked: Asked, venue: VenueBook) -> list[str]:
    """Counted without asking the ledger which order is whose: so it cannot talk its way out."""
    wanted: Counter[tuple[str, str, str]] = Counter()
    for calls in intents(asked).values():
        possible = [call for call in calls if call.answer is None or call.answer.accepted]
        lanes = {_lane(asked, call) for call in possible}
        wanted.update(lanes)
    there = Counter((o.account, o.token_id, o.side) for o in venue.orders if not o.foreign)
    return [
        f"{account} has {n} {side} orders of token {token} at the venue, and at most {wanted[lane]} were admitted"
        for lane, n in there.items()
        for account, token, side in [lane]
        if n > wanted[lane]
    ]


def _lane(asked: Asked, call: OrderAsked) -> tuple[str, str, str]:
    return call.account, asked.markets[call.market].tokens[call.outcome], call.side


def sent_within_intended(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """No order at the venue, and none sent there, is larger or at a worse price than its intent, or for another token
    or side.
    """
    calls = intents(asked)
    rows = by_venue_id(views)
    broken: list[str] = []
    for order in venue.orders:
        for row in rows.get(order.venue_order_id, ()):
            possible = _possible(calls.get((row["account"], row["key"]), ()))
            if possible and not order.foreign:
                broken += _compare(asked, order, row, possible)
    for request in venue.received:
        if request.kind != "place" or request.venue_order_id is None:
            continue
        for row in rows.get(request.venue_order_id, ()):
            size, price = request.size_micros, request.price_micros
            if size is not None and size > row["size_micros"]:
                broken.append(f"{named(row)}: {size} were sent of {row['size_micros']}")
            if price is not None and _worse(row["side"], price, row["price_micros"]):
                broken.append(f"{named(row)}: sent at {price}, wanted at {row['price_micros']}")
    return broken


def _possible(calls: list[OrderAsked] | tuple[()]) -> list[OrderAsked]:
    told = [call for call in calls if admitted(call)]
    return told[:1] or [call for call in calls if call.answer is None]


def _compare(asked: Asked, order: VenueOrder, row: Row, calls: list[OrderAsked]) -> list[str]:
    """It must fit one of the calls that may have been the admitted one."""
    reasons = [_misfit(asked, order, call) for call in calls]
    if any(reason is None for reason in reasons):
        return []
    return [f"{named(row)} ({order.venue_order_id}): {reasons[0]}"]


def _misfit(asked: Asked, order: VenueOrder, call: OrderAsked) -> str | None:
    size, price = call.size_micros, call.price_micros
    if call.answer is not None:
        size = min(size, call.answer.size_micros if call.answer.size_micros is not None else size)
    if order.token_id != asked.markets[call.market].tokens[call.outcome]:
        return f"token {order.token_id} is not outcome {call.outcome} of {call.market}"
    if order.side != call.side:
        return f"{order.side} at the venue, {call.side} was asked"
    if order.size_micros > size:
        return f"{order.size_micros} at the venue, {size} were asked"
    if _worse(call.side, order.price_micros, price):
        return f"at {order.price_micros} at the venue, {price} was asked"
    return None


def _worse(side: str, price: int, wanted: int) -> bool:
    return price > wanted if side == "BUY" else price < wanted


def no_intent_lost(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """What a caller was told is admitted is there, with the terms asked; and nothing is there that nobody asked for."""
    calls = intents(asked)
    rows = {(row["account"], row["key"]): row for row in views.of("orders")}
    bound = {(row["account"], row["key"]) for row in views.of("idempotency")}
    broken: list[str] = []
    for intent, of_key in calls.items():
        told = [call for call in of_key if admitted(call)]
        row = rows.get(intent)
        if told and row is None and not (told[0].replaces is not None and intent in bound):
            broken.append(f"key {intent[1]} of {intent[0]} was admitted and has no order")
        if row is not None:
            broken += _unlike(row, _possible(of_key))
    strangers = {order.venue_order_id for order in venue.orders if order.foreign}
    return broken + [
        f"{named(row)} has the key {row['key']}, which nobody asked for"
        for intent, row in rows.items()
        if intent not in calls and row["venue_order_id"] not in strangers
    ]


def _unlike(row: Row, calls: list[OrderAsked]) -> list[str]:
    if not calls:
        return [f"{named(row)} was made of the key {row['key']}, which was refused each time"]
    for call in calls:
        same = (row["market"], row["outcome"], row["side"]) == (
            call.market,
            call.outcome,
            call.side,
        )
        fits = row["size_micros"] <= call.size_micros
        if same and fits and not _worse(call.side, row["price_micros"], call.price_micros):
            return []
    return [f"{named(row)} (key {row['key']}) is not what was asked"]

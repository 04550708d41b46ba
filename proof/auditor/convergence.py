"""The ledger comes to what the venue's book says, and nothing stays open once the world is quiet."""

from __future__ import annotations

from proof.auditor.index import (
    AT_THE_VENUE,
    ENDED,
    at_venue,
    by_venue_id,
    intents,
    named,
)
from proof.auditor.interface import Asked, Row, VenueBook, VenueOrder, Views


def converges_to_the_venue(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """At rest: every venue order is known, alive on both sides or on none, and filled to the same size."""
    if not views.at_rest:
        return []
    rows = by_venue_id(views)
    strange = {row["venue_order_id"] for row in views.of("orders_without_intent")}
    broken: list[str] = []
    for order in venue.orders:
        of_it = rows.get(order.venue_order_id, [])
        if not of_it and not (order.foreign and order.venue_order_id in strange):
            broken.append(f"{order.venue_order_id} of {order.account} is at the venue and unknown")
        for row in of_it:
            broken += _compare(order, row)
    known = at_venue(venue)
    for row in views.of("orders"):
        if row["state"] in AT_THE_VENUE and row["venue_order_id"] not in known:
            broken.append(f"{named(row)} is {row['state']}, and the venue never accepted it")
        if row["matched_micros"] > 0 and row["venue_order_id"] not in known:
            broken.append(f"{named(row)} is filled, and the venue never accepted it")
    return broken


def _compare(order: VenueOrder, row: Row) -> list[str]:
    broken = []
    state, matched = row["state"], row["matched_micros"]
    who = f"{named(row)} ({order.venue_order_id})"
    if order.state == "live" and state not in AT_THE_VENUE:
        broken.append(f"{who} is live at the venue and {state} in the ledger")
    if order.state != "live" and state not in ENDED:
        broken.append(f"{who} is {order.state} at the venue and {state} in the ledger")
    if state in ("REJECTED", "NOT_PLACED"):
        broken.append(f"{who} was accepted by the venue and is {state} in the ledger")
    if order.state != "live" and order.matched_micros >= order.size_micros and state != "FILLED":
        broken.append(f"{who} was filled whole and is {state} in the ledger")
    if matched != order.matched_micros:
        broken.append(
            f"{who} has matched {order.matched_micros} at the venue, {matched} in the ledger"
        )
    traded = sum(fill.size_micros for fill in order.fills)
    if row["traded_micros"] != traded:
        broken.append(
            f"{who} has traded {traded} at the venue, {row['traded_micros']} in the ledger"
        )
    return broken


def nothing_unknown_for_ever(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """At rest no fate is open: of orders, of replacements, of withdrawals."""
    if not views.at_rest:
        return []
    broken = [
        f"{named(row)} is still {row['state']}" + (", its fate open" if row["fate_open"] else "")
        for row in views.of("orders")
        if (row["state"] not in ENDED | {"LIVE"} or row["fate_open"])
        and row["order_id"] not in views.excused
    ]
    broken += [
        f"order {row['order_id']} of {row['account']} is unresolved: {row['why']}"
        for row in views.of("unresolved")
        if row["order_id"] not in views.excused
    ]
    broken += [
        f"{row['kind']} of order {row['order_id']} of {row['account']} has no order"
        for row in views.of("intents_without_order")
        if row["kind"] == "replacement" and row["order_id"] not in views.excused
    ]
    broken += [
        f"order {row['order_id']} of {row['account']} is {row['status']} in the outbox"
        for row in views.of("outbox")
        if row["status"] not in ("done", "released") and row["order_id"] not in views.excused
    ]
    return broken + [
        f"withdrawal {row['withdrawal_id']} of {row['account']} is still {row['state']}"
        for row in views.of("withdrawals")
        if not row["ended"]
    ]


def anomalies_are_none(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """No reservation, key or signed body of an order that does not exist, at any time."""
    broken = [
        f"{row['kind']} of {row['account']} is of the order {row['order_id']}, which does not exist"
        for row in views.of("intents_without_order")
        if row["anomaly"]
    ]
    return broken + [
        f"{row['kind']} of {row['account']}: {row['venue_order_id']}"
        for row in views.of("orders_without_intent")
        if row["kind"] != "foreign order"
    ]


def every_hold_ends(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """What has ended holds only what is matched and not yet seen in trades; at rest it holds nothing; and what
    balances have locked is what orders hold.
    """
    broken: list[str] = []
    held: dict[tuple[str, str], int] = {}
    for row in views.of("orders"):
        if row["phase"] is None:
            broken.append(f"{named(row)} has no reservation")
            continue
        asset = row["account"], row["held_asset"]
        held[asset] = held.get(asset, 0) + (row["held_micros"] or 0)
        if row["state"] in ENDED:
            broken += _ended(row, views.at_rest)
        elif row["phase"] == "released" or row["released_at"] is not None:
            broken.append(f"{named(row)} is {row['state']} and its hold was released")
    for balance in views.of("balances"):
        asset = balance["account"], balance["asset"]
        if balance["locked_micros"] != held.pop(asset, 0):
            broken.append(f"{asset[1]} of {asset[0]} has another sum locked than its orders hold")
    left = [f"{of} of {account}" for (account, of), amount in held.items() if amount]
    return broken + [f"{one} is held by orders and locked in no balance" for one in left]


def _ended(row: Row, at_rest: bool) -> list[str]:
    broken = []
    if row["remaining_micros"]:
        broken.append(
            f"{named(row)} is {row['state']} and still reserves {row['remaining_micros']}"
        )
    if row["held_micros"] and (at_rest or not row["awaiting_micros"]):
        broken.append(f"{named(row)} is {row['state']} and still holds {row['held_micros']}")
    if (row["phase"] != "released") == (not row["awaiting_micros"]):
        phase, awaited = row["phase"], row["awaiting_micros"]
        broken.append(f"{named(row)} is {row['state']}, {phase}, and awaits {awaited}")
    return broken


def remainder_never_negative(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """Nothing that counts what is left, held or on its way is below zero; positions only where the venue itself took
    more than there was.
    """
    broken = [
        f"{named(row)}: {column} is {row[column]}"
        for row in views.of("orders")
        for column in (
            *("remaining_micros", "awaiting_micros", "held_micros", "matched_micros"),
            *("traded_micros", "confirmed_micros", "failed_micros"),
        )
        if row[column] is not None and row[column] < 0
    ]
    known = at_venue(venue)
    for row in views.of("orders"):
        order = known.get(row["venue_order_id"])
        overfilled = order is not None and order.matched_micros > order.size_micros
        if row["matched_micros"] > row["size_micros"] and not overfilled:
            broken.append(
                f"{named(row)} has {row['matched_micros']} matched of {row['size_micros']}"
            )
    for row in views.of("exposure"):
        for column in _COUNTERS:
            if row[column] < 0:
                at = f"{row['account']} in {row['market']}, outcome {row['outcome']}"
                broken.append(f"{at}: {column} is {row[column]}")
    return broken + [
        f"{row['asset']} of {row['account']} has {row['locked_micros']} locked"
        for row in views.of("balances")
        if row["locked_micros"] < 0
    ]


_COUNTERS = (
    *("provisional_buy_micros", "awaiting_buy_micros", "open_buy_micros", "pending_buy_micros"),
    *("provisional_sell_micros", "awaiting_sell_micros", "open_sell_micros", "pending_sell_micros"),
    *("effective_micros", "open_orders"),
)


def exposure_is_what_is_held(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """Counters of a market are the sums over its orders and fills, and positions the tokens that are owned, always."""
    sums: dict[tuple[str, str, int], dict[str, int]] = {}
    for row in views.of("orders"):
        if row["phase"] is None:
            continue  # told by every_hold_ends
        of = sums.setdefault((row["account"], row["market"], row["outcome"]), {})
        side = "buy" if row["side"] == "BUY" else "sell"
        of["awaiting_" + side] = of.get("awaiting_" + side, 0) + (row["awaiting_micros"] or 0)
        if row["state"] not in ENDED:
            name = ("open_" if row["phase"] == "open" else "pending_") + side
            of[name] = of.get(name, 0) + row["remaining_micros"]
    for fill in views.of("fills"):
        if fill["settlement"] == "provisional":
            of = sums.setdefault((fill["account"], fill["market"], fill["outcome"]), {})
            name = "provisional_" + ("buy" if fill["side"] == "BUY" else "sell")
            of[name] = of.get(name, 0) + fill["size_micros"]
    owned = {(row["account"], row["asset"]): row["total_micros"] for row in views.of("balances")}
    broken = []
    for row in views.of("exposure"):
        at = row["account"], row["market"], row["outcome"]
        found = sums.pop(at, {})
        tokens = owned.get((row["account"], row["token_id"]), 0)
        if row["position_micros"] != tokens:
            broken.append(
                f"{at}: the position is {row['position_micros']}, {tokens} tokens are owned"
            )
        for column in _COUNTERS[:8]:
            expected = found.get(column.removesuffix("_micros"), 0)
            if row[column] != expected:
                broken.append(
                    f"{at}: {column} is {row[column]}, its orders and fills come to {expected}"
                )
    return broken + [
        f"{at} has orders and no counters" for at, of in sums.items() if any(of.values())
    ]


def cancel_after_fill_resurrects_nothing(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """What was filled stays filled: no later event makes it live, cancelled or smaller; a cancelled order that the
    venue never showed alive again does not come back.
    """
    broken: list[str] = []
    was: dict[int, str] = {}
    for entry in sorted(views.of("journal"), key=lambda one: (one["account"], one["seq"])):
        order, state = entry["order_id"], entry["to_state"]
        if order is None or state is None or not moved(entry):
            continue
        before = was.get(order)
        if before == "FILLED" and state != "FILLED":
            broken.append(f"order {order} was FILLED and became {state} by {entry['event']}")
        ended = before in ENDED and state not in ENDED
        if ended and entry["event"] not in ("REOPEN", "SEE", "FILL_PART"):
            broken.append(f"order {order} was {before} and became {state} by {entry['event']}")
        was[order] = state
    rows = by_venue_id(views)
    for one in venue.orders:
        for row in rows.get(one.venue_order_id, ()):
            lost = (
                row["matched_micros"] < one.matched_micros and one.matched_micros >= one.size_micros
            )
            if lost and row["state"] == "CANCELLED" and row["phase"] == "released":
                broken.append(f"{named(row)} was filled and is released as cancelled")
    return broken


def moved(entry: Row) -> bool:
    """Whether the journal row is a move (a refused one is journaled as well)."""
    return str(entry["event"]) != "ILLEGAL_TRANSITION"


def every_answer_is_known(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """What a caller never heard of is either an order with its key, or nothing at all."""
    bound = {(row["account"], row["key"]) for row in views.of("idempotency")}
    rows = {(row["account"], row["key"]) for row in views.of("orders")}
    return [
        f"key {key} of {account} has an order and no binding"
        for (account, key), calls in intents(asked).items()
        if all(call.answer is None for call in calls)
        and (account, key) in rows
        and (account, key) not in bound
    ]

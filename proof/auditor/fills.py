"""Every fill is counted once: in the list of fills, in the sums of its order, in positions and in the money."""

from __future__ import annotations

from collections import Counter, defaultdict

from proof.auditor.index import COLLATERAL, at_venue, by_order_id, cash, counted, named
from proof.auditor.interface import Asked, Row, VenueBook, VenueFill, VenueOrder, Views


def every_fill_counted_once(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """Each fill that is booked happened, once, so large and at that price; at rest each that happened is booked."""
    there = {
        (order.account, fill.trade_id, order.venue_order_id): (order, fill)
        for order in venue.orders
        for fill in order.fills
    }
    rows = by_order_id(views)
    seen: Counter[tuple[str, str, str | None]] = Counter()
    broken: list[str] = []
    for row in views.of("fills"):
        name = row["account"], row["trade_id"], row["venue_order_id"]
        seen[name] += 1
        order = rows.get(row["order_id"])
        if order is None:
            broken.append(
                f"trade {row['trade_id']} is booked for order {row['order_id']}, which is none"
            )
        elif (order["market"], order["outcome"]) != (row["market"], row["outcome"]):
            broken.append(f"trade {row['trade_id']} is booked for another outcome than its order's")
        if name not in there:
            broken.append(f"trade {row['trade_id']} of order {row['order_id']} never happened")
        else:
            broken += _compare(row, *there[name], at_rest=views.at_rest)
    broken += [
        f"trade {name[1]} is booked {n} times for {name[2]}" for name, n in seen.items() if n > 1
    ]
    if views.at_rest:
        known = {row["venue_order_id"] for row in views.of("orders")}
        broken += [
            f"trade {name[1]} of {name[2]} happened and is not booked"
            for name in there
            if name not in seen and name[2] in known
        ]
    return broken


_SETTLED = {"CONFIRMED": "confirmed", "FAILED": "failed"}


def _compare(row: Row, order: VenueOrder, fill: VenueFill, *, at_rest: bool) -> list[str]:
    who = f"trade {fill.trade_id} of order {row['order_id']}"
    token_side = order.side == row["side"]
    broken = [] if token_side else [f"{who} is booked as {row['side']}, it was a {order.side}"]
    for column, there in (("size_micros", fill.size_micros), ("price_micros", fill.price_micros)):
        if row[column] != there:
            broken.append(f"{who}: {column} is {row[column]}, at the venue {there}")
    paid = cash(order.side, row["price_micros"], row["size_micros"])
    if row["cash_micros"] != paid:
        broken.append(f"{who}: cash is {row['cash_micros']}, by price and size {paid}")
    if at_rest and row["settlement"] != _SETTLED.get(fill.status, "provisional"):
        broken.append(f"{who} is {row['settlement']} here and {fill.status} at the venue")
    if row["settlement"] == "confirmed" and fill.status == "FAILED":
        broken.append(f"{who} is confirmed here and failed at the venue")
    return broken


def sums_of_orders_are_their_fills(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """What an order says it traded, confirmed and lost is the sum of the fills that are listed."""
    sums: dict[int, Counter[str]] = defaultdict(Counter)
    for fill in views.of("fills"):
        sums[fill["order_id"]]["traded"] += fill["size_micros"]
        sums[fill["order_id"]][fill["settlement"]] += fill["size_micros"]
    broken = []
    for row in views.of("orders"):
        of = sums[row["order_id"]]
        for column in ("traded", "confirmed", "failed"):
            if row[column + "_micros"] != of[column]:
                said = row[column + "_micros"]
                broken.append(f"{named(row)} has {said} {column}, its fills come to {of[column]}")
    return broken


def money_of_fills_moved_once(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """Per order, all entries together are what its fills cost or brought, and the tokens that are final."""
    moved: dict[tuple[int, str], int] = defaultdict(int)
    for entry in views.of("balance_entries"):
        if entry["order_id"] is not None:
            delta = entry["available_delta_micros"] + entry["locked_delta_micros"]
            moved[entry["order_id"], entry["asset"]] += delta
    fills: dict[int, list[Row]] = defaultdict(list)
    for fill in views.of("fills"):
        fills[fill["order_id"]].append(fill)
    broken = []
    for row in views.of("orders"):
        for asset in (COLLATERAL, row["token_id"]):
            least, most = _expected(row["side"], fills[row["order_id"]], asset == COLLATERAL)
            got = moved.pop((row["order_id"], asset), 0)
            if not least <= got <= most:
                broken.append(
                    f"{named(row)} moved {got} of {asset}, its fills come to {least}"
                    + (f" to {most}" if most != least else "")
                )
    return broken + [
        f"order {order} moved {n} of {of}, which it does not trade"
        for (order, of), n in moved.items()
        if n
    ]


def _expected(side: str, fills: list[Row], is_cash: bool) -> tuple[int, int]:
    """The least and the most: a trade that is not final may have moved either side or not yet."""
    least = most = 0
    sign = -1 if (side == "BUY") == is_cash else 1
    for fill in fills:
        if fill["settlement"] == "failed":
            continue
        fee = fill["fee_micros"]
        amount = (
            cash(side, fill["price_micros"], fill["size_micros"])
            if is_cash
            else fill["size_micros"]
        )
        if is_cash:
            amount += fee if side == "BUY" else -fee
        delta = sign * amount
        final = fill["settlement"] == "confirmed"
        least += delta if final else min(delta, 0)
        most += delta if final else max(delta, 0)
    return least, most


def balances_are_what_happened(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """At rest, what an account owns is what came in and what the venue's fills made of it, nothing of it asked of the
    ledger. Accounts with a withdrawal or a movement of unknown fate, or a trade under way, are left out.
    """
    if not views.at_rest:
        return []
    own: dict[tuple[str, str], int] = defaultdict(int)
    unsure = {one.account for one in asked.moved if not one.done}
    unsure |= {row["account"] for row in views.of("withdrawals") if not row["ended"]}
    for movement in asked.moved:
        own[movement.account, movement.asset] += movement.amount_micros
    for row in views.of("withdrawals"):
        if row["state"] == "DONE":
            own[row["account"], COLLATERAL] -= row["amount_micros"]
    for order in venue.orders:
        if order.foreign or any(f.status not in _SETTLED for f in order.fills):
            unsure.add(order.account)
        for fill in counted(order.fills):
            sign = 1 if order.side == "BUY" else -1
            paid = cash(order.side, fill.price_micros, fill.size_micros)
            own[order.account, order.token_id] += sign * fill.size_micros
            own[order.account, COLLATERAL] -= sign * paid + fill.fee_micros
    for balance in views.of("balances"):
        asset = balance["account"], balance["asset"]
        expected = own.pop(asset, 0)
        own[asset] = expected - balance["total_micros"]
    return [
        f"{account} has {-off} too much of {asset}"
        if off < 0
        else f"{account} lacks {off} of {asset}"
        for (account, asset), off in own.items()
        if off and account not in unsure
    ]


def ends_agree_with_fills(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """What the ledger saw matched was matched: it never counts more of an order than the venue filled."""
    known = at_venue(venue)
    broken = []
    for row in views.of("orders"):
        order = known.get(row["venue_order_id"])
        there = 0 if order is None else order.matched_micros
        if row["matched_micros"] > there:
            broken.append(f"{named(row)} counts {row['matched_micros']} matched, the venue {there}")
    return broken

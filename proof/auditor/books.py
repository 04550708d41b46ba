"""Double entry, numbers without gaps, and a second start that changes nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from proof.auditor.interface import COLUMNS, Asked, Row, VenueBook, Views


def double_entry(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """Every entry has its twin and is booked once; per account and asset all sides are zero together."""
    broken: list[str] = []
    totals: Counter[tuple[str, str]] = Counter()
    locked: Counter[tuple[str, str]] = Counter()
    other: Counter[tuple[str, str, str]] = Counter()
    keys: Counter[tuple[str, str]] = Counter()
    for row in views.of("balance_entries"):
        own = row["available_delta_micros"] + row["locked_delta_micros"]
        contra, fee = row["contra_delta_micros"] or 0, row["fee_delta_micros"] or 0
        if own + contra + fee != 0:
            broken.append(
                f"entry {row['entry_seq']} of {row['account']} is {own}, its other side {contra + fee}"
            )
        asset = row["account"], row["asset"]
        totals[asset] += own
        locked[asset] += row["locked_delta_micros"]
        if contra:
            other[(*asset, str(row["contra"]))] += contra
        if fee:
            other[(*asset, "fees")] += fee
        keys[row["account"], row["entry_key"]] += 1
    broken += [f"{k} of {account} is booked {n} times" for (account, k), n in keys.items() if n > 1]
    return broken + _balances(views, totals, locked) + _contra(views, other)


def _balances(
    views: Views, totals: Counter[tuple[str, str]], locked: Counter[tuple[str, str]]
) -> list[str]:
    broken = []
    rest = dict(totals)
    sums: Counter[tuple[str, str]] = Counter()
    for row in views.of("balances"):
        asset = row["account"], row["asset"]
        sums[asset] += row["total_micros"]
        if rest.pop(asset, 0) != row["total_micros"] or locked[asset] != row["locked_micros"]:
            broken.append(f"{asset[1]} of {asset[0]} is not the sum of its entries")
        if row["available_micros"] + row["locked_micros"] != row["total_micros"]:
            broken.append(f"{asset[1]} of {asset[0]}: available and locked are not the total")
    broken += [
        f"{of} of {account} has entries and no balance" for (account, of), n in rest.items() if n
    ]
    for row in views.of("contra"):
        sums[row["account"], row["asset"]] += row["amount_micros"]
    return broken + [
        f"{of} of {account} and its other sides come to {n}, not to zero"
        for (account, of), n in sums.items()
        if n
    ]


def _contra(views: Views, other: Counter[tuple[str, str, str]]) -> list[str]:
    rest = dict(other)
    broken = []
    for row in views.of("contra"):
        name = row["account"], row["asset"], row["contra"]
        if rest.pop(name, 0) != row["amount_micros"]:
            broken.append(f"{name[2]} of {name[1]} of {name[0]} is not the sum of its entries")
    return broken + [f"{name} has entries and no sum" for name, n in rest.items() if n]


def journal_without_gaps(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """Journal numbers per account, and per account and market, and entry numbers per account: 1, 2, 3 …"""
    accounts: dict[str, list[int]] = defaultdict(list)
    markets: dict[tuple[str, str], list[int]] = defaultdict(list)
    entries: dict[str, list[int]] = defaultdict(list)
    broken: list[str] = []
    for row in views.of("journal"):
        accounts[row["account"]].append(row["seq"])
        if (row["market"] is None) != (row["market_seq"] is None):
            broken.append(
                f"journal row {row['seq']} of {row['account']} has a market without a number"
            )
        elif row["market"] is not None:
            markets[row["account"], row["market"]].append(row["market_seq"])
    for row in views.of("balance_entries"):
        entries[row["account"]].append(row["entry_seq"])
    broken += [f"journal of {who}: {gap}" for who, gap in _gaps(accounts.items())]
    broken += [f"journal of {who}: {gap}" for who, gap in _gaps(markets.items())]
    return broken + [f"entries of {who}: {gap}" for who, gap in _gaps(entries.items())]


def _gaps(numbered: Iterable[tuple[object, list[int]]]) -> Iterable[tuple[object, str]]:
    for who, numbers in numbered:
        wanted = set(range(1, len(numbers) + 1))
        if set(numbers) != wanted:
            missing = sorted(wanted - set(numbers))[:5]
            repeats = [n for n, times in Counter(numbers).items() if times > 1][:5]
            yield who, f"numbers {missing} are missing, {repeats} are there twice"


def journal_follows_states(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """Each order's moves in the journal begin with nothing, hang together, and end in the state it has."""
    last: dict[int, str] = {}
    broken: list[str] = []
    for row in sorted(views.of("journal"), key=lambda one: (one["account"], one["seq"])):
        order = row["order_id"]
        if order is None or row["to_state"] is None or row["event"] == "ILLEGAL_TRANSITION":
            continue
        if row["from_state"] != last.get(order):
            broken.append(
                f"order {order} was {last.get(order)}, journal row {row['seq']} begins at {row['from_state']}"
            )
        last[order] = row["to_state"]
    return broken + [
        f"order {row['order_id']} is {row['state']}, its journal ends at {last.get(row['order_id'])}"
        for row in views.of("orders")
        if last.get(row["order_id"]) != row["state"]
    ]


def second_start_changes_nothing(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """On a ledger at rest one more start leaves every row as it was."""
    if views.second_start is None:
        return []
    broken = []
    for view, columns in COLUMNS.items():
        names = columns.split()
        before, after = (
            Counter(_canonical(row, names) for row in rows)
            for rows in (views.of(view), views.second_start[view])
        )
        if before != after:
            gone, new = list((before - after).elements()), list((after - before).elements())
            broken.append(f"audit.{view} changed: {gone[:2]} became {new[:2]}")
    return broken


def _canonical(row: Row, names: list[str]) -> str:
    return repr([(name, str(row[name])) for name in names])

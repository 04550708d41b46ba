"""Caps are never exceeded by what was asked, recomputed at each turn from what was asked and the venue's book alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from proof.auditor.history import Positions, Stake, Tokens, stakes, turns
from proof.auditor.index import COLLATERAL, cash
from proof.auditor.interface import Asked, LimitSet, VenueBook, Views

Measure = Callable[[Sequence[Stake], int, int], int]
"""What certainly stands of orders at a turn, if the last of them was decided at another turn or later."""


def caps_hold_in_shares(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """Shares per outcome, per market, and in totals."""
    if not _any(asked, *_SHARES.values()):
        return []
    positions = Positions(asked, venue)

    def shares(together: Sequence[Stake], turn: int, decided: int) -> int:
        of: dict[Tokens, int] = {}
        for one in together:
            of[one.account, one.token] = of.get((one.account, one.token), 0) + one.shares(turn)
        return sum(
            max(n + positions.came(key, decided) - positions.sold(key, turn), 0)
            for key, n in of.items()
        )

    return _caps(asked, stakes(asked, venue, views), shares, _SHARES)


def caps_hold_in_collateral(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """Cost per order, per market and in totals, with the highest fee."""
    if not _any(asked, "max_order_micros", "max_order_cost_micros", *_COST.values()):
        return []
    found = stakes(asked, venue, views)
    positions = Positions(asked, venue)

    def cost(together: Sequence[Stake], turn: int, decided: int) -> int:
        whole = positions.untouched
        return sum(
            one.collateral(turn, spent=whole((one.account, one.token), turn)) for one in together
        )

    return _orders(asked, found) + _caps(asked, found, cost, _COST)


def open_orders_within_limits(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """Orders of a market or account that certainly have not ended."""
    if not _any(asked, *_OPEN.values()):
        return []

    def count(together: Sequence[Stake], turn: int, decided: int) -> int:
        return sum(one.open(turn) for one in together)

    return _caps(asked, stakes(asked, venue, views), count, _OPEN, sells=True)


def holds_within_holdings(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """What is held and spent was there: collateral for what is bought, final tokens for what is offered."""
    found = stakes(asked, venue, views)
    replaced = {call.account for call in asked.orders if call.replaces is not None}
    odd = replaced | {order.account for order in venue.orders if order.foreign}
    broken: list[str] = []
    for account in sorted({stake.account for stake in found} - odd):
        own = [stake for stake in found if stake.account == account]
        broken += _collateral(asked, own, account)
        for token in sorted({stake.token for stake in own if stake.side == "SELL"}):
            broken += _tokens(asked, [one for one in own if one.token == token], account, token)
    return broken


def _collateral(asked: Asked, own: Sequence[Stake], account: str) -> list[str]:
    broken = []
    for turn in turns(own):
        there = _moved(asked, account, COLLATERAL, turn)
        for stake in own:
            if stake.side == "SELL":
                fills = stake.matched(turn)
                there += sum(
                    cash("SELL", f.price_micros, f.size_micros) - f.fee_micros for f in fills
                )
        used = sum(stake.collateral(turn) for stake in own if stake.side == "BUY")
        if used > there:
            broken.append(
                f"{account} had {there} of collateral at {turn}, and {used} held or spent"
            )
    return broken


def _tokens(asked: Asked, own: Sequence[Stake], account: str, token: str) -> list[str]:
    broken = []
    for turn in turns(own):
        there = _moved(asked, account, token, turn)
        for stake in own:
            if stake.side == "BUY":
                there += sum(f.size_micros for f in stake.matched(turn) if f.status == "CONFIRMED")
        used = sum(stake.offered(turn) for stake in own if stake.side == "SELL")
        if used > there:
            broken.append(
                f"{account} had {there} of token {token} at {turn}, and {used} offered or sold"
            )
    return broken


def _moved(asked: Asked, account: str, asset: str, turn: int) -> int:
    """The most that can have been there: what may have come, less what certainly went."""
    own = [one for one in asked.moved if one.account == account and one.asset == asset]
    come = sum(one.amount_micros for one in own if one.amount_micros > 0 and one.turn <= turn)
    gone = [one for one in own if one.amount_micros < 0 and one.done]
    return come + sum(one.amount_micros for one in gone if (one.answered_turn or one.turn) <= turn)


# ---- limits in force


_SHARES = {
    "outcome": "max_outcome_micros",
    "market": "max_market_micros",
    "total": "max_shares_micros",
}
_COST = {"market": "max_market_cost_micros", "total": "max_cost_micros"}
_OPEN = {"market": "max_open_orders", "total": "max_open_orders"}


def _orders(asked: Asked, found: Iterable[Stake]) -> list[str]:
    broken = []
    for stake in found:
        for name, measure in (
            ("max_order_cost_micros", -(-stake.price * stake.size // 1_000_000) + stake.fee),
            ("max_order_micros", stake.size),
        ):
            if name == "max_order_cost_micros" and stake.side == "SELL":
                continue
            cap = _highest(asked, name, stake, stake.begun, stake.since)
            if cap is not None and measure > cap:
                broken.append(f"{stake.name}: {name} is {cap}, it was admitted with {measure}")
    return broken


def _caps(
    asked: Asked,
    found: Sequence[Stake],
    measure: Measure,
    names: dict[str, str],
    *,
    sells: bool = False,
) -> list[str]:
    own = [stake for stake in found if sells or stake.side == "BUY"]
    broken: list[str] = []
    for level, keyed in _LEVELS.items():
        name = names.get("total" if level in ("account", "group", "global") else level)
        if name is None or (level in ("group", "global") and name == "max_open_orders"):
            continue
        lowest = _lowest(asked, name, level)
        if lowest is None:
            continue
        groups: dict[object, list[Stake]] = {}
        for stake in own:
            groups.setdefault(keyed(stake), []).append(stake)
        for key, together in groups.items():
            if key is not None:
                broken += _group(asked, level, name, together, measure, lowest)
    return broken


_LEVELS: dict[str, Callable[[Stake], object]] = {
    "outcome": lambda one: (one.account, one.market, one.outcome),
    "market": lambda one: (one.account, one.market),
    "account": lambda one: one.account,
    "group": lambda one: one.group,
    "global": lambda one: "all",
}


def _any(asked: Asked, *names: str) -> bool:
    """Whether one of them was ever set: most runs set few."""
    return any(one.name in names and one.value is not None for one in asked.limits)


def _lowest(asked: Asked, name: str, level: str) -> int | None:
    """Of all values that the limit ever had at that level: what is below it needs no closer look."""
    scope = level if level in ("account", "group", "global") else "market"
    rows = (one for one in asked.limits if one.name == name and one.scope == scope)
    return min((one.value for one in rows if one.value is not None), default=None)


def _group(
    asked: Asked,
    level: str,
    name: str,
    together: Sequence[Stake],
    measure: Measure,
    lowest: int,
) -> list[str]:
    """At every turn: the sum that certainly stood, against the highest cap under which the last of them was let in."""
    for turn in turns(together):
        if measure(together, turn, turn) <= lowest:
            continue
        standing = [one for one in together if measure([one], turn, 0) > 0]
        decided = max((one.begun for one in standing), default=0)
        total = measure(standing, turn, decided)
        caps = [
            _highest(asked, name, one, one.begun, one.since, level)
            for one in standing
            if one.since >= decided
        ]
        known = [cap for cap in caps if cap is not None]
        if standing and len(known) == len(caps) and total > max(known):
            names = ", ".join(one.name for one in standing[:6])
            return [f"{name} of the {level} is {max(known)}, at {turn} stood {total}: {names}"]
    return []


def _highest(
    asked: Asked, name: str, stake: Stake, begun: int, since: int, level: str = "market"
) -> int | None:
    """The highest value that can have been in force for the order at some moment of ``[begun, since]``."""
    values = []
    moments = [begun] + [one.turn for one in asked.limits if begun < one.turn <= since]
    for moment in moments:
        values += _possible(asked, name, stake, moment, level)
    return None if None in values or not values else max(v for v in values if v is not None)


def _possible(asked: Asked, name: str, stake: Stake, turn: int, level: str) -> list[int | None]:
    """Values that may be in force at a turn: by the most specific that is set, each as it may stand."""
    total = level in ("account", "group", "global")
    for fits in _total_fits(stake, level) if total else _FITS:
        rows = [one for one in asked.limits if one.name == name and fits(one, stake)]
        values = _standing(rows, turn)
        if values and None not in values:
            return list(values)
        if values and values != {None}:
            return [None, *values]  # being set or unset just then: nothing is certain
    return [None]


def _standing(rows: Sequence[LimitSet], turn: int) -> set[int | None]:
    """The last one that certainly stood, and those that were being set."""
    done = [one for one in rows if (one.answered_turn or one.turn) <= turn]
    last = max(done, key=lambda one: one.turn, default=None)
    found: set[int | None] = {None if last is None else last.value}
    found |= {one.value for one in rows if one.turn <= turn < (one.answered_turn or one.turn)}
    return found


_FITS: tuple[Callable[[LimitSet, Stake], bool], ...] = (
    lambda one, of: one.scope == "market" and (one.account, one.market) == (of.account, of.market),
    lambda one, of: one.scope == "market" and (one.account, one.market) == (None, of.market),
    lambda one, of: one.scope == "market" and (one.account, one.market) == (of.account, None),
    lambda one, of: one.scope == "market" and (one.account, one.market) == (None, None),
)


def _total_fits(stake: Stake, level: str) -> tuple[Callable[[LimitSet, Stake], bool], ...]:
    subject = {"account": stake.account, "group": stake.group}.get(level)
    return (
        lambda one, of: one.scope == level and subject is not None and one.subject == subject,
        lambda one, of: one.scope == level and one.subject is None,
    )

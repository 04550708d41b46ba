"""What backs orders: the venue's cached balances, less what open orders and unsettled trades bind.

Kept as running sums, since every arriving order asks for them (docs/venue.md 10).
"""

from __future__ import annotations

from collections import defaultdict

from app.money import MICROS, cost_micros
from app.venue.interface import Side
from app.venue.matching import Order, Part, Trade
from app.venue.simulator.accounts import COLLATERAL, Balances
from app.venue.simulator.records import OrderRecord

Holding = tuple[str, str]
"""Wallet and asset."""


class Backing:
    """Of all wallets."""

    def __init__(self) -> None:
        self.balances = Balances()
        self._open: defaultdict[Holding, int] = defaultdict(int)
        self._matched: defaultdict[Holding, int] = defaultdict(int)
        self._bound: dict[str, int] = {}

    def available(self, wallet: str, asset: str) -> int:
        """What a new order may still bind."""
        held = self.balances.cache[wallet, asset]
        return held - self.open(wallet, asset) - self.matched(wallet, asset)

    def open(self, wallet: str, asset: str) -> int:
        return self._open[wallet, asset]

    def matched(self, wallet: str, asset: str) -> int:
        return self._matched[wallet, asset]

    def bind(self, record: OrderRecord) -> None:
        """An order is in a new state: bind what it needs now, nothing where it has ended."""
        order = record.order
        before = self._bound.pop(order.order_id, 0)
        now = need(order) if record.live else 0
        if now:
            self._bound[order.order_id] = now
        self._open[record.maker, asset_of(order.side, order.token_id)] += now - before

    def match(self, trade: Trade, part: Part, wallet: str) -> None:
        """Part of a trade is matched: what it will cost stays bound until it settles."""
        self._matched[wallet, asset_of(part.side, trade.token_id)] += _cost(trade, part)

    def settle(self, trade: Trade, part: Part, wallet: str) -> None:
        """It has settled: money moves where it was confirmed, and none where it failed."""
        paid_in, cost = asset_of(part.side, trade.token_id), _cost(trade, part)
        self._matched[wallet, paid_in] -= cost
        if trade.status != "CONFIRMED":
            return
        self.balances.move(wallet, paid_in, -cost)
        if part.side is Side.BUY:
            self.balances.move(wallet, trade.token_id, part.size_micros)
        else:
            proceeds = trade.price_micros * part.size_micros // MICROS - part.fee_micros
            self.balances.move(wallet, COLLATERAL, proceeds)


def asset_of(side: Side, token_id: str) -> str:
    """What an order pays with."""
    return COLLATERAL if side is Side.BUY else token_id


def need(order: Order) -> int:
    """What an open order binds of it."""
    if order.side is Side.SELL:
        return order.remaining_micros
    return order.spend_micros or cost_micros(order.price_micros, order.remaining_micros)


def _cost(trade: Trade, part: Part) -> int:
    if part.side is Side.SELL:
        return part.size_micros
    return cost_micros(trade.price_micros, part.size_micros) + part.fee_micros

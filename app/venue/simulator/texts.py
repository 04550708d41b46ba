"""What the venue says when it refuses an order, as docs/venue.md 3.6 has it."""

from __future__ import annotations

from typing import Final

from app.money import cost_micros, format_micros
from app.venue.interface import Side
from app.venue.matching import Answer
from app.venue.simulator.accounts import COLLATERAL
from app.venue.simulator.exchange import Exchange
from app.venue.simulator.orders import Submitted

UNAUTHORIZED: Final = "Unauthorized/Invalid api key"
WRONG_OWNER: Final = "the owner has to be the owner of the API KEY"
WRONG_SIGNER: Final = "the order signer address has to be the address of the API KEY"
WRONG_MAKER: Final = "maker address not allowed, please use the deposit wallet flow"
INVALID_SIGNATURE: Final = "invalid signature"
NOT_READY: Final = "the market is not yet ready to process new orders"
MATCH_DELAYED: Final = "order match delayed due to market conditions"
FAK_KILLED: Final = (
    "no orders found to match with FAK order. "
    "FAK orders are partially filled or killed if no match is found."
)
TOO_MANY: Final = "Too Many Requests"

IN_A_200_BODY: Final = ("Duplicated", "not yet ready", "does not exist", "post-only mode")
"""Texts that come with ``success: true`` where an order of a batch is refused (docs/venue.md 3.3)."""


def refusal(answer: Answer, order: Submitted, exchange: Exchange) -> str:
    """The core's refusal in the venue's full words."""
    market = exchange.market_of(order.token_id)
    if answer.code == "TICK_SIZE" and market is not None:
        price, tick = format_micros(order.price_micros), format_micros(market.tick_micros)
        return (
            f"order {order.order_id} is invalid. "
            f"Price ({price}) breaks minimum tick size rule: {tick}"
        )
    if answer.code == "MIN_SIZE" and market is not None:
        size, least = format_micros(order.shares), format_micros(market.min_size_micros)
        return f"order {order.order_id} is invalid. Size ({size}) lower than the minimum: {least}"
    if answer.code == "NOT_ENOUGH_BALANCE":
        return _balance(order, exchange)
    if answer.code == "FAK_KILLED":
        return FAK_KILLED
    return answer.text


def _balance(order: Submitted, exchange: Exchange) -> str:
    buying = order.side is Side.BUY
    asset = COLLATERAL if buying else order.token_id
    amount = cost_micros(order.price_micros, order.shares) if buying else order.shares
    balance = exchange.backing.balances.cache[order.maker, asset]
    active = exchange.backing.open(order.maker, asset)
    matched = exchange.backing.matched(order.maker, asset)
    sums = f", sum of active orders: {active}" if active else ""
    sums += f", sum of matched orders: {matched}" if matched else ""
    return (
        "not enough balance / allowance: the balance is not enough -> "
        f"balance: {balance}{sums}, order amount: {amount}"
    )

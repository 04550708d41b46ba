"""Reads the bytes of an order as the venue would: nothing is taken from the request but the bytes.

The shape is that of docs/venue.md 3.1. Price and size are recovered from the two signed amounts, so
that what is matched is what was signed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

from app.errors import LedgerError
from app.money import MAX_MICROS, MICROS
from app.venue.interface import OrderType, Side
from app.venue.matching import Order
from app.venue.polymarket.body import decode_body
from app.venue.polymarket.domain import POLYGON, choose_domain
from app.venue.polymarket.signing import order_hash

HashBody = Callable[[bytes], str]
"""The EIP-712 order hash of a body, 0x and 64 hex digits. Raises ValueError (or a kin) for what it
cannot read.
"""

_MAX_BODY = 16_384

_PRICE_STEP = 100
"""Prices have at most four decimals; market orders round their amounts, so theirs is the nearest
step.
"""


@dataclass(frozen=True, slots=True)
class Received:
    """One request as understood. With ``refusal`` set, ``order`` is None and the engine never sees
    it.
    """

    order_id: str
    account: str
    body: bytes
    order: Order | None = None
    salt: str = ""
    timestamp_ms: int = 0
    refusal: str = ""


def order_hasher(neg_risk_tokens: Container[str], chain_id: int = POLYGON) -> HashBody:
    """The true hash, as the venue computes it: which exchange an order is for is not in its bytes
    but follows from its token, so the tokens of neg-risk markets are asked for (docs/venue.md 2.2).
    """

    def hash_body(body: bytes) -> str:
        fields = decode_body(body).fields
        neg_risk = str(fields.token_id) in neg_risk_tokens
        return order_hash(fields, choose_domain(chain_id, fields.token_id, neg_risk=neg_risk))

    return hash_body


def read_body(account: str, body: bytes, hash_body: HashBody) -> Received:
    """Understand one request. Never raises for what is in the bytes."""
    order_id = ""
    try:
        if len(body) > _MAX_BODY:
            raise ValueError("too long")
        payload = json.loads(body)
        order_id = hash_body(body)
        signed = payload["order"]
        order = _order(account, order_id, payload, signed)
        salt, timestamp = _digits(signed["salt"], 78), int(_digits(signed["timestamp"], 16))
    except (ValueError, KeyError, TypeError, LedgerError, RecursionError) as error:
        return Received(order_id, account, body, refusal=f"Invalid order payload: {error}")
    return Received(order_id, account, body, order, salt, timestamp)


def _order(account: str, order_id: str, payload: dict[str, Any], signed: dict[str, Any]) -> Order:
    side, order_type = Side(signed["side"]), OrderType(payload["orderType"])
    maker = int(_digits(signed["makerAmount"], 19))
    taker = int(_digits(signed["takerAmount"], 19))
    size, collateral = (taker, maker) if side is Side.BUY else (maker, taker)
    if not 0 < size <= MAX_MICROS or not 0 < collateral <= MAX_MICROS:
        raise ValueError("amounts out of range")
    post_only = payload.get("postOnly", False)
    if not isinstance(post_only, bool):
        raise TypeError("postOnly is not a boolean")
    return Order(
        order_id,
        account,
        _digits(signed["tokenId"], 78),
        side,
        _price(size, collateral, order_type),
        size,
        order_type,
        post_only,
        int(_digits(signed["expiration"], 12)) * 1000,
    )


def _price(size: int, collateral: int, order_type: OrderType) -> int:
    """Exact for orders that can rest. Market orders carry rounded amounts: the nearest step of
    0.0001.
    """
    price, rest = divmod(collateral * MICROS, size)
    if order_type in (OrderType.GTC, OrderType.GTD):
        if rest:
            raise ValueError("amounts do not make a price")
        return price
    return (price + _PRICE_STEP // 2) // _PRICE_STEP * _PRICE_STEP


def _digits(value: Any, most: int) -> str:
    """A number as the venue writes it, in digits; JSON numbers are taken where they are whole."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not text.isascii() or not text.isdecimal() or len(text) > most:
        raise ValueError("a number is not in digits")
    return text

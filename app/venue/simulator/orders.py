"""Reads one order as a client sends it, and says in the venue's words what is wrong with it.

More forgiving than the ledger's own reader where clients differ: addresses in any case, ``postOnly``
left out. Nothing in here depends on the state but the market the order is for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from app.errors import LedgerError
from app.money import MAX_MICROS, MICROS
from app.venue.interface import OrderType, Side
from app.venue.matching import Order
from app.venue.polymarket.amounts import AMOUNT_DECIMALS, HUNDREDTH
from app.venue.polymarket.domain import Domain, choose_domain
from app.venue.polymarket.encoding import (
    format_address,
    parse_address,
    parse_bytes32,
    parse_token_id,
)
from app.venue.polymarket.signing import OrderFields, order_hash
from app.venue.simulator.markets import Market

INVALID_PAYLOAD: Final = "Invalid order payload"
VERSION_MISMATCH: Final = "order_version_mismatch"
_RESTS: Final = (OrderType.GTC, OrderType.GTD)
_PRICE_STEP: Final = 100
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,77}")
_SIGNATURE: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})+")

FindMarket = Callable[[str], Market | None]


@dataclass(frozen=True, slots=True)
class Submitted:
    """What one POST asks, understood."""

    order_id: str
    fields: OrderFields
    domain: Domain
    signature: bytes
    side: Side
    order_type: OrderType
    expiration_s: int
    post_only: bool
    owner: str

    @property
    def token_id(self) -> str:
        return str(self.fields.token_id)

    @property
    def maker(self) -> str:
        return format_address(self.fields.maker)

    @property
    def signer(self) -> str:
        return format_address(self.fields.signer)

    @property
    def shares(self) -> int:
        amounts = self.fields
        return amounts.taker_amount if self.side is Side.BUY else amounts.maker_amount

    @property
    def collateral(self) -> int:
        amounts = self.fields
        return amounts.maker_amount if self.side is Side.BUY else amounts.taker_amount

    @property
    def rests(self) -> bool:
        return self.order_type in _RESTS

    @property
    def price_micros(self) -> int:
        """Of the two amounts. Market orders round theirs, so it is the nearest step of 0.0001."""
        if self.rests:
            return self.collateral * MICROS // self.shares
        price = self.collateral * MICROS // self.shares
        return (price + _PRICE_STEP // 2) // _PRICE_STEP * _PRICE_STEP

    def order(self, account: str) -> Order:
        """For the matching core. A market BUY spends its maker amount."""
        spends = self.side is Side.BUY and not self.rests
        return Order(
            self.order_id,
            account,
            self.token_id,
            self.side,
            self.price_micros,
            self.shares,
            self.order_type,
            self.post_only,
            self.expiration_s * 1000,
            spend_micros=self.collateral if spends else 0,
        )


def read_order(payload: Any, chain_id: int, find_market: FindMarket) -> Submitted | str:
    """One element of the body, or the venue's text about it."""
    signed = payload.get("order") if isinstance(payload, dict) else None
    if not isinstance(signed, dict):
        return INVALID_PAYLOAD
    if "nonce" in signed or "feeRateBps" in signed or "timestamp" not in signed:
        return VERSION_MISMATCH
    try:
        return _read(payload, signed, chain_id, find_market)
    except (LedgerError, ValueError, KeyError, TypeError):
        return INVALID_PAYLOAD


def _read(
    payload: dict[str, Any], signed: dict[str, Any], chain_id: int, find_market: FindMarket
) -> Submitted:
    side, order_type = Side(signed["side"]), OrderType(payload["orderType"])
    token = parse_token_id(_text(signed["tokenId"]))
    fields = OrderFields(
        salt=int(_digits(signed["salt"])),
        maker=parse_address(_text(signed["maker"]).lower()),
        signer=parse_address(_text(signed["signer"]).lower()),
        token_id=token,
        maker_amount=int(_digits(signed["makerAmount"])),
        taker_amount=int(_digits(signed["takerAmount"])),
        side=0 if side is Side.BUY else 1,
        signature_type=int(_digits(signed["signatureType"])),
        timestamp_ms=int(_digits(signed["timestamp"])),
        metadata=parse_bytes32(_text(signed["metadata"]), what="metadata"),
        builder=parse_bytes32(_text(signed["builder"]), what="builder"),
    )
    if not 0 < fields.maker_amount <= MAX_MICROS or not 0 < fields.taker_amount <= MAX_MICROS:
        raise ValueError("amounts")
    signature = _text(signed["signature"])
    if not _SIGNATURE.fullmatch(signature):
        raise ValueError("signature")
    market = find_market(str(token))
    neg_risk = market is not None and market.neg_risk
    domain = choose_domain(chain_id, token, neg_risk=neg_risk)
    return Submitted(
        order_hash(fields, domain),
        fields,
        domain,
        bytes.fromhex(signature[2:]),
        side,
        order_type,
        int(_digits(signed.get("expiration", "0"))),
        _flag(payload.get("postOnly", False)),
        _text(payload["owner"]),
    )


def wrong_amounts(order: Submitted, tick_micros: int) -> str | None:
    """The venue's text where an amount has more decimals than its tick allows (docs/venue.md 3.5)."""
    decimals = AMOUNT_DECIMALS.get(tick_micros, 6)
    step = 10 ** (6 - decimals)
    fields, kind = order.fields, "buy" if order.side is Side.BUY else "sell"
    if order.rests:
        exact = order.collateral * MICROS % order.shares == 0
        if exact and order.shares % HUNDREDTH == 0 and order.collateral % step == 0:
            return None
        maker, taker = (decimals, 2) if order.side is Side.BUY else (2, decimals)
        what = f"the {kind} orders"
    else:
        if fields.maker_amount % HUNDREDTH == 0 and fields.taker_amount % step == 0:
            return None
        maker, taker = 2, decimals
        what = f"the market {kind} orders"
    return (
        f"invalid amounts, {what} maker amount supports a max accuracy of {maker} decimals, "
        f"taker amount a max of {taker} decimals"
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _digits(value: Any) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)
    if not _NUMBER.fullmatch(text):
        raise ValueError("not a number")
    return text


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("not a boolean")
    return value

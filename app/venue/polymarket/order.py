"""From an intent to what is stored before anything is sent: identity, signature and exact bytes.

Pure: salt and timestamp come from the caller, who stored them with the intent, so building twice
gives the same order twice. A crash between signing and storing costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from app.errors import BadInput, Code, LedgerError
from app.venue.interface import OrderType, Side
from app.venue.polymarket.amounts import order_amounts
from app.venue.polymarket.body import OrderBody, encode_body
from app.venue.polymarket.domain import choose_domain
from app.venue.polymarket.encoding import (
    format_bytes32,
    parse_address,
    parse_bytes32,
    parse_token_id,
)
from app.venue.polymarket.signing import OrderFields, SignatureType, Signer

ORDER_VERSION: Final = 2
"""Of the venue's orders: what this release signs, and what ``/version`` must say."""

MAX_SALT: Final = (1 << 53) - 1
"""The salt travels as a JSON number; beyond 53 bits a reader of doubles would see another order."""

_MAX_TIME: Final = 1 << 53
_RESTING: Final = frozenset((OrderType.GTC, OrderType.GTD))
ZERO_BYTES32: Final = format_bytes32(0)


@dataclass(frozen=True, slots=True)
class SignedOrder:
    """All that is committed before the first byte leaves."""

    venue_order_id: str
    exchange: str
    domain_version: str
    chain_id: int
    fields: OrderFields
    signature: str = field(repr=False)
    """0x and hex digits."""
    expiration_s: int
    order_type: OrderType
    post_only: bool
    defer_exec: bool
    body_template: bytes = field(repr=False)
    """The JSON of POST /order with an empty owner: see `with_owner`."""


def build_order(
    signer: Signer,
    *,
    token_id: str,
    side: Side,
    price_micros: int,
    size_micros: int,
    tick_micros: int,
    neg_risk: bool,
    order_type: OrderType,
    salt: int,
    timestamp_ms: int,
    maker: str,
    signer_address: str,
    signature_type: SignatureType,
    expiration_s: int = 0,
    post_only: bool = False,
    defer_exec: bool = False,
    builder: str = ZERO_BYTES32,
    metadata: str = ZERO_BYTES32,
) -> SignedOrder:
    """Check, hash and sign one order for exactly ``size_micros`` shares at ``price_micros``.

    ``salt`` (53 bits) and ``timestamp_ms`` (Unix milliseconds) are the intent's own;
    ``expiration_s`` is in Unix seconds, for GTD only (the venue stops the order a minute earlier,
    docs/venue.md 3.4). ``maker`` holds the funds; ``signer_address`` is the key's address, or the
    deposit wallet for type 3.

    Errors, with nothing signed: ``BAD_PRICE``, ``OFF_TICK``, ``BAD_SIZE``, ``NOT_TRADABLE`` from
    the amounts; ``UNKNOWN_OUTCOME`` for the token id; ``BAD_VALIDITY`` for the expiration;
    ``BAD_REQUEST`` for the rest; ``SIGNING_FAILED`` if maker, signer and key do not belong
    together.
    """
    _check_terms(order_type, expiration_s, timestamp_ms, post_only, salt)
    amounts = order_amounts(order_type, side, price_micros, size_micros, tick_micros)
    fields = OrderFields(
        salt=salt,
        maker=parse_address(maker, what="maker"),
        signer=parse_address(signer_address, what="signer"),
        token_id=parse_token_id(token_id),
        maker_amount=amounts.maker_amount,
        taker_amount=amounts.taker_amount,
        side=0 if side is Side.BUY else 1,
        signature_type=int(signature_type),
        timestamp_ms=timestamp_ms,
        metadata=parse_bytes32(metadata, what="metadata"),
        builder=parse_bytes32(builder, what="builder"),
    )
    _check_parties(signer, fields)
    domain = choose_domain(signer.chain_id, fields.token_id, neg_risk=neg_risk)
    signed = signer.sign(fields, domain)
    body = OrderBody(fields, signed.signature, order_type, expiration_s, post_only, defer_exec)
    return SignedOrder(
        venue_order_id="0x" + signed.order_hash.hex(),
        exchange=domain.exchange,
        domain_version=domain.version,
        chain_id=domain.chain_id,
        fields=fields,
        signature="0x" + signed.signature.hex(),
        expiration_s=expiration_s,
        order_type=order_type,
        post_only=post_only,
        defer_exec=defer_exec,
        body_template=encode_body(body),
    )


def _check_terms(
    order_type: OrderType, expiration_s: int, timestamp_ms: int, post_only: bool, salt: int
) -> None:
    if not 0 <= salt <= MAX_SALT:
        raise BadInput(Code.BAD_REQUEST, "salt is not a number of 53 bits")
    if not 0 < timestamp_ms < _MAX_TIME:
        raise BadInput(Code.BAD_REQUEST, "timestamp is not in Unix milliseconds")
    if post_only and order_type not in _RESTING:
        raise BadInput(
            Code.BAD_REQUEST,
            f"post-only needs an order that can rest; {order_type} never does",
            not_done="nothing was signed",
            next_step="use GTC or GTD, or drop post-only",
        )
    if order_type is not OrderType.GTD and expiration_s != 0:
        raise BadInput(
            Code.BAD_VALIDITY,
            f"only GTD orders expire at the venue; this one is {order_type}",
            not_done="nothing was signed",
            next_step="use GTD, or expiration 0",
        )
    if order_type is OrderType.GTD and not timestamp_ms < expiration_s * 1000 < _MAX_TIME:
        raise BadInput(
            Code.BAD_VALIDITY,
            "a GTD order needs an expiration in Unix seconds after the order's own timestamp",
            not_done="nothing was signed",
        )


def _check_parties(signer: Signer, fields: OrderFields) -> None:
    """Refuse what the venue would refuse: an order that is not the key's to sign."""
    own = parse_address(signer.address)
    kind = fields.signature_type
    if kind == SignatureType.POLY_1271:
        wrong = None if fields.maker == fields.signer else "maker and signer are not one wallet"
    elif fields.signer != own:
        wrong = "the signer is not the key's address"
    elif kind == SignatureType.EOA and fields.maker != own:
        wrong = "the maker is not the key's address"
    else:
        wrong = None
    if wrong is not None:
        raise LedgerError(
            Code.SIGNING_FAILED,
            f"signature type {SignatureType(kind).name}: {wrong}",
            not_done="nothing was signed",
            next_step="check the account's wallet, key and signature type",
        )

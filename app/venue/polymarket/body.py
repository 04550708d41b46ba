"""The bytes of POST /order.

They are made once, stored with the order and sent as they are, again and again: order type,
expiration, post-only and defer-exec are not part of the hash (docs/venue.md 2.1), so the same hash
in other bytes could rest for ever instead of expiring. Only ``owner``, the API key's id, is filled
in at sending: keys rotate while orders are in flight. Key order and spelling are those of py-clob-
client-v2, byte for byte.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

from app.errors import BadInput, Code
from app.venue.interface import OrderType, Side
from app.venue.polymarket.encoding import (
    format_address,
    format_bytes32,
    parse_address,
    parse_bytes32,
    parse_token_id,
)
from app.venue.polymarket.signing import OrderFields

_SIDES: Final = (Side.BUY, Side.SELL)
_NO_OWNER: Final = b'"owner":""'
_OWNER: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,77}")
_SIGNATURE: Final = re.compile(r"0x(?:[0-9a-f]{2})+")


@dataclass(frozen=True, slots=True)
class OrderBody:
    """What one POST /order says."""

    fields: OrderFields
    signature: bytes = field(repr=False)
    order_type: OrderType
    expiration_s: int
    """Unix seconds; 0 for none."""
    post_only: bool
    defer_exec: bool
    owner: str = ""
    """API key id; empty in the stored template."""

    @property
    def side(self) -> Side:
        return _SIDES[self.fields.side]


def encode_body(body: OrderBody) -> bytes:
    """The exact JSON. With an empty owner this is the template that is stored."""
    fields = body.fields
    message = {
        "order": {
            "salt": fields.salt,
            "maker": format_address(fields.maker),
            "signer": format_address(fields.signer),
            "tokenId": str(fields.token_id),
            "makerAmount": str(fields.maker_amount),
            "takerAmount": str(fields.taker_amount),
            "side": body.side.value,
            "expiration": str(body.expiration_s),
            "signatureType": int(fields.signature_type),
            "timestamp": str(fields.timestamp_ms),
            "metadata": format_bytes32(fields.metadata),
            "builder": format_bytes32(fields.builder),
            "signature": "0x" + body.signature.hex(),
        },
        "owner": body.owner,
        "orderType": body.order_type.value,
        "deferExec": body.defer_exec,
        "postOnly": body.post_only,
    }
    return json.dumps(message, separators=(",", ":")).encode()


def with_owner(body_template: bytes, owner: str) -> bytes:
    """The bytes to send: the stored template with the API key's id, and nothing else changed.

    Errors: ``BAD_REQUEST`` for an owner that is not an identifier, or bytes that are no template.
    """
    if not _OWNER.fullmatch(owner):
        raise BadInput(
            Code.BAD_REQUEST,
            "the API key id is empty or holds other than letters, digits, - and _",
            not_done="nothing was sent",
        )
    # A second place would mean that the bytes are not ours: no other value can contain a quote.
    if body_template.count(_NO_OWNER) != 1:
        raise BadInput(
            Code.BAD_REQUEST,
            "the stored bytes have no single empty owner to fill in",
            not_done="nothing was sent",
            next_step="inspect the order's stored body; do not sign the order again",
        )
    return body_template.replace(_NO_OWNER, b'"owner":"' + owner.encode() + b'"')


def decode_body(data: bytes) -> OrderBody:
    """Read a body back, as a venue would.

    Key order is free; a missing key or a wrong type is ``BAD_REQUEST``. The signature is only read.
    """
    try:
        message = json.loads(data)
    except ValueError as error:
        raise BadInput(Code.BAD_REQUEST, "order body is not JSON") from error
    order = _get(message, "order", dict)
    side = _get(order, "side", str)
    order_type = _get(message, "orderType", str)
    if side not in _SIDES or order_type not in OrderType.__members__:
        raise BadInput(Code.BAD_REQUEST, "order body has an unknown side or order type")
    signature = _get(order, "signature", str)
    if not _SIGNATURE.fullmatch(signature):
        raise BadInput(Code.BAD_REQUEST, "order body's signature is not lower-case hex")
    fields = OrderFields(
        salt=_get(order, "salt", int),
        maker=parse_address(_get(order, "maker", str), what="maker"),
        signer=parse_address(_get(order, "signer", str), what="signer"),
        token_id=parse_token_id(_get(order, "tokenId", str)),
        maker_amount=_number(order, "makerAmount"),
        taker_amount=_number(order, "takerAmount"),
        side=_SIDES.index(Side(side)),
        signature_type=_get(order, "signatureType", int),
        timestamp_ms=_number(order, "timestamp"),
        metadata=parse_bytes32(_get(order, "metadata", str), what="metadata"),
        builder=parse_bytes32(_get(order, "builder", str), what="builder"),
    )
    return OrderBody(
        fields=fields,
        signature=bytes.fromhex(signature[2:]),
        order_type=OrderType(order_type),
        expiration_s=_number(order, "expiration"),
        post_only=_get(message, "postOnly", bool),
        defer_exec=_get(message, "deferExec", bool),
        owner=_get(message, "owner", str),
    )


def _get(message: Any, key: str, kind: type) -> Any:
    value = message.get(key) if isinstance(message, dict) else None
    # Not isinstance: true is an int to Python and not to the venue.
    if type(value) is not kind:
        raise BadInput(Code.BAD_REQUEST, f"order body's {key} is missing or no {kind.__name__}")
    return value


def _number(order: Any, key: str) -> int:
    text = _get(order, key, str)
    if not _NUMBER.fullmatch(text):
        raise BadInput(Code.BAD_REQUEST, f"order body's {key} is no number in a string")
    return int(text)

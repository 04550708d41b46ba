"""What is fixed with an order before it is sent, and what is refused before anything is signed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.clock import SeededRng
from app.errors import BadInput, Code, LedgerError
from app.venue.interface import OrderType, Side
from app.venue.polymarket.body import OrderBody, decode_body, encode_body, with_owner
from app.venue.polymarket.encoding import MAX_ADDRESS, MAX_UINT256
from app.venue.polymarket.order import SignedOrder, build_order
from app.venue.polymarket.signing import OrderFields, SignatureType, Signer

SIGNER = Signer.ephemeral(SeededRng(1).bits)
WALLET = "0x" + "12" * 20
NOW_MS = 1_780_000_000_000
LATER_S = NOW_MS // 1000 + 300
TOKEN = "71321045679252212594626385532706912750332728571942532289631379312455583992563"


def build(**changes: Any) -> SignedOrder:
    intent: dict[str, Any] = {
        "token_id": TOKEN,
        "side": Side.BUY,
        "price_micros": 450_000,
        "size_micros": 10_000_000,
        "tick_micros": 10_000,
        "neg_risk": False,
        "order_type": OrderType.GTC,
        "salt": 1,
        "timestamp_ms": NOW_MS,
        "maker": SIGNER.address,
        "signer_address": SIGNER.address,
        "signature_type": SignatureType.EOA,
    }
    return build_order(SIGNER, **{**intent, **changes})


def test_building_twice_gives_the_same_bytes() -> None:
    assert build() == build()
    assert build().body_template == build().body_template


def test_the_identity_depends_on_what_is_signed_only() -> None:
    first = build()
    unsigned_changes: list[dict[str, Any]] = [
        {"order_type": OrderType.GTD, "expiration_s": LATER_S},
        {"order_type": OrderType.GTD, "expiration_s": LATER_S + 1},
        {"order_type": OrderType.FOK},
        {"order_type": OrderType.FAK},
        {"post_only": True},
        {"defer_exec": True},
    ]
    for change in unsigned_changes:
        other = build(**change)
        assert other.venue_order_id == first.venue_order_id
        assert other.signature == first.signature
        assert other.body_template != first.body_template
    signed_changes: list[dict[str, Any]] = [
        {"salt": 2},
        {"timestamp_ms": NOW_MS + 1},
        {"side": Side.SELL},
        {"price_micros": 460_000},
        {"size_micros": 10_010_000},
        {"neg_risk": True},
        {"token_id": TOKEN[:-1] + "4"},
        {"builder": "0x" + "0" * 63 + "1"},
        {"metadata": "0x" + "0" * 63 + "1"},
    ]
    assert first.venue_order_id not in {build(**c).venue_order_id for c in signed_changes}


def test_the_template_says_all_that_is_fixed() -> None:
    order = build(order_type=OrderType.GTD, expiration_s=LATER_S, post_only=True, defer_exec=True)
    message = json.loads(order.body_template)
    assert message["order"]["expiration"] == str(LATER_S)
    assert message["order"]["salt"] == 1
    assert message["order"]["makerAmount"] == "4500000"
    assert message["order"]["takerAmount"] == "10000000"
    assert message["order"]["timestamp"] == str(NOW_MS)
    assert message["order"]["signature"] == order.signature
    del message["order"]
    assert message == {"owner": "", "orderType": "GTD", "deferExec": True, "postOnly": True}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"price_micros": 455_000}, Code.OFF_TICK),
        ({"price_micros": 1_000_000}, Code.BAD_PRICE),
        ({"size_micros": 10_000_001}, Code.BAD_SIZE),
        ({"tick_micros": 3}, Code.NOT_TRADABLE),
        ({"token_id": "0x10"}, Code.UNKNOWN_OUTCOME),
        ({"maker": "0x12"}, Code.BAD_REQUEST),
        ({"builder": "0x12"}, Code.BAD_REQUEST),
        ({"metadata": ""}, Code.BAD_REQUEST),
        ({"salt": 1 << 53}, Code.BAD_REQUEST),
        ({"salt": -1}, Code.BAD_REQUEST),
        ({"timestamp_ms": 0}, Code.BAD_REQUEST),
        ({"timestamp_ms": NOW_MS * 1_000_000}, Code.BAD_REQUEST),
        ({"post_only": True, "order_type": OrderType.FOK}, Code.BAD_REQUEST),
        ({"post_only": True, "order_type": OrderType.FAK}, Code.BAD_REQUEST),
        ({"order_type": OrderType.GTD}, Code.BAD_VALIDITY),
        ({"order_type": OrderType.GTD, "expiration_s": NOW_MS // 1000}, Code.BAD_VALIDITY),
        ({"order_type": OrderType.GTD, "expiration_s": NOW_MS * 1000}, Code.BAD_VALIDITY),
        ({"order_type": OrderType.GTD, "expiration_s": -1}, Code.BAD_VALIDITY),
        ({"expiration_s": LATER_S}, Code.BAD_VALIDITY),
        ({"order_type": OrderType.FAK, "expiration_s": LATER_S}, Code.BAD_VALIDITY),
    ],
)
def test_a_bad_order_is_refused_with_its_code(changes: dict[str, Any], code: Code) -> None:
    with pytest.raises(BadInput) as refusal:
        build(**changes)
    assert refusal.value.code is code


@pytest.mark.parametrize(
    "parties",
    [
        {"signature_type": SignatureType.EOA, "maker": WALLET},
        {"signature_type": SignatureType.EOA, "signer_address": WALLET},
        {"signature_type": SignatureType.POLY_PROXY, "signer_address": WALLET},
        {"signature_type": SignatureType.GNOSIS_SAFE, "signer_address": WALLET},
        {"signature_type": SignatureType.POLY_1271, "maker": WALLET},
        {"signature_type": SignatureType.POLY_1271, "signer_address": WALLET},
    ],
)
def test_parties_that_do_not_belong_together_are_refused(parties: dict[str, Any]) -> None:
    with pytest.raises(LedgerError) as refusal:
        build(**parties)
    assert refusal.value.code is Code.SIGNING_FAILED


@pytest.mark.parametrize(
    ("kind", "signer", "length"),
    [
        (SignatureType.POLY_PROXY, SIGNER.address, 65),
        (SignatureType.GNOSIS_SAFE, SIGNER.address, 65),
        (SignatureType.POLY_1271, WALLET, 317),
    ],
)
def test_a_wallet_orders_through_its_key(kind: SignatureType, signer: str, length: int) -> None:
    order = build(signature_type=kind, maker=WALLET, signer_address=signer)
    assert len(bytes.fromhex(order.signature[2:])) == length


# --- bytes ----------------------------------------------------------------------------------------

words = st.integers(0, MAX_UINT256)
bodies = st.builds(
    OrderBody,
    fields=st.builds(
        OrderFields,
        salt=st.integers(0, (1 << 53) - 1),
        maker=st.integers(0, MAX_ADDRESS),
        signer=st.integers(0, MAX_ADDRESS),
        token_id=st.integers(1, MAX_UINT256),
        maker_amount=words,
        taker_amount=words,
        side=st.integers(0, 1),
        signature_type=st.integers(0, 3),
        timestamp_ms=words,
        metadata=words,
        builder=words,
    ),
    signature=st.binary(min_size=65, max_size=317),
    order_type=st.sampled_from(OrderType),
    expiration_s=st.integers(0, 1 << 53),
    post_only=st.booleans(),
    defer_exec=st.booleans(),
)
owners = st.from_regex(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{12}", fullmatch=True)


@given(bodies)
def test_a_body_reads_back_as_it_was_written(body: OrderBody) -> None:
    assert decode_body(encode_body(body)) == body


@given(bodies, owners)
def test_the_owner_is_the_only_thing_that_sending_changes(body: OrderBody, owner: str) -> None:
    template = encode_body(body)
    sent = with_owner(template, owner)
    assert sent == with_owner(template, owner)
    assert json.loads(sent) == {**json.loads(template), "owner": owner}
    assert len(sent) == len(template) + len(owner)
    assert decode_body(sent).owner == owner


@pytest.mark.parametrize("owner", ["", 'x","postOnly":true,"y":"', "a b", "ä", "x" * 65, "a\n"])
def test_an_owner_that_could_change_the_message_is_refused(owner: str) -> None:
    with pytest.raises(BadInput):
        with_owner(build().body_template, owner)


def test_bytes_that_already_have_an_owner_are_no_template() -> None:
    sent = with_owner(build().body_template, "an-owner")
    for damaged in (sent, b"{}", b'{"owner":"","owner":""}'):
        with pytest.raises(BadInput):
            with_owner(damaged, "an-owner")


def damaged_bodies() -> list[bytes]:
    good = build().body_template
    replacements = [
        (b'"salt":1,', b'"salt":"1",'),
        (b'"salt":1,', b'"salt":1.0,'),
        (b'"salt":1,', b'"salt":true,'),
        (b'"makerAmount":"4500000"', b'"makerAmount":4500000'),
        (b'"makerAmount":"4500000"', b'"makerAmount":"-1"'),
        (b'"side":"BUY"', b'"side":"buy"'),
        (b'"signatureType":0', b'"signatureType":9'),
        (b'"postOnly":false', b'"postOnly":0'),
        (b'"orderType":"GTC"', b'"orderType":"IOC"'),
        (b'"signature":"0x', b'"signature":"'),
        (b'"owner":"",', b""),
    ]
    assert all(old in good for old, _ in replacements)
    changed = [good.replace(old, new) for old, new in replacements]
    return [*changed, b"", b"[]", b"null", b"1", b"\xff", good[:-1]]


@pytest.mark.parametrize("data", damaged_bodies())
def test_a_damaged_body_is_refused(data: bytes) -> None:
    with pytest.raises(BadInput):
        decode_body(data)

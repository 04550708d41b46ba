"""Rules of the signer that need no SDK: identity, determinism, encoding, domains."""

from __future__ import annotations

import dataclasses

import pytest
from coincurve import PublicKey
from eth_abi.abi import encode as abi_encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak as reference_keccak
from hypothesis import given
from hypothesis import strategies as st

from app.clock import SeededRng
from app.errors import BadInput, Code, LedgerError
from app.venue.polymarket.domain import (
    AMOY,
    EXCHANGES,
    POLYGON,
    Domain,
    choose_domain,
    is_protocol_v2,
)
from app.venue.polymarket.encoding import (
    MAX_ADDRESS,
    MAX_UINT256,
    format_address,
    keccak256,
    parse_address,
    parse_bytes32,
    parse_token_id,
)
from app.venue.polymarket.signing import (
    ORDER_TYPE_HASH,
    OrderFields,
    SignatureType,
    Signer,
    order_hash,
    struct_hash,
)

SIGNER = Signer.ephemeral(SeededRng(7).bits)
words = st.integers(0, MAX_UINT256)
addresses = st.integers(0, MAX_ADDRESS)
all_fields = st.builds(
    OrderFields,
    salt=words,
    maker=addresses,
    signer=addresses,
    token_id=words,
    maker_amount=words,
    taker_amount=words,
    side=st.integers(0, 1),
    signature_type=st.sampled_from(SignatureType).map(int),
    timestamp_ms=words,
    metadata=words,
    builder=words,
)
polygon = EXCHANGES[POLYGON]
polygon_domains = st.sampled_from((polygon.standard, polygon.neg_risk, polygon.v3))


def test_the_type_hash_is_the_published_one() -> None:
    assert (
        ORDER_TYPE_HASH.hex() == "bb86318a2138f5fa8ae32fbe8e659f8fcf13cc6ae4014a707893055433818589"
    )


@given(st.binary(max_size=600))
def test_keccak_is_the_reference_keccak(data: bytes) -> None:
    assert keccak256(data) == reference_keccak(data)


@given(all_fields)
def test_the_struct_is_encoded_as_a_general_abi_encoder_does(fields: OrderFields) -> None:
    kinds = "bytes32 uint256 address address uint256 uint256 uint256 uint8 uint8 uint256"
    values = list(dataclasses.astuple(fields))
    values[1:3] = [f"0x{address:040x}" for address in values[1:3]]
    values[9:11] = [value.to_bytes(32, "big") for value in values[9:11]]
    encoded = abi_encode([*kinds.split(), "bytes32", "bytes32"], [ORDER_TYPE_HASH, *values])
    assert struct_hash(fields) == reference_keccak(encoded)


@given(all_fields, polygon_domains)
def test_a_signature_is_deterministic_and_recovers_to_the_key(
    fields: OrderFields, chosen: Domain
) -> None:
    first, second = SIGNER.sign(fields, chosen), SIGNER.sign(fields, chosen)
    assert first == second
    assert "0x" + first.order_hash.hex() == order_hash(fields, chosen)
    if fields.signature_type == SignatureType.POLY_1271:
        assert len(first.signature) == 317
        assert first.signature[65:97] == chosen.separator
        assert first.signature[97:129] == struct_hash(fields)
    else:
        assert len(first.signature) == 65
        assert recovered(first.order_hash, first.signature) == SIGNER.address


def recovered(digest: bytes, signature: bytes) -> str:
    compact = signature[:64] + bytes((signature[64] - 27,))
    point = PublicKey.from_signature_and_message(compact, digest, hasher=None)
    return format_address(int.from_bytes(keccak256(point.format(compressed=False)[1:])[12:], "big"))


@given(all_fields, all_fields)
def test_two_different_orders_have_two_hashes(one: OrderFields, other: OrderFields) -> None:
    domain = EXCHANGES[POLYGON].standard
    assert (order_hash(one, domain) == order_hash(other, domain)) is (one == other)


@given(all_fields)
def test_each_exchange_gives_the_order_another_identity(fields: OrderFields) -> None:
    every = [d for e in EXCHANGES.values() for d in (e.standard, e.neg_risk, e.v3)]
    assert len({order_hash(fields, domain) for domain in every}) == len(every) == 6


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("salt", -1),
        ("salt", MAX_UINT256 + 1),
        ("maker", MAX_ADDRESS + 1),
        ("side", 2),
        ("signature_type", 4),
        ("maker_amount", 1.5),
        ("token_id", "1"),
    ],
)
def test_a_field_out_of_its_range_is_refused_before_it_is_hashed(name: str, value: object) -> None:
    fine = OrderFields(1, 2, 3, 4, 5, 6, 0, 0, 7)
    with pytest.raises(BadInput, match=name):
        dataclasses.replace(fine, **{name: value})  # type: ignore[arg-type]


def test_a_signer_refuses_an_exchange_of_another_chain() -> None:
    fields = OrderFields(1, 2, 3, 4, 5, 6, 0, 0, 7)
    with pytest.raises(LedgerError, match="chain 137") as refusal:
        SIGNER.sign(fields, EXCHANGES[AMOY].standard)
    assert refusal.value.code is Code.SIGNING_FAILED


def test_a_throw_away_key_is_the_same_for_the_same_seed_only() -> None:
    assert Signer.ephemeral(SeededRng(7).bits).address == SIGNER.address
    assert Signer.ephemeral(SeededRng(8).bits).address != SIGNER.address


def test_a_throw_away_key_skips_numbers_outside_the_curve() -> None:
    numbers = iter((0, MAX_UINT256, 1))
    signer = Signer.ephemeral(lambda _bits: next(numbers))
    assert signer.address == Signer.from_key("1".zfill(64)).address


# --- domains --------------------------------------------------------------------------------------

old_token = 71321045679252212594626385532706912750332728571942532289631379312455583992563


def test_the_exchange_follows_the_token_first_and_neg_risk_second() -> None:
    exchanges = EXCHANGES[POLYGON]
    new_token = (1 << 248) | (0xABC << 104) | 1
    assert choose_domain(POLYGON, old_token, neg_risk=False) is exchanges.standard
    assert choose_domain(POLYGON, old_token, neg_risk=True) is exchanges.neg_risk
    assert choose_domain(POLYGON, new_token, neg_risk=False) is exchanges.v3
    assert choose_domain(POLYGON, new_token, neg_risk=True) is exchanges.v3


@given(words, st.integers(40, 103))
def test_one_bit_in_the_reserved_range_makes_a_token_of_the_older_scheme(
    token: int, bit: int
) -> None:
    assert not is_protocol_v2(token | 1 << bit)
    assert is_protocol_v2(token & ~(((1 << 64) - 1) << 40))


def test_an_unknown_chain_is_refused() -> None:
    with pytest.raises(BadInput) as refusal:
        choose_domain(1, old_token, neg_risk=False)
    assert refusal.value.code is Code.BAD_SETTING


# --- text at the border ---------------------------------------------------------------------------


@given(addresses)
def test_addresses_are_spelled_with_their_checksum_and_read_in_any_spelling(address: int) -> None:
    text = format_address(address)
    assert text == to_checksum_address(f"0x{address:040x}")
    assert parse_address(text) == parse_address(text.lower()) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        "f39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
        "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb9226",
        "0xF39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
        "0xf39fd6e51aad88f6f4ce6ab8827279cfffb9226g",
        " 0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266",
        "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266\n",
    ],
)
def test_a_mistyped_address_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse_address(text)


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "01", "1.0", "1e5", "0x10", " 1", "1\n", "١", str(1 << 256), "9" * 5000]
)
def test_a_token_id_that_is_no_decimal_uint256_is_refused(text: str) -> None:
    with pytest.raises(BadInput) as refusal:
        parse_token_id(text)
    assert refusal.value.code is Code.UNKNOWN_OUTCOME
    assert len(str(refusal.value)) < 200


def test_a_bytes32_of_another_length_is_refused() -> None:
    with pytest.raises(BadInput, match="builder"):
        parse_bytes32("0x00", what="builder")

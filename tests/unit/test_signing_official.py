"""Hash, signature and bytes are those of both official packages, for random orders."""

from __future__ import annotations

import json
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st
from polymarket import PRODUCTION
from polymarket._internal.actions.orders import limit as sdk_limit
from polymarket._internal.actions.orders import orders as sdk_orders
from polymarket._internal.actions.orders.post import build_post_order_request
from polymarket._internal.actions.orders.typed_data import (
    build_order_signature,
    build_order_typed_data,
)
from polymarket._internal.actions.orders.types import OrderDraft, UnsignedOrder
from py_clob_client_v2.config import get_contract_config
from py_clob_client_v2.order_utils.exchange_order_builder_v2 import ExchangeOrderBuilderV2
from py_clob_client_v2.order_utils.model.order_data_v2 import (
    OrderV2,
    SignedOrderV2,
    order_to_json_v2,
)
from py_clob_client_v2.order_utils.model.side import Side as SideV2
from py_clob_client_v2.order_utils.model.signature_type_v2 import SignatureTypeV2
from py_clob_client_v2.signer import Signer as SignerV2

from app.money import MICROS, format_micros
from app.venue.interface import OrderType, Side
from app.venue.polymarket.amounts import AMOUNT_DECIMALS
from app.venue.polymarket.body import with_owner
from app.venue.polymarket.domain import AMOY, EXCHANGES, POLYGON, Domain
from app.venue.polymarket.encoding import (
    MAX_ADDRESS,
    MAX_UINT256,
    format_address,
    format_bytes32,
    parse_address,
)
from app.venue.polymarket.order import SignedOrder, build_order
from app.venue.polymarket.signing import OrderFields, SignatureType, Signer, order_hash

# The first development account that every local Ethereum node ships: known to all, holds nothing.
KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
ACCOUNT = Account.from_key(KEY)
OWN = parse_address(ACCOUNT.address)
SIGNERS = {chain: Signer.from_key(KEY, chain) for chain in (POLYGON, AMOY)}

words = st.integers(0, MAX_UINT256)
addresses = st.integers(1, MAX_ADDRESS)
types = st.sampled_from(SignatureType)
domains = st.sampled_from([d for e in EXCHANGES.values() for d in (e.standard, e.neg_risk, e.v3)])


@st.composite
def orders(draw: st.DrawFn) -> OrderFields:
    """Any order that the packages agree to sign: for types 0 to 2 the signer is the key."""
    kind = draw(types)
    wallet = draw(addresses)
    return OrderFields(
        salt=draw(st.integers(0, (1 << 53) - 1)),
        maker=OWN if kind is SignatureType.EOA else draw(addresses),
        signer=wallet if kind is SignatureType.POLY_1271 else OWN,
        token_id=draw(words),
        maker_amount=draw(st.integers(0, 1 << 80)),
        taker_amount=draw(st.integers(0, 1 << 80)),
        side=draw(st.integers(0, 1)),
        signature_type=int(kind),
        timestamp_ms=draw(st.integers(0, 1 << 53)),
        metadata=draw(words),
        builder=draw(words),
    )


def unsigned(fields: OrderFields, domain: Domain) -> UnsignedOrder:
    values: dict[str, Any] = {
        "chain_id": domain.chain_id,
        "builder": format_bytes32(fields.builder),
        "exchange_address": domain.exchange,
        "expiration": 0,
        "maker": format_address(fields.maker),
        "maker_amount": fields.maker_amount,
        "metadata": format_bytes32(fields.metadata),
        "order_type": "GTC",
        "salt": fields.salt,
        "side": ("BUY", "SELL")[fields.side],
        "signature_type": fields.signature_type,
        "signer": format_address(fields.signer),
        "taker_amount": fields.taker_amount,
        "timestamp": fields.timestamp_ms,
        "token_id": str(fields.token_id),
        "protocol_version": domain.version,
    }
    return UnsignedOrder(**values)


def sign_as_polymarket_client(order: UnsignedOrder) -> str:
    typed = build_order_typed_data(order)
    ecdsa: Any = "0x" + ACCOUNT.sign_typed_data(full_message=typed).signature.hex()
    return build_order_signature(order, ecdsa)


def order_v2(fields: OrderFields) -> OrderV2:
    return OrderV2(
        salt=str(fields.salt),
        maker=format_address(fields.maker),
        signer=format_address(fields.signer),
        tokenId=str(fields.token_id),
        makerAmount=str(fields.maker_amount),
        takerAmount=str(fields.taker_amount),
        side=SideV2(fields.side),
        signatureType=SignatureTypeV2(fields.signature_type),
        timestamp=str(fields.timestamp_ms),
        metadata=format_bytes32(fields.metadata),
        builder=format_bytes32(fields.builder),
    )


@settings(max_examples=120, deadline=None)
@given(orders(), domains)
def test_signatures_equal_those_of_polymarket_client(fields: OrderFields, domain: Domain) -> None:
    ours = SIGNERS[domain.chain_id].sign(fields, domain).signature
    assert "0x" + ours.hex() == sign_as_polymarket_client(unsigned(fields, domain))


@settings(max_examples=120, deadline=None)
@given(orders(), domains)
def test_hash_and_signature_equal_those_of_py_clob_client_v2(
    fields: OrderFields, domain: Domain
) -> None:
    builder = ExchangeOrderBuilderV2(
        domain.exchange,
        domain.chain_id,
        SignerV2(KEY, domain.chain_id),
        domain_version=domain.version,
    )
    typed = builder.build_order_typed_data(order_v2(fields))
    signed = SIGNERS[domain.chain_id].sign(fields, domain)
    assert order_hash(fields, domain) == builder.build_order_hash(typed)
    assert "0x" + signed.order_hash.hex() == builder.build_order_hash(typed)
    assert "0x" + signed.signature.hex() == builder.build_order_signature(typed)


@settings(max_examples=60, deadline=None)
@given(orders().filter(lambda fields: fields.signature_type != 3), domains)
def test_the_signer_is_recovered_from_hash_and_signature(
    fields: OrderFields, domain: Domain
) -> None:
    signed = SIGNERS[domain.chain_id].sign(fields, domain)
    recovered = Account._recover_hash(signed.order_hash, signature=signed.signature)
    assert recovered == ACCOUNT.address


def test_the_contract_table_is_that_of_the_packages() -> None:
    ours, theirs = EXCHANGES[POLYGON], PRODUCTION._config
    assert ours.standard.exchange == theirs.standard_exchange
    assert ours.neg_risk.exchange == theirs.neg_risk_exchange
    assert ours.v3.exchange == theirs.exchange_v3
    for chain, exchanges in EXCHANGES.items():
        table = get_contract_config(chain)
        assert exchanges.standard.exchange == table.exchange_v2
        assert exchanges.neg_risk.exchange == table.neg_risk_exchange_v2
        assert exchanges.v3.exchange == table.exchange_v3


# --- a whole order --------------------------------------------------------------------------------


@st.composite
def intents(draw: st.DrawFn) -> dict[str, Any]:
    tick = draw(st.sampled_from(sorted(AMOUNT_DECIMALS)))
    kind = draw(types)
    wallet = format_address(draw(addresses))
    token = draw(st.integers(1, MAX_UINT256))
    if draw(st.booleans()):
        token = (token & ~(((1 << 64) - 1) << 40)) | 1
    order_type = draw(st.sampled_from((OrderType.GTC, OrderType.GTD)))
    timestamp_ms = draw(st.integers(10**12, 10**13))
    return {
        "token_id": str(token),
        "side": draw(st.sampled_from(Side)),
        "price_micros": tick * draw(st.integers(1, MICROS // tick - 1)),
        "size_micros": 10_000 * draw(st.integers(1, 10**8)),
        "tick_micros": tick,
        "neg_risk": draw(st.booleans()),
        "order_type": order_type,
        "salt": draw(st.integers(0, (1 << 53) - 1)),
        "timestamp_ms": timestamp_ms,
        "maker": ACCOUNT.address if kind is SignatureType.EOA else wallet,
        "signer_address": wallet if kind is SignatureType.POLY_1271 else ACCOUNT.address,
        "signature_type": kind,
        "expiration_s": timestamp_ms // 1000 + 180 if order_type is OrderType.GTD else 0,
        "post_only": draw(st.booleans()),
        "builder": format_bytes32(draw(words)),
    }


WALLETS = {0: "EOA", 1: "POLY_PROXY", 2: "GNOSIS_SAFE", 3: "DEPOSIT_WALLET"}


def post_as_polymarket_client(intent: dict[str, Any]) -> tuple[OrderDraft, dict[str, Any]]:
    """From price and size to the payload, through the package's own steps; only chance is fixed."""
    context: Any = SimpleNamespace(
        environment_config=PRODUCTION._config, wallet=intent["maker"], signer=ACCOUNT
    )
    price = Decimal(format_micros(intent["price_micros"]))
    params: Any = SimpleNamespace(
        asset_id=intent["token_id"],
        size=Decimal(format_micros(intent["size_micros"])),
        side=intent["side"].value,
        expiration=intent["expiration_s"] or None,
        builder_code=intent["builder"],
    )
    market: Any = SimpleNamespace(
        tick_size=Decimal(format_micros(intent["tick_micros"])), neg_risk=intent["neg_risk"]
    )
    draft = sdk_limit._build_limit_order_draft(context, params, price=price, metadata=market)
    with (
        mock.patch.object(sdk_orders, "_generate_salt", return_value=intent["salt"]),
        mock.patch.object(sdk_orders, "_current_timestamp_ms", return_value=intent["timestamp_ms"]),
    ):
        order = sdk_orders.create_unsigned_order(
            draft,
            wallet=intent["maker"],
            wallet_type=WALLETS[intent["signature_type"]],  # type: ignore[arg-type]
        )
    signature: Any = sign_as_polymarket_client(order)
    signed = sdk_orders.create_signed_order(order, signature, post_only=intent["post_only"])
    return draft, build_post_order_request(signed, owner_api_key="an-owner")[1]


@settings(max_examples=150, deadline=None)
@given(intents())
def test_a_whole_order_is_what_polymarket_client_would_post(intent: dict[str, Any]) -> None:
    ours = build_order(SIGNERS[POLYGON], **intent)
    draft, payload = post_as_polymarket_client(intent)
    assert ours.exchange == draft.exchange_address
    # That package leaves post-only out where it is false; the other one always says it.
    assert json.loads(with_owner(ours.body_template, "an-owner")) == {"postOnly": False, **payload}


@settings(max_examples=100, deadline=None)
@given(intents(), st.booleans())
def test_the_bytes_are_those_of_py_clob_client_v2(intent: dict[str, Any], defer: bool) -> None:
    ours = build_order(SIGNERS[POLYGON], **intent, defer_exec=defer)
    theirs = order_to_json_v2(
        signed_v2(ours), "an-owner", ours.order_type.value, ours.post_only, defer
    )
    serialized = json.dumps(theirs, separators=(",", ":"), ensure_ascii=False).encode()
    assert with_owner(ours.body_template, "an-owner") == serialized


def signed_v2(order: SignedOrder) -> SignedOrderV2:
    values = {**vars(order_v2(order.fields)), "expiration": str(order.expiration_s)}
    return SignedOrderV2(**values, signature=order.signature)


@pytest.mark.parametrize("chain", [POLYGON, AMOY])
def test_the_address_of_a_key_is_that_of_eth_account(chain: int) -> None:
    assert SIGNERS[chain].address == ACCOUNT.address

"""Keys, wallets and who may spend: held against both official packages, without any network but loopback."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import httpx
import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st
from polymarket import PRODUCTION
from polymarket._internal import wallet as sdk_wallet
from polymarket._internal.actions.auth import build_l1_auth_headers
from polymarket._internal.l1_auth import sign_api_key_auth
from py_clob_client_v2.headers import create_level_1_headers
from py_clob_client_v2.signer import Signer as SignerV2

from app.circuit import Retry, Trip
from app.clock import AsyncioTasks, Ports, SeededRng
from app.errors import BadInput, Code, LedgerError
from app.venue.interface import Absent, Found, Unread
from app.venue.polymarket.answers.reading import Balance
from app.venue.polymarket.asking import Asker, Host
from app.venue.polymarket.auth import ApiCredentials
from app.venue.polymarket.domain import AMOY, EXCHANGES, POLYGON
from app.venue.polymarket.l1 import KeyProof
from app.venue.polymarket.official import OfficialApprovals
from app.venue.polymarket.signing import SignatureType, Signer
from app.venue.polymarket.transport import Identity, Sent, Transport
from app.venue.polymarket.wallet import (
    FACTORIES,
    Fit,
    NewApiKey,
    api_key,
    collateral,
    judge,
    read_api_key,
    short_allowances,
    wallets_of,
)
from app.venue.polymarket.wire import Endpoint, Exchange, Phase
from tests.support.web import Answer, Asked, web

CANARY = "0x" + "c0ffee" * 10 + "5eed"
SIGNER = Signer.from_key(CANARY)
KEY = {"apiKey": "a-key-id", "secret": "c2VjcmV0LWNhbmFyeQ==", "passphrase": "passphrase-canary"}

keys = st.integers(1, 2**255).map(lambda number: f"0x{number:064x}")


def leaks(text: str) -> bool:
    return any(word in text for word in (CANARY[2:], KEY["secret"], KEY["passphrase"]))


# --- level 1 ---------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(keys, st.integers(0, 2**33), st.integers(0, 2**256 - 1), st.sampled_from((POLYGON, AMOY)))
def test_the_proof_of_a_key_is_that_of_polymarket_client(
    key: str, timestamp_s: int, nonce: int, chain_id: int
) -> None:
    signer = Signer.from_key(key, chain_id)
    ours = KeyProof(signer, nonce).headers(
        address=signer.address, timestamp_s=timestamp_s, method="GET", path="/auth/derive-api-key"
    )
    theirs = sign_api_key_auth(
        Account.from_key(key), chain_id=chain_id, timestamp=timestamp_s, nonce=nonce
    )
    assert ours == build_l1_auth_headers(theirs)


@settings(max_examples=30, deadline=None)
@given(keys, st.integers(0, 2**33), st.integers(0, 2**64))
def test_the_proof_of_a_key_is_that_of_py_clob_client_v2(
    key: str, timestamp_s: int, nonce: int
) -> None:
    signer = Signer.from_key(key)
    ours = KeyProof(signer, nonce).headers(
        address=signer.address.lower(), timestamp_s=timestamp_s, method="POST", path="/x"
    )
    assert ours == create_level_1_headers(SignerV2(key, POLYGON), nonce, timestamp_s)


def test_a_proof_is_made_for_the_signing_key_alone() -> None:
    proof = KeyProof(SIGNER)
    with pytest.raises(BadInput, match="level 1 proves the signer"):
        proof.headers(address="0x" + "11" * 20, timestamp_s=1, method="GET", path="/x")
    with pytest.raises(BadInput, match="nonce"):
        KeyProof(SIGNER, -1)


def test_what_holds_a_key_shows_and_copies_nothing() -> None:
    for holder in (KeyProof(SIGNER), NewApiKey("a-key-id", KEY["secret"], KEY["passphrase"])):
        assert not leaks(f"{holder!r} {holder} {[holder]}")
        for how in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(LedgerError, match="neither copied nor pickled"):
                how(holder)


# --- whose wallet ----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(keys)
def test_wallets_are_derived_as_the_official_client_derives_them(key: str) -> None:
    signer = Signer.from_key(key).address
    config = PRODUCTION._config.wallet_derivation
    assert wallets_of(signer) == {
        signer: SignatureType.EOA,
        sdk_wallet.derive_proxy_wallet_address(signer, config): SignatureType.POLY_PROXY,
        sdk_wallet.derive_safe_wallet_address(signer, config): SignatureType.GNOSIS_SAFE,
        sdk_wallet.derive_uups_deposit_wallet_address(signer, config): SignatureType.POLY_1271,
        sdk_wallet.derive_beacon_deposit_wallet_address(signer, config): SignatureType.POLY_1271,
    }


def test_the_factories_are_those_of_the_official_client() -> None:
    config, ours = PRODUCTION._config.wallet_derivation, FACTORIES[POLYGON]
    assert ours.proxy == int(config.proxy_factory, 16)
    assert ours.deposit == int(config.deposit_wallet_factory, 16)
    assert ours.deposit_beacon == int(config.deposit_wallet_beacon, 16)
    assert ours.safe_code_hash.hex() == config.safe_init_code_hash[2:]


@pytest.mark.parametrize("wallet", wallets_of(SIGNER.address))
@pytest.mark.parametrize("kind", SignatureType)
def test_key_wallet_and_type_fit_or_are_wrong_for_sure(wallet: str, kind: SignatureType) -> None:
    right = wallets_of(SIGNER.address)[wallet]
    fit, words = judge(SIGNER.address, wallet.lower(), kind)
    assert fit is (Fit.FITS if kind is right else Fit.WRONG)
    if kind is not right:
        assert f"signature type {right.value}, not {kind.value}" in words


@pytest.mark.parametrize("kind", SignatureType)
def test_a_wallet_that_does_not_follow_from_the_key_is_wrong_only_for_an_eoa(
    kind: SignatureType,
) -> None:
    fit, _ = judge(SIGNER.address, "0x" + "22" * 20, kind)
    assert fit is (Fit.WRONG if kind is SignatureType.EOA else Fit.UNSURE)


def test_a_mistyped_wallet_is_an_error() -> None:
    with pytest.raises(BadInput, match="LEDGER_FUNDER"):
        judge(SIGNER.address, "0x1234", SignatureType.POLY_1271)


# --- asking ----------------------------------------------------------------------------------------


class Answers:
    """An `Ask` that answers from a list and keeps what it was asked."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[Endpoint, dict[str, Any]]] = []

    async def __call__(self, endpoint: Endpoint, **how: Any) -> Exchange:
        self.asked.append((endpoint, how))
        status, body = self.answers.pop(0)
        text = body if isinstance(body, str) else json.dumps(body)
        return Exchange(endpoint, Phase.DONE, status, body=text.encode())


async def test_the_collateral_is_asked_for_with_the_signature_type() -> None:
    spender = EXCHANGES[POLYGON].standard.exchange
    ask = Answers((200, {"balance": "1500000", "allowances": {spender: str(2**256 - 1)}}))
    found = await collateral(ask, SignatureType.POLY_1271)
    assert isinstance(found, Found)
    assert found.value.balance_micros == 1_500_000
    assert found.value.allowance(spender) == 2**256 - 1
    [(endpoint, how)] = ask.asked
    assert endpoint is Endpoint.GET_BALANCE
    assert how == {
        "query": {"asset_type": "COLLATERAL", "signature_type": "3"},
        "signed": True,
    }


def test_each_exchange_that_may_move_too_little_is_named() -> None:
    exchanges = EXCHANGES[POLYGON]
    allowances = (
        (exchanges.standard.exchange.lower(), 2**256 - 1),
        (exchanges.neg_risk.exchange.lower(), 999_999),
    )
    assert short_allowances(Balance(1_000_000, allowances), 1_000_000) == ["neg-risk", "v3"]
    assert short_allowances(Balance(0, ()), 1) == ["standard", "neg-risk", "v3"]


async def test_an_api_key_is_derived_and_not_made_unasked() -> None:
    ask = Answers((200, KEY))
    found = await api_key(ask, SIGNER)
    assert isinstance(found, Found)
    assert found.value.settings() == {
        "LEDGER_API_KEY": KEY["apiKey"],
        "LEDGER_API_SECRET": KEY["secret"],
        "LEDGER_API_PASSPHRASE": KEY["passphrase"],
    }
    none = Answers((400, {"error": "Could not derive api key!"}))
    absent = await api_key(none, SIGNER)
    assert isinstance(absent, Absent)
    assert [endpoint for endpoint, _ in none.asked] == [Endpoint.DERIVE_API_KEY]


async def test_with_consent_a_key_is_made_only_where_there_is_none() -> None:
    ask = Answers((400, {"error": "Could not derive api key!"}), (200, KEY))
    assert isinstance(await api_key(ask, SIGNER, make=True), Found)
    assert [endpoint for endpoint, _ in ask.asked] == [
        Endpoint.DERIVE_API_KEY,
        Endpoint.POST_API_KEY,
    ]
    for status in (401, 500, 503):
        unclear = Answers((status, "odd"))
        assert isinstance(await api_key(unclear, SIGNER, make=True), Unread)
        assert len(unclear.asked) == 1


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(KEY)[:-3],
        json.dumps([KEY]),
        json.dumps(KEY | {"secret": ""}),
        json.dumps(KEY | {"apiKey": None}),
    ],
)
def test_an_answer_that_is_no_key_is_not_shown(body: str) -> None:
    answer = read_api_key(Exchange(Endpoint.DERIVE_API_KEY, Phase.DONE, 200, body=body.encode()))
    assert isinstance(answer, Unread)
    assert not leaks(answer.reason)
    cut = Exchange(Endpoint.DERIVE_API_KEY, Phase.READING, 200, body=body.encode(), problem="cut")
    assert read_api_key(cut) == Unread("cut (reading)")


# --- over real transports --------------------------------------------------------------------------


def ports() -> Ports:
    return Ports(Ports.system().clock, SeededRng(1), AsyncioTasks())


CREDENTIALS = ApiCredentials("a-key-id", KEY["secret"], KEY["passphrase"])


async def test_a_key_that_is_given_is_proved_for_and_recorded_nowhere() -> None:
    kept: list[tuple[Exchange, Sent]] = []

    def answer(asked: Asked) -> Answer:
        return 200, {}, json.dumps(KEY if "auth" in asked.path else 1_700_000_000)

    with web(answer) as venue:
        transport = Transport(venue.address, ports(), record=lambda *one: kept.append(one))
        asker = Asker({Host.CLOB: transport}, ports(), lambda: None)
        assert isinstance(await api_key(asker, SIGNER), Found)
        await asker(Endpoint.GET_TIME)
        await asker.aclose()
    assert venue.asked[0].headers["poly_nonce"] == "0"
    assert venue.asked[0].headers["poly_address"] == SIGNER.address
    assert "poly_address" not in venue.asked[1].headers
    assert [exchange.endpoint for exchange, _ in kept] == [Endpoint.GET_TIME]


async def test_a_signed_request_bears_the_key_of_the_moment() -> None:
    held = [Identity("main", SIGNER.address, CREDENTIALS)]
    with web(lambda _: (200, {}, "{}")) as venue:
        asker = Asker({Host.CLOB: Transport(venue.address, ports())}, ports(), lambda: held[0])
        await asker(Endpoint.GET_BALANCE, query={"asset_type": "COLLATERAL"}, signed=True)
        held[0] = Identity(
            "main", SIGNER.address, ApiCredentials("another", KEY["secret"], KEY["passphrase"])
        )
        await asker(Endpoint.GET_BALANCE, signed=True)
        await asker.aclose()
    assert [one.headers["poly_api_key"] for one in venue.asked] == ["a-key-id", "another"]
    assert venue.asked[0].path == "/balance-allowance?asset_type=COLLATERAL"


async def test_a_read_is_repeated_and_a_placement_never() -> None:
    with web(lambda _: (503, {}, "{}")) as venue:
        transport = Transport(venue.address, ports())
        quick = Retry(tries=3, first_ms=1, most_ms=1)
        who = Identity("main", SIGNER.address, CREDENTIALS)
        asker = Asker({Host.CLOB: transport}, ports(), lambda: who, retry=quick)
        assert (await asker(Endpoint.GET_TIME)).status == 503
        assert len(venue.asked) == 3
        assert (await asker(Endpoint.POST_ORDER, body=b"{}", signed=True)).status == 503
        assert len(venue.asked) == 4
        await asker.aclose()


async def test_an_open_circuit_holds_back_reads_and_neither_placements_nor_cancels() -> None:
    with web(lambda _: (500, {}, "{}")) as venue:
        transport = Transport(venue.address, ports())
        who = Identity("main", SIGNER.address, CREDENTIALS)
        asker = Asker(
            {Host.CLOB: transport},
            ports(),
            lambda: who,
            retry=Retry(tries=1),
            trip=Trip(failures=1, first_ms=60_000),
        )
        assert (await asker(Endpoint.GET_TIME)).status == 500
        held = await asker(Endpoint.GET_TIME)
        assert held.phase is Phase.CONNECTING
        assert held.problem.startswith("not asked: the clob circuit is open for")
        assert len(venue.asked) == 1
        assert (await asker(Endpoint.DELETE_ORDER, body=b"{}", signed=True)).status == 500
        assert (await asker(Endpoint.POST_ORDER, body=b"{}", signed=True)).status == 500
        await asker.aclose()


async def test_without_a_key_or_a_host_nothing_is_asked() -> None:
    asker = Asker({}, ports(), lambda: None)
    answer = await asker(Endpoint.GET_GEOBLOCK)
    assert answer.problem == "not asked: no address is known for the site host"
    with web(lambda _: (200, {}, "{}")) as venue:
        asker = Asker({Host.CLOB: Transport(venue.address, ports())}, ports(), lambda: None)
        answer = await asker(Endpoint.GET_BALANCE, signed=True)
        await asker.aclose()
    assert answer.problem == "not asked: there is no API key to ask with"
    assert venue.asked == []


# --- the official client ---------------------------------------------------------------------------


async def test_missing_approvals_are_read_with_the_official_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Offline: the client's own parsing over an answer that we make."""
    wallet = "0x" + "33" * 20
    asked: list[str] = []
    config = PRODUCTION._config
    erc20 = [
        config.standard_exchange,
        config.neg_risk_exchange,
        config.collateral_adapter,
        config.neg_risk_collateral_adapter,
        config.protocol_v2_router,
        config.exchange_v3,
        config.perps_deposit_contract,
    ]
    ctf = [
        config.standard_exchange,
        config.neg_risk_exchange,
        config.collateral_adapter,
        config.neg_risk_collateral_adapter,
        config.auto_redeem_operator,
        config.binary_module,
        config.neg_risk_module,
    ]
    manager = [config.protocol_v2_router, config.exchange_v3, config.auto_redeem_operator]

    def row(token: str, spender: str, standard: str) -> dict[str, Any]:
        approved = spender != config.neg_risk_exchange
        return {
            "token": token,
            "spender": spender,
            "standard": standard,
            "approved": approved,
            "amount": "max",
        }

    contracts = [row(config.collateral_token, one, "ERC20") for one in erc20]
    contracts += [row(config.conditional_tokens, one, "ERC1155") for one in ctf]
    contracts += [row(config.position_manager, one, "ERC1155") for one in manager]

    async def answer(_self: Any, request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        data = {"address": wallet, "chain_id": 137, "contracts": contracts}
        return httpx.Response(200, json={"data": data}, request=request)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", answer)
    found = await OfficialApprovals().missing(wallet)
    assert isinstance(found, Found)
    assert [(one.spender, one.kind) for one in found.value] == [
        (config.neg_risk_exchange, "ERC20"),
        (config.neg_risk_exchange, "ERC1155"),
    ]
    assert asked == [f"{config.data_url}/v2/approvals?user={wallet}"]
    contracts.clear()
    unread = await OfficialApprovals().missing(wallet)
    assert isinstance(unread, Unread)
    assert "UnexpectedResponseError" in unread.reason


def test_the_code_of_a_refusal_is_stable() -> None:
    with pytest.raises(BadInput) as refusal:
        KeyProof(SIGNER, 2**256)
    assert refusal.value.code is Code.BAD_REQUEST

"""The treasury over the official client: what each of its answers proves, and what it never does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import httpx
import polymarket
import pytest
from eth_abi.abi import decode
from eth_account import Account
from polymarket.environments import PRODUCTION

from app.clock import SystemClock
from app.errors import BadInput
from app.withdrawal import official
from app.withdrawal.official import PUSD, OfficialTreasury
from app.withdrawal.one_copy import OneCopy
from app.withdrawal.treasury import (
    Accepted,
    Done,
    Failed,
    NotSent,
    Pending,
    Refused,
    Transfer,
    Unread,
    Unsure,
    Wish,
)

WALLET = "0x" + "C" * 40
WISH = Wish("main", 7, "0x" + "a" * 40, 12_500_000)
HASH = "0x" + "7" * 64


@dataclass
class Transaction:
    """A handle whose end the test decides."""

    end: Any = None
    transaction_id: str | None = "tx-1"

    async def wait(self) -> Any:
        if isinstance(self.end, Exception):
            raise self.end
        if self.end is None:
            await asyncio.Event().wait()
        return self.end


@dataclass
class Client:
    """Asks for a nonce and posts one copy on the connection on which the gate stands."""

    answer: Any
    sent: list[tuple[Any, str | None]] = field(default_factory=list)
    closed: bool = False
    posts: bool = True

    def __post_init__(self) -> None:
        self.connection = httpx.AsyncClient(
            base_url="http://relayer", transport=httpx.MockTransport(self.relay)
        )
        self._ctx = SimpleNamespace(relayer=SimpleNamespace(_client=self.connection))

    def relay(self, request: httpx.Request) -> httpx.Response:
        status = getattr(self.answer, "status", 429)
        return httpx.Response(status if request.method == "POST" else 200)

    async def execute_transaction(
        self, *, calls: Sequence[Any], metadata: str | None = None
    ) -> Any:
        self.sent += [(call, metadata) for call in calls]
        await self.connection.get("/nonce")
        if self.posts:
            await self.connection.post("/submit")
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def close(self) -> None:
        self.closed = True


def treasury_over(client: Client) -> OfficialTreasury:
    async def connect() -> Client:
        return client

    return OfficialTreasury(connect, SystemClock(), wallet=WALLET)


async def test_the_bytes_are_the_tokens_own_transfer_call() -> None:
    transfer = await treasury_over(Client(None)).prepare(WISH)
    body = json.loads(transfer.body)
    assert body["to"].lower() == PUSD.lower()
    assert body["data"].startswith("0xa9059cbb")
    to, amount = decode(["address", "uint256"], bytes.fromhex(body["data"][10:]))
    assert (to, amount) == (WISH.destination, WISH.amount_micros)
    assert (body["wallet"], body["withdrawal"], body["value"]) == (WALLET.lower(), 7, 0)
    assert transfer == await treasury_over(Client(None)).prepare(WISH), "the same each time"
    other = await treasury_over(Client(None)).prepare(Wish("main", 8, WISH.destination, 12_500_000))
    assert other.hash != transfer.hash


async def test_the_token_is_the_one_of_the_production_environment() -> None:
    assert PRODUCTION._config.collateral_token == PUSD
    assert PRODUCTION._config.chain_id == official.CHAIN_ID


async def test_a_wish_that_the_client_refuses_is_bad_input() -> None:
    with pytest.raises(BadInput):
        await treasury_over(Client(None)).prepare(Wish("main", 7, WISH.destination, -1))


async def test_the_stored_call_is_what_is_sent_and_the_transaction_is_remembered() -> None:
    client = Client(Transaction())
    treasury = treasury_over(client)
    transfer = await treasury.prepare(WISH)
    assert await treasury.send(WISH, transfer) == Accepted("tx-1")
    [(call, metadata)] = client.sent
    stored = json.loads(transfer.body)
    assert (str(call.to), call.data, call.value) == (stored["to"], stored["data"], 0)
    assert metadata == f"withdrawal 7 {transfer.hash}"
    await treasury.aclose()
    assert client.closed


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (polymarket.RequestRejectedError("no", status=400), Unsure),
        (polymarket.RequestRejectedError("no", status=401), Refused),
        (polymarket.RequestRejectedError("no", status=403), Refused),
        (polymarket.RequestRejectedError("no", status=422), Refused),
        (polymarket.RequestRejectedError("no", status=408), Unsure),
        (polymarket.RequestRejectedError("no", status=409), Unsure),
        (polymarket.RequestRejectedError("no", status=500), Unsure),
        (polymarket.RequestRejectedError("no", status=502), Unsure),
        (polymarket.RateLimitError("later"), Unsure),
        (polymarket.TransportError("cut off"), Unsure),
        (polymarket.UnexpectedResponseError("half of it"), Unsure),
        (polymarket.SigningError("no"), Unsure),
        (polymarket.PolymarketError("anything"), Unsure),
        (ValueError("nobody foresaw it"), Unsure),
    ],
)
async def test_what_an_error_of_the_client_proves(error: Exception, kind: type) -> None:
    treasury = treasury_over(Client(error))
    assert isinstance(await treasury.send(WISH, await treasury.prepare(WISH)), kind)
    before = treasury_over(Client(error, posts=False))
    assert isinstance(await before.send(WISH, await before.prepare(WISH)), NotSent)


async def test_a_refusal_of_something_else_than_the_copy_proves_nothing() -> None:
    client = Client(polymarket.RequestRejectedError("the nonce", status=401))
    client.relay = lambda request: httpx.Response(429)  # type: ignore[method-assign]
    client.__post_init__()
    treasury = treasury_over(client)
    assert isinstance(await treasury.send(WISH, await treasury.prepare(WISH)), Unsure)


async def test_a_client_that_the_gate_does_not_fit_sends_nothing() -> None:
    client = Client(Transaction())
    client._ctx = SimpleNamespace()
    treasury = treasury_over(client)
    sent = await treasury.send(WISH, await treasury.prepare(WISH))
    assert isinstance(sent, NotSent)
    assert "one copy" in sent.reason
    assert (client.sent, client.closed) == ([], True)


async def test_an_error_without_any_request_that_the_gate_saw_stays_in_doubt() -> None:
    """As if the client posted on another connection."""
    client = Client(polymarket.TransportError("cut off"))
    elsewhere = httpx.AsyncClient(transport=httpx.MockTransport(client.relay), base_url="http://x")
    treasury = treasury_over(client)
    await treasury._connected()
    client.connection = elsewhere
    assert isinstance(await treasury.send(WISH, await treasury.prepare(WISH)), Unsure)


@dataclass
class Relayer:
    """Behind the real client: carries the first copy out, whatever it answers. Then the wallet is busy."""

    answers: list[tuple[int, Any]]
    carried: list[Any] = field(default_factory=list)
    reads: int = 0

    def relay(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            self.reads += 1
            nonce = str(len(self.carried))
            return httpx.Response(200, json={"address": WALLET, "nonce": nonce})
        self.carried.append(json.loads(request.content))
        status, body = self.answers[min(len(self.carried), len(self.answers)) - 1]
        return httpx.Response(status, json=body)


def over_the_real_client(relayer: Relayer) -> OfficialTreasury:
    async def connect() -> Any:
        signer = Account.from_key("0x" + "1" * 64)
        client = polymarket.AsyncSecureClient._construct_for_wallet(
            signer=signer,
            wallet=WALLET,
            wallet_type="DEPOSIT_WALLET",
            signer_type="OWNER",
            environment=PRODUCTION,
            config=PRODUCTION._config,
            credentials=SimpleNamespace(key="k", secret="cw==", passphrase="p"),  # type: ignore[arg-type]
            api_key=polymarket.RelayerApiKey(key="k", address=signer.address),
            logger=None,
            on_rate_limit_update=None,
        )
        client._ctx.relayer._client = httpx.AsyncClient(
            base_url="http://relayer", transport=httpx.MockTransport(relayer.relay)
        )
        return client

    return OfficialTreasury(connect, SystemClock(), wallet=WALLET)


BUSY = (400, {"error": "wallet has in-flight action"})
NONCE = (400, {"error": "batch nonce 0 does not match on-chain nonce 1"})
TAKEN = (200, {"transactionID": "tx-2", "state": "STATE_NEW"})


@pytest.mark.parametrize(
    "answers",
    [
        [(429, {}), BUSY],
        [(429, {}), TAKEN],
        [(429, {}), (401, {})],
        [BUSY, TAKEN],
        [NONCE, TAKEN],
        [NONCE, (422, {})],
        [(400, {"error": "no"})],
        [(502, {})],
    ],
)
async def test_the_clients_own_repeats_do_not_leave_and_their_errors_give_nothing_back(
    answers: list[tuple[int, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    relayer = Relayer(answers)
    treasury = over_the_real_client(relayer)

    async def at_once(_seconds: float) -> None:
        return None

    # The module's own pause between repeats: two seconds each.
    monkeypatch.setattr("polymarket._internal.actions.relayer.gasless.asyncio.sleep", at_once)
    sent = await treasury.send(WISH, await treasury.prepare(WISH))
    assert len(relayer.carried) == 1, "one attempt, one signed copy"
    assert isinstance(sent, Unsure), sent


async def test_the_real_client_sends_the_stored_call_through_the_gate() -> None:
    relayer = Relayer([TAKEN])
    treasury = over_the_real_client(relayer)
    transfer = await treasury.prepare(WISH)
    assert await treasury.send(WISH, transfer) == Accepted("tx-2")
    [copy] = relayer.carried
    [call] = copy["depositWalletParams"]["calls"]
    stored = json.loads(transfer.body)
    assert (call["target"], call["data"]) == (stored["to"], stored["data"])
    assert treasury._gate is not None
    assert (treasury._gate.reads, treasury._gate.copies) == (1, 1)


async def test_the_real_client_refused_outright_or_before_it_posts_is_proven() -> None:
    for status in official.DEFINITE:
        refused = over_the_real_client(Relayer([(status, {})]))
        assert isinstance(await refused.send(WISH, await refused.prepare(WISH)), Refused)
    relayer = Relayer([TAKEN])
    relayer.relay = lambda request: httpx.Response(503)  # type: ignore[method-assign]
    unread = over_the_real_client(relayer)
    assert isinstance(await unread.send(WISH, await unread.prepare(WISH)), NotSent)


async def test_outside_an_attempt_the_gate_is_closed() -> None:
    client = Client(None)
    OneCopy(client)
    await client.connection.get("/nonce")
    with pytest.raises(Exception, match="second copy"):
        await client.connection.post("/submit")


async def test_what_cannot_be_connected_was_not_sent() -> None:
    async def connect() -> Client:
        raise polymarket.TransportError("nobody there")

    treasury = OfficialTreasury(connect, SystemClock(), wallet=WALLET)
    assert isinstance(await treasury.send(WISH, await treasury.prepare(WISH)), NotSent)


async def test_bytes_of_another_wallet_do_not_leave() -> None:
    client = Client(Transaction())
    transfer = await treasury_over(client).prepare(WISH)
    elsewhere = json.loads(transfer.body) | {"wallet": "0x" + "d" * 40}
    sent = await treasury_over(client).send(
        WISH, Transfer(transfer.hash, json.dumps(elsewhere).encode())
    )
    assert isinstance(sent, NotSent)
    assert client.sent == []


@pytest.mark.parametrize(
    ("end", "seen"),
    [
        (SimpleNamespace(transaction_hash=HASH), Done(HASH)),
        (
            polymarket.TransactionFailedError("out of gas"),
            Failed("TransactionFailedError: out of gas"),
        ),
        (polymarket.TransportError("cut"), Unread("TransportError: cut")),
        (None, Pending("tx-1")),
    ],
)
async def test_what_the_handle_tells(end: Any, seen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(official, "LOOK_S", 0.01)
    treasury = treasury_over(Client(Transaction(end)))
    transfer = await treasury.prepare(WISH)
    await treasury.send(WISH, transfer)
    assert await treasury.look_up(WISH, transfer, "tx-1") == seen


async def test_another_process_can_conclude_nothing() -> None:
    treasury = treasury_over(Client(None))
    seen = await treasury.look_up(WISH, await treasury.prepare(WISH), "tx-1")
    assert isinstance(seen, Unread)
    assert "tx-1" in seen.reason


def test_it_is_never_sent_twice_and_outlives_the_clients_signature() -> None:
    assert OfficialTreasury.repeatable is False
    assert OfficialTreasury.valid_ms > official.SIGNATURE_LIVES_MS

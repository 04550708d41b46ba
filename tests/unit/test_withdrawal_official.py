"""The treasury over the official client: what each of its answers proves, and what it never does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import polymarket
import pytest
from eth_abi.abi import decode
from polymarket.environments import PRODUCTION

from app.clock import SystemClock
from app.errors import BadInput
from app.withdrawal import official
from app.withdrawal.official import PUSD, OfficialTreasury
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
    answer: Any
    sent: list[tuple[Any, str | None]] = field(default_factory=list)
    closed: bool = False

    async def execute_transaction(
        self, *, calls: Sequence[Any], metadata: str | None = None
    ) -> Any:
        self.sent += [(call, metadata) for call in calls]
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
        (polymarket.RequestRejectedError("no", status=400), Refused),
        (polymarket.RequestRejectedError("no", status=401), Refused),
        (polymarket.RequestRejectedError("no", status=408), Unsure),
        (polymarket.RequestRejectedError("no", status=409), Unsure),
        (polymarket.RequestRejectedError("no", status=500), Unsure),
        (polymarket.RequestRejectedError("no", status=502), Unsure),
        (polymarket.RateLimitError("later"), NotSent),
        (polymarket.TransportError("cut off"), Unsure),
        (polymarket.UnexpectedResponseError("half of it"), Unsure),
        (polymarket.SigningError("no"), Unsure),
        (polymarket.PolymarketError("anything"), Unsure),
    ],
)
async def test_what_an_error_of_the_client_proves(error: Exception, kind: type) -> None:
    treasury = treasury_over(Client(error))
    assert isinstance(await treasury.send(WISH, await treasury.prepare(WISH)), kind)


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

"""The treasury of real money: collateral leaves a deposit wallet through the official client.

Public parts alone are used: ``polymarket.calls.erc20_transfer_call`` makes the call's bytes, which are
stored before anything is sent, and ``AsyncSecureClient.execute_transaction`` sends those very bytes. The
client adds nonce, deadline and signature by itself and keeps them, so a second send would be a second
transfer: this treasury is not repeatable, and what is in doubt is never sent again. Nor has the client a
public way to look a transaction up by its id: only the handle of the process that sent it can tell its
end. After a restart a person looks, and resolves.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

from app.clock import Clock
from app.errors import BadInput, Code
from app.withdrawal.treasury import (
    Accepted,
    Done,
    Failed,
    NotSent,
    Pending,
    Refused,
    Seen,
    Sent,
    Transfer,
    Unread,
    Unsure,
    Wish,
)

CHAIN_ID: Final = 137
PUSD: Final = "0xC011a7E12a19f7B1f670d46F03B03f3342E82DFB"
"""pUSD, six decimals: its base units are our micros."""

SIGNATURE_LIVES_MS: Final = 600_000
"""The deadline that the client signs. After it nobody can carry the transfer out."""

DEFINITE: Final = frozenset({400, 401, 403, 422})
"""Statuses with which the relayer says that it has taken nothing."""

LOOK_S: Final = 5.0


class Handle(Protocol):
    """The part of the client's transaction handles that is used here."""

    @property
    def transaction_id(self) -> str | None: ...

    async def wait(self) -> Any: ...


class Client(Protocol):
    """The part of ``AsyncSecureClient`` that is used here."""

    async def execute_transaction(
        self, *, calls: Sequence[Any], metadata: str | None = None
    ) -> Handle: ...

    async def close(self) -> None: ...


Connect = Callable[[], Awaitable[Client]]


class OfficialTreasury:
    """A `Treasury` over the official client. ``connect`` makes a client for the wallet ``wallet``."""

    name = "polymarket-client"
    repeatable = False
    request_ms = 60_000
    valid_ms = SIGNATURE_LIVES_MS + 60_000

    def __init__(self, connect: Connect, clock: Clock, *, wallet: str) -> None:
        self._connect = connect
        self._clock = clock
        self._wallet = wallet
        self._client: Client | None = None
        self._handles: dict[str, Handle] = {}

    async def aclose(self) -> None:
        """Close the client's connections."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    async def prepare(self, wish: Wish) -> Transfer:
        """The token contract's call and what it is for. Raises `BadInput` if the client refuses to make it."""
        from polymarket import PolymarketError
        from polymarket.calls import erc20_transfer_call

        try:
            call = erc20_transfer_call(
                token_address=_address(PUSD),
                recipient=_address(wish.destination),
                amount=wish.amount_micros,
            )
        except PolymarketError as error:
            raise BadInput(
                Code.BAD_REQUEST,
                f"no transfer can be made of it: {error}",
                not_done="nothing was sent",
            ) from None
        body = json.dumps(
            {
                "chain_id": CHAIN_ID,
                "wallet": self._wallet.lower(),
                "withdrawal": wish.withdrawal_id,
                "to": str(call.to),
                "data": str(call.data),
                "value": call.value,
            },
            sort_keys=True,
            separators=(",", ":"),
        ).encode()
        return Transfer("0x" + hashlib.sha256(body).hexdigest(), body)

    async def send(self, wish: Wish, transfer: Transfer) -> Sent:
        """Send the stored call. Every definite refusal apart, an error leaves it in doubt."""
        from polymarket import PolymarketError, RateLimitError, RequestRejectedError
        from polymarket.calls import TransactionCall

        stored = json.loads(transfer.body)
        if stored["wallet"] != self._wallet.lower() or stored["chain_id"] != CHAIN_ID:
            return NotSent("the stored bytes are of another wallet")
        call = TransactionCall(to=stored["to"], data=stored["data"], value=stored["value"])
        started_ns = self._clock.monotonic_ns()
        try:
            client = await self._connected()
        except PolymarketError as error:
            return NotSent(_said(error))
        if (self._clock.monotonic_ns() - started_ns) // 1_000_000 > self.request_ms // 2:
            return NotSent("connecting took too long")
        try:
            handle = await client.execute_transaction(
                calls=[call], metadata=f"withdrawal {wish.withdrawal_id} {transfer.hash}"
            )
        except RateLimitError as error:
            return NotSent(_said(error))
        except RequestRejectedError as error:
            if error.status in DEFINITE:
                return Refused(f"HTTP_{error.status}", _said(error))
            return Unsure(f"HTTP_{error.status}", _said(error))
        except PolymarketError as error:
            return Unsure(type(error).__name__, _said(error))
        self._handles[transfer.hash] = handle
        return Accepted(handle.transaction_id)

    async def look_up(self, wish: Wish, transfer: Transfer, reference: str | None) -> Seen:
        """What the handle of this process says. A failed transaction moves nothing, once its signature has lapsed."""
        from polymarket import PolymarketError, TransactionFailedError

        handle = self._handles.get(transfer.hash)
        if handle is None:
            return Unread(
                f"sent by another process; look for transaction {reference or 'of the wallet'}"
            )
        try:
            async with asyncio.timeout(LOOK_S):
                outcome = await handle.wait()
        except TransactionFailedError as error:
            return Failed(_said(error))
        except TimeoutError:
            return Pending(reference)
        except PolymarketError as error:
            return Unread(_said(error))
        return Done(str(outcome.transaction_hash))

    async def _connected(self) -> Client:
        if self._client is None:
            self._client = await self._connect()
        return self._client


def _address(text: str) -> Any:
    """As the client's types want it; its own check of the spelling happens where it encodes."""
    return text


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]


def connecting(*, private_key: str, wallet: str, relayer_key: str, relayer_address: str) -> Connect:
    """Makes clients of the production environment: the official one knows no other publicly."""

    async def connect() -> Client:
        from polymarket import AsyncSecureClient, RelayerApiKey

        return await AsyncSecureClient.create(
            private_key=private_key,
            wallet=wallet,
            api_key=RelayerApiKey(key=relayer_key, address=relayer_address),
        )

    return connect

"""The treasury of real money: collateral leaves a deposit wallet through the official client.

``polymarket.calls.erc20_transfer_call`` makes the call's bytes, which are stored before anything is sent, and
``AsyncSecureClient.execute_transaction`` sends those very bytes. The client adds nonce, deadline and
signature by itself and keeps them, so a second send would be a second transfer: this treasury is not
repeatable, what is in doubt is never sent again, and the client's own repeats stop at a gate (one_copy.py;
the one place that reaches into the client). Nor has the client a public way to look a transaction up by
its id: only the handle of the process that sent it can tell its end. After a restart a person looks, and
resolves.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

from app.clock import Clock
from app.errors import BadInput, Code
from app.withdrawal.one_copy import NoGate, OneCopy
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

DEFINITE: Final = frozenset({401, 403, 422})
"""Statuses with which the relayer says that it has taken nothing. Not 400, nor 429: those also speak of a wallet
that is busy with what was taken before, and whoever stands in front of the relayer answers with them too.
"""

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
        self._gate: OneCopy | None = None
        self._handles: dict[str, Handle] = {}

    async def aclose(self) -> None:
        """Close the client's connections."""
        if self._client is not None:
            client, self._client, self._gate = self._client, None, None
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
        """Send the stored call, one copy of it. From then on an error leaves it in doubt, but for two that the
        gate vouches for: nothing has left, or the only copy was refused.
        """
        from polymarket.calls import TransactionCall

        stored = json.loads(transfer.body)
        if stored["wallet"] != self._wallet.lower() or stored["chain_id"] != CHAIN_ID:
            return NotSent("the stored bytes are of another wallet")
        call = TransactionCall(to=stored["to"], data=stored["data"], value=stored["value"])
        started_ns = self._clock.monotonic_ns()
        try:
            client, gate = await self._connected()
        except NoGate as error:
            return NotSent(f"this version of the client cannot be held to one copy: {error}")
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing was sent, and the answer says so
            return NotSent(_said(error))
        if (self._clock.monotonic_ns() - started_ns) // 1_000_000 > self.request_ms // 2:
            return NotSent("connecting took too long")
        if gate.taken:
            return NotSent("another send is under way")
        try:
            with gate.attempt():
                handle = await client.execute_transaction(
                    calls=[call], metadata=f"withdrawal {wish.withdrawal_id} {transfer.hash}"
                )
        except Exception as error:  # noqa: BLE001 - what it says of the money is judged, whatever it is
            return _judged(error, gate)
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

    async def _connected(self) -> tuple[Client, OneCopy]:
        if self._client is None or self._gate is None:
            client = await self._connect()
            try:
                self._gate = OneCopy(client)
            except NoGate:
                await client.close()
                raise
            self._client = client
        return self._client, self._gate


def _judged(error: Exception, gate: OneCopy) -> Sent:
    """What an error of the client proves of the money."""
    from polymarket import RequestRejectedError, UserInputError

    # It asks for its nonce on the same connection: where the gate saw that, it would have seen a copy too.
    if gate.copies == 0 and (gate.reads or isinstance(error, UserInputError)):
        return NotSent(_said(error))
    status = error.status if isinstance(error, RequestRejectedError) else None
    # The answer to the copy itself, and not to what the client asked after it.
    if gate.copies == 1 and status in DEFINITE and gate.status == status:
        return Refused(f"HTTP_{status}", _said(error))
    # A second copy was stopped at the gate, and with it whatever its answer was to say of the first.
    code = gate.status if status is None else status
    return Unsure(type(error).__name__ if code is None else f"HTTP_{code}", _said(error))


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

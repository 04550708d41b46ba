"""An API key is rotated while an order is in flight: the order stays reachable, under the key it was sent with."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.clock import Ports
from app.observe.logs import get_logger
from app.secrets import Keeper, Refreshed, open_source
from app.venue.interface import Accepted, CancelAccepted, Found, OrderType, Side
from app.venue.polymarket.answers.cancels import cancel_outcomes
from app.venue.polymarket.answers.outcomes import place_outcomes
from app.venue.polymarket.answers.reading import read_order
from app.venue.polymarket.body import with_owner
from app.venue.polymarket.order import SignedOrder, build_order
from app.venue.polymarket.signing import SignatureType, Signer
from app.venue.polymarket.transport import Identity, Transport
from app.venue.polymarket.wire import Endpoint
from tests.support.simulator import Market, Simulator, running_simulator
from tests.support.vault import fake_vault, vault_settings

KEY = "0x" + "5eed" * 16
SIGNER = Signer.from_key(KEY)
SHARE = 1_000_000
LOG = get_logger("test")


def api_key(number: int) -> dict[str, str]:
    """As the simulator takes them."""
    secret = base64.urlsafe_b64encode(f"a secret of the key number {number:06d}".encode()).decode()
    key_id = f"0a0a0a0a-0b0b-4c0c-8d0d-{number:012d}"
    return {"key_id": key_id, "secret": secret, "passphrase": f"passphrase-{number}"}


def document(number: int) -> dict[str, str]:
    """The same, as Vault keeps them."""
    one = api_key(number)
    names = {"api_key": "key_id", "api_secret": "secret", "api_passphrase": "passphrase"}
    return {"private_key": KEY} | {name: one[part] for name, part in names.items()}


def order_in(market: Market, salt: int) -> SignedOrder:
    return build_order(
        SIGNER,
        token_id=market.yes,
        side=Side.BUY,
        price_micros=50_000,
        size_micros=5 * SHARE,
        tick_micros=10_000,
        neg_risk=False,
        order_type=OrderType.GTC,
        salt=salt,
        timestamp_ms=Ports.system().clock.now_ms(),
        maker=SIGNER.address,
        signer_address=SIGNER.address,
        signature_type=SignatureType.EOA,
        post_only=True,
    )


class Client:
    """Sends and asks as whoever it is told to be."""

    def __init__(self, transport: Transport, keeper: Keeper) -> None:
        self._transport = transport
        self._keeper = keeper

    async def _ask(self, endpoint: Endpoint, key_id: str, **how: Any) -> Any:
        credentials = self._keeper.credentials_of(key_id)
        assert credentials is not None, f"nobody knows {key_id} any more"
        who = Identity("main", self._keeper.signer.address, credentials)
        return await self._transport.request(endpoint, identity=who, **how)

    async def place(self, order: SignedOrder) -> str:
        """Under the key of the moment; which is what an attempt records."""
        owner = self._keeper.credentials.key_id
        body = with_owner(order.body_template, owner)
        answer = await self._ask(Endpoint.POST_ORDER, owner, body=body)
        (outcome,) = place_outcomes(answer, [order.venue_order_id])
        assert isinstance(outcome, Accepted), answer.text
        return owner

    async def found(self, order: SignedOrder, owner: str) -> bool:
        path = Endpoint.GET_ORDER.path.replace("{id}", order.venue_order_id)
        answer = await self._ask(Endpoint.GET_ORDER, owner, path=path)
        return isinstance(read_order(answer, order.venue_order_id), Found)

    async def cancel(self, order: SignedOrder, owner: str) -> bool:
        body = b'{"orderID":"' + order.venue_order_id.encode() + b'"}'
        answer = await self._ask(Endpoint.DELETE_ORDER, owner, body=body)
        (outcome,) = cancel_outcomes(answer, [order.venue_order_id])
        return isinstance(outcome, CancelAccepted)


@asynccontextmanager
async def clients(venue: Simulator, *keepers: Keeper) -> AsyncIterator[list[Client]]:
    transport = Transport(venue.url, Ports.system())
    try:
        yield [Client(transport, keeper) for keeper in keepers]
    finally:
        await transport.aclose()


async def test_an_order_in_flight_outlives_the_rotation_of_its_key(tmp_path: Path) -> None:
    with running_simulator(tmp_path) as venue, fake_vault() as vault:
        for number in (1, 2):
            venue.account(SIGNER.address, key=api_key(number))
        market = venue.market()
        vault.versions.append(document(1))
        keeper = Keeper(open_source(vault_settings(vault)), Ports.system(), LOG)
        async with clients(venue, keeper) as (client,):
            before = order_in(market, 1)
            first = await client.place(before)
            vault.versions.append(document(2))
            assert await keeper.refresh() is Refreshed.NEW_KEY
            after = order_in(market, 2)
            second = await client.place(after)
            assert (first, second) == (api_key(1)["key_id"], api_key(2)["key_id"])
            assert await client.found(before, first)
            assert await client.cancel(before, first)
            assert await client.cancel(after, second)
        venue.until_order(before.venue_order_id, "CANCELED")
        venue.until_order(after.venue_order_id, "CANCELED")


async def test_a_process_that_starts_after_the_rotation_still_reaches_the_order(
    tmp_path: Path,
) -> None:
    with running_simulator(tmp_path) as venue, fake_vault() as vault:
        for number in (1, 2):
            venue.account(SIGNER.address, key=api_key(number))
        vault.versions.append(document(1))
        source = open_source(vault_settings(vault))
        old = Keeper(source, Ports.system(), LOG)
        async with clients(venue, old) as (client,):
            order = order_in(venue.market(), 1)
            owner = await client.place(order)
        vault.versions.append(document(2))
        new = Keeper(source, Ports.system(), LOG)
        assert new.credentials.key_id != owner
        async with clients(venue, new) as (client,):
            assert await client.found(order, owner)
            assert await client.cancel(order, owner)


@pytest.mark.parametrize("rotations", [2, 3])
async def test_a_key_from_two_rotations_ago_is_said_to_be_unknown(rotations: int) -> None:
    """Not silently replaced by another: what it could have told must not be taken for absence."""
    with fake_vault() as vault:
        vault.versions += [document(number) for number in range(1, rotations + 2)]
        keeper = Keeper(open_source(vault_settings(vault)), Ports.system(), LOG)
        assert keeper.credentials_of(api_key(rotations)["key_id"]) is not None
        assert keeper.credentials_of(api_key(1)["key_id"]) is None

"""Both official clients trade against the simulator, told nothing but where it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from polymarket import PRODUCTION, AsyncSecureClient
from polymarket.environments import Environment, _create_environment
from polymarket.errors import OrderHeartbeatMismatchError, RequestRejectedError
from polymarket.streams import MarketSpec, UserSpec
from py_clob_client_v2.client import ClobClient
from py_clob_client_v2.clob_types import (
    AssetType,
    BalanceAllowanceParams,
    MarketOrderArgsV2,
    OpenOrderParams,
    OrderArgsV2,
    OrderMarketCancelParams,
    OrderPayload,
    OrderType,
    PostOrdersV2Args,
    TradeParams,
)
from py_clob_client_v2.exceptions import PolyApiException

from app.venue.polymarket.signing import SignatureType, Signer
from app.venue.polymarket.wallet import wallets_of
from tests.support.simulator import Market, Simulator, running_simulator
from tests.support.waiting import wait_until

# The first development account that every local Ethereum node ships: known to all, holds nothing.
KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
ADDRESS = Signer.from_key(KEY).address
SOON_S = 20


@pytest.fixture(scope="module", name="venue")
def venue_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """One venue for the module; every test opens a market of its own."""
    folder = tmp_path_factory.mktemp("simulator")
    with running_simulator(folder, rate_limits=False, page_limit=3) as simulator:
        simulator.account(ADDRESS, collateral="100000")
        yield simulator


# --- py-clob-client-v2 ----------------------------------------------------------------------------


def v2(venue: Simulator, **options: Any) -> ClobClient:
    """The client of py-clob-client-v2, with a key that it derived for itself."""
    client = ClobClient(venue.url, 137, key=KEY, **options)
    client.set_api_creds(client.create_or_derive_api_key())
    return client


def bid(client: ClobClient, market: Market, price: float = 0.45, size: float = 10) -> Any:
    return client.create_order(OrderArgsV2(token_id=market.yes, price=price, size=size, side="BUY"))


def test_v2_places_lists_and_cancels(venue: Simulator) -> None:
    client, market = v2(venue), venue.market()
    placed = client.post_order(bid(client, market))
    assert (placed["status"], placed["success"], placed["errorMsg"]) == ("live", True, "")
    order = client.get_order(placed["orderID"])
    assert (order["status"], order["original_size"], order["price"]) == ("LIVE", "10", "0.45")
    assert client.get_open_orders(OpenOrderParams(market=market.condition_id)) == [order]
    cancelled = client.cancel_order(OrderPayload(orderID=placed["orderID"]))
    assert cancelled == {"canceled": [placed["orderID"]], "not_canceled": {}}
    assert client.get_open_orders(OpenOrderParams(market=market.condition_id)) == []
    assert client.get_order(placed["orderID"])["status"] == "CANCELED"


def test_v2_reads_every_page(venue: Simulator) -> None:
    client, market = v2(venue), venue.market()
    posted = [client.post_order(bid(client, market))["orderID"] for _ in range(7)]
    listed = client.get_open_orders(OpenOrderParams(market=market.condition_id))
    assert [one["id"] for one in listed] == posted
    swept = client.cancel_market_orders(OrderMarketCancelParams(market=market.condition_id))
    assert swept["canceled"] == posted


def test_v2_places_a_batch_and_cancels_it(venue: Simulator) -> None:
    client, market = v2(venue), venue.market()
    batch = [PostOrdersV2Args(bid(client, market, 0.40 + i / 100), OrderType.GTC) for i in range(3)]
    answers = client.post_orders([*batch, batch[0]])
    assert [one["status"] for one in answers] == ["live", "live", "live", ""]
    assert "Duplicated" in answers[3]["errorMsg"]
    ids = [one["orderID"] for one in answers[:3]]
    assert client.cancel_orders(ids)["canceled"] == ids


def test_v2_spends_its_amount_and_reads_its_trades(venue: Simulator) -> None:
    client, market = v2(venue), venue.market()
    venue.do("book", token_id=market.yes, asks=[["0.50", "20"], ["0.60", "100"]])
    order = client.create_market_order(
        MarketOrderArgsV2(
            token_id=market.yes, amount=16, side="BUY", price=0.60, order_type=OrderType.FOK
        )
    )
    # waits for the settlement's transaction hashes, as this client does by itself
    done = client.post_order(order, OrderType.FOK)
    assert (done["status"], done["makingAmount"]) == ("matched", "16")
    # 20 at 0.50 and the other 6 at 0.60: more than the 26.66 that its worst price promised
    assert done["takingAmount"] == "30"
    assert len(done["transactionsHashes"]) == 2
    trades = client.get_trades(TradeParams(market=market.condition_id))
    assert sorted((t["price"], t["size"]) for t in trades) == [("0.5", "20"), ("0.6", "10")]
    assert {t["taker_order_id"] for t in trades} == {done["orderID"]}
    held = BalanceAllowanceParams(asset_type=AssetType.CONDITIONAL, token_id=market.yes)
    wait_until(
        lambda: client.get_balance_allowance(held)["balance"] == "30000000", "the shares are there"
    )


def test_v2_computes_the_venues_book_hash(venue: Simulator) -> None:
    client, market = v2(venue), venue.market()
    client.post_order(bid(client, market))
    book = client.get_order_book(market.yes)
    stated = book["hash"]
    assert [level["price"] for level in book["bids"]] == ["0.4", "0.45"]
    assert client.get_order_book_hash(book) == stated


def test_v2_is_told_in_the_venues_words_what_was_wrong(venue: Simulator) -> None:
    client, market = v2(venue), venue.market()
    order = bid(client, market)
    client.post_order(order)
    with pytest.raises(PolyApiException, match=r"is invalid\. Duplicated\.") as again:
        client.post_order(order)
    assert again.value.status_code == 400
    with pytest.raises(PolyApiException, match="lower than the minimum: 5"):
        client.post_order(bid(client, market, size=4))
    with pytest.raises(PolyApiException, match="not enough balance / allowance"):
        client.post_order(bid(client, market, size=9_000_000))


# --- polymarket-client ----------------------------------------------------------------------------


def environment(venue: Simulator) -> Environment:
    """The production environment at other addresses: nothing else of the client is touched."""
    ready = venue.ready
    moved = replace(
        PRODUCTION._config,
        clob_url=ready["clob_url"],
        clob_user_ws_url=ready["user_ws_url"],
        clob_market_ws_url=ready["market_ws_url"],
        gamma_url=ready["gamma_url"],
        data_url=ready["data_url"],
        relayer_url=ready["relayer_url"],
    )
    return _create_environment(name="simulator", config=moved)


@asynccontextmanager
async def unified(venue: Simulator, wallet: str = ADDRESS) -> AsyncIterator[AsyncSecureClient]:
    """The unified client, made the public way: it asks for its own API key and wallet."""
    client = await AsyncSecureClient.create(
        private_key=KEY, wallet=wallet, environment=environment(venue)
    )
    try:
        yield client
    finally:
        await client.close()


async def next_event(handle: Any) -> Any:
    return await asyncio.wait_for(anext(handle), SOON_S)


async def listening(venue: Simulator, channel: str) -> None:
    """Until the venue has taken the subscription in: an event before it would not be told."""

    def there() -> bool:
        return bool(venue.see("state")["listeners"][channel])

    await asyncio.get_running_loop().run_in_executor(
        None, lambda: wait_until(there, "there is a listener")
    )


async def test_unified_places_lists_cancels_and_reads_trades(venue: Simulator) -> None:
    market = venue.market()
    async with unified(venue) as client:
        made = await client.create_limit_order(
            asset_id=market.yes, price="0.45", size="10", side="BUY"
        )
        placed = await client.post_order(made)
        assert placed.ok
        assert placed.status == "live"
        order = await client.get_order(order_id=placed.order_id)
        assert (order.status, order.original_size) == ("LIVE", Decimal(10))
        listed = [o async for o in client.list_open_orders(market=market.condition_id).iter_items()]
        assert listed == [order]
        done = await client.place_market_order(asset_id=market.yes, side="BUY", amount="6")
        assert done.ok
        assert (done.status, done.taking_amount) == ("matched", Decimal(10))
        settled = await client.wait_for_order_fill_settlement(done)
        assert settled
        pages = client.list_account_trades(market=market.condition_id)
        assert [t.size async for t in pages.iter_items()] == [Decimal(10)]
        swept = await client.cancel_all()
        assert placed.order_id in swept.canceled


async def test_unified_follows_an_order_on_the_user_stream(venue: Simulator) -> None:
    market = venue.market()
    async with unified(venue) as client:
        handle = await client.subscribe(UserSpec(markets=[market.condition_id]))
        await listening(venue, "user")
        made = await client.create_limit_order(
            asset_id=market.yes, price="0.45", size="10", side="BUY"
        )
        placed = await client.post_order(made)
        assert placed.ok
        first = await next_event(handle)
        assert first.payload.order_event_type == "PLACEMENT"
        assert first.payload.id == placed.order_id
        venue.do("trade", token_id=market.yes, side="SELL", price="0.45", size="4")
        update, trade = await next_event(handle), await next_event(handle)
        assert (update.payload.order_event_type, update.payload.size_matched) == (
            "UPDATE",
            Decimal(4),
        )
        assert (trade.type, trade.payload.status, trade.payload.trader_side) == (
            "trade",
            "MATCHED",
            "MAKER",
        )
        own = trade.payload.maker_orders[0]
        assert (own.order_id, own.matched_amount) == (placed.order_id, Decimal(4))
        assert [(await next_event(handle)).payload.status for _ in range(2)] == [
            "MINED",
            "CONFIRMED",
        ]
        await client.cancel_order(order_id=placed.order_id)
        ended = await next_event(handle)
        assert (ended.payload.order_event_type, ended.payload.status) == (
            "CANCELLATION",
            "CANCELED",
        )


async def test_unified_follows_a_book_on_the_market_stream(venue: Simulator) -> None:
    market = venue.market()
    async with unified(venue) as client:
        handle = await client.subscribe(
            MarketSpec(asset_ids=[market.yes], custom_feature_enabled=True)
        )
        book = await next_event(handle)
        assert (book.type, len(book.payload.bids), len(book.payload.asks)) == ("book", 1, 1)
        venue.do("liquidity", token_id=market.yes, side="BUY", price="0.41", size="5")
        change, quote = await next_event(handle), await next_event(handle)
        row = change.payload.price_changes[0]
        assert (row.price, row.size, row.side) == (Decimal("0.41"), Decimal(5), "BUY")
        assert quote.payload.best_bid == Decimal("0.41")
        venue.do("market", condition_id=market.condition_id, tick="0.001")
        ticked = await next_event(handle)
        assert ticked.payload.new_tick_size == Decimal("0.001")
        venue.do("resolve", condition_id=market.condition_id, winner=market.yes)
        kinds = {(await next_event(handle)).type for _ in range(3)}
        assert "market_resolved" in kinds


async def test_unified_beats_its_heart_and_is_told_which_beat_was_expected(
    venue: Simulator,
) -> None:
    async with unified(venue) as client:
        first = await client.send_order_heartbeat()
        second = await client.send_order_heartbeat(heartbeat_id=first.heartbeat_id)
        with pytest.raises(OrderHeartbeatMismatchError):
            await client.send_order_heartbeat(heartbeat_id=first.heartbeat_id)
        assert second.heartbeat_id != first.heartbeat_id


WALLETS = {
    int(kind): wallet
    for wallet, kind in wallets_of(ADDRESS).items()
    if kind is not SignatureType.EOA
}
"""By signature type; of the two addresses a deposit wallet may have the newer one."""


@pytest.mark.parametrize("kind", sorted(WALLETS))
async def test_unified_trades_from_every_kind_of_wallet(venue: Simulator, kind: int) -> None:
    wallet = WALLETS[kind]
    market = venue.market(neg_risk=kind == 2)
    venue.account(ADDRESS, wallet=wallet, signature_type=kind, collateral="100")
    async with unified(venue, wallet) as client:
        made = await client.create_limit_order(
            asset_id=market.yes, price="0.60", size="10", side="BUY"
        )
        assert made.signature_type == kind
        placed = await client.post_order(made)
        assert placed.ok
        assert placed.status == "matched"
        order = await client.get_order(order_id=placed.order_id)
        assert order.maker_address == wallet
        positions = wait_until_async(client, wallet, market.yes)
        assert await positions == Decimal(10)


async def wait_until_async(client: AsyncSecureClient, wallet: str, token: str) -> Decimal:
    """The wallet's position once it has one."""
    async with asyncio.timeout(SOON_S):
        while True:
            pages = client.list_positions(user=wallet)
            held = {str(p.asset_id): p.current_size async for p in pages.iter_items()}
            if token in held:
                return held[token]
            await asyncio.sleep(0)


async def test_unified_reads_markets_of_the_catalogue(venue: Simulator) -> None:
    market = venue.market(tick="0.001", fee_rate="0.05")
    async with unified(venue) as client:
        pages = client.list_markets(condition_ids=[market.condition_id])
        found = [one async for one in pages.iter_items()]
        assert [one.condition_id for one in found] == [market.condition_id]
        book = await client.get_order_book(asset_id=market.yes)
        assert book.tick_size == Decimal("0.001")


async def test_unified_understands_every_restriction(venue: Simulator) -> None:
    market = venue.market()
    async with unified(venue) as client:
        made = await client.create_limit_order(
            asset_id=market.yes, price="0.45", size="10", side="BUY"
        )
        for mode, restriction in (
            ("restarting", "restarting"),
            ("post_only", "post_only"),
            ("cancel_only", "cancel_only"),
        ):
            venue.do("mode", mode=mode)
            with pytest.raises(RequestRejectedError) as refused:
                await client.post_order(made)
            assert refused.value.restriction == restriction
        venue.do("mode", mode="normal")
        assert (await client.post_order(made)).ok

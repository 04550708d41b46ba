"""A worker on Polymarket beside its orders: keys that rotate, markets that change, books that break."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from app.markets.books.feed import BookFeed
from tests.support.polymarket_rig import API_KEY, PRIVATE_KEY, SIGNER, PolymarketRig, pm_fixture
from tests.support.vault import fake_vault
from tests.support.worker import until
from workers.worker.polymarket_host import PolymarketHost

__all__ = ["pm_fixture"]

NEW_KEY = {
    "key_id": "99999999-2222-4333-8444-555555555555",
    "secret": "YW5vdGhlci1zZWNyZXQtb2YtdGhlLXRlc3Q=",
    "passphrase": "another-passphrase",
}


def document(key: dict[str, str]) -> dict[str, str]:
    """As Vault keeps it."""
    names = {"api_key": "key_id", "api_secret": "secret", "api_passphrase": "passphrase"}
    return {"private_key": PRIVATE_KEY} | {name: key[part] for name, part in names.items()}


async def stored(pm: PolymarketRig) -> dict[str, Any]:
    row = await pm.owner.fetchrow(
        "SELECT * FROM ledger.market WHERE condition_id = $1", pm.market.condition_id
    )
    return dict(row)


async def test_a_hangup_has_the_worker_read_its_keys_and_send_under_the_new_one(
    pm: PolymarketRig,
) -> None:
    pm.simulator.account(SIGNER.address, key=NEW_KEY, collateral="0", tier="elite")
    with fake_vault() as vault:
        vault.versions.append(document(API_KEY))
        where: dict[str, Any] = {"vault_addr": vault.address, "vault_path": "trading/main"}
        where |= {"vault_token": vault.token, "secrets": "vault", "secrets_refresh_s": 0}
        worker = await pm.started(**where)
        await pm.trading()
        before = await pm.reserve(cents=5)
        await pm.until_state(before, "LIVE")
        vault.versions.append(document(NEW_KEY))
        worker.process.send_signal(signal.SIGHUP)
        await until(lambda: "SECRETS_ROTATED" in worker.log.read_text(), "the keys are rotated")
        after = await pm.reserve(cents=6)
        await pm.until_state(after, "LIVE")
        await pm.cancel(before, after)
        await pm.until_state(before, "CANCELLED")
        await pm.until_state(after, "CANCELLED")
        await worker.stop()
    owners = await pm.owner.fetch("SELECT owner FROM ledger.attempt ORDER BY order_id")
    assert [row["owner"] for row in owners] == [API_KEY["key_id"], NEW_KEY["key_id"]]
    said = worker.log.read_text()
    assert not [one for one in (NEW_KEY["secret"], NEW_KEY["passphrase"]) if one in said]
    await pm.check_against_venue()


async def test_the_refresher_stores_what_the_venue_says_of_a_market(pm: PolymarketRig) -> None:
    assert (await stored(pm))["slug"] == "m1"
    async with pm.inside():
        await pm.until(
            "SELECT slug LIKE 'made-up-%' FROM ledger.market WHERE condition_id = $1",
            pm.market.condition_id,
        )
    assert (await stored(pm))["tradable"]


async def test_a_tick_that_the_market_channel_tells_is_in_force_at_once(pm: PolymarketRig) -> None:
    async with pm.inside() as context:
        await pm.trading()
        host = context.host
        assert isinstance(host, PolymarketHost)
        order_id = await pm.reserve(cents=5)
        await pm.until_state(order_id, "LIVE")
        watch = host._watch_over(context)
        tokens = (pm.market.yes, pm.market.no)
        await until(
            lambda: all(watch.feed.unfit(one, max_age_ms=60_000) is None for one in tokens),
            "both books of a market with a standing order are followed",
        )
        assert (await stored(pm))["tick_micros"] == 10_000
        pm.simulator.do("market", condition_id=pm.market.condition_id, tick="0.001")
        await pm.until(
            "SELECT tick_micros = 1000 FROM ledger.market WHERE condition_id = $1",
            pm.market.condition_id,
        )
        await pm.cancel(order_id)
        await pm.until_state(order_id, "CANCELLED")

        async def let_go() -> bool:
            # Whoever asked within the hour may ask again, and is judged by the book. What the end of
            # the order still writes may set the clock anew.
            await pm.owner.execute(
                "UPDATE ledger.exposure SET clock_at = clock_timestamp() - interval '2 hours'"
                " WHERE clock_at > clock_timestamp() - interval '1 hour'"
            )
            return watch.feed.book(pm.market.yes) is None

        await until(let_go, "a market without orders and fills is let go")


async def test_a_feed_that_breaks_is_started_anew_and_stops_no_order(
    pm: PolymarketRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = 0
    sound = BookFeed.run

    async def broken(feed: BookFeed) -> None:
        nonlocal runs
        runs += 1
        if runs <= 2:
            raise RuntimeError("a book that nobody foresaw")
        await sound(feed)

    monkeypatch.setattr(BookFeed, "run", broken)
    async with pm.inside() as context:
        await pm.trading()
        order_id = await pm.reserve(cents=5)
        await pm.until_state(order_id, "LIVE")
        host = context.host
        assert isinstance(host, PolymarketHost)
        watch = host._watch_over(context)
        await until(
            lambda: watch.feed.unfit(pm.market.yes, max_age_ms=60_000) is None,
            "the third feed follows the book",
        )
        await pm.cancel(order_id)
        await pm.until_state(order_id, "CANCELLED")
    assert runs == 3
    await pm.check_against_venue()


async def test_a_market_channel_that_is_not_there_stops_no_order(pm: PolymarketRig) -> None:
    async with pm.inside(polymarket_market_ws_url="ws://127.0.0.1:9/ws/market"):
        await pm.trading()
        order_id = await pm.reserve(cents=5)
        await pm.until_state(order_id, "LIVE")
        await pm.cancel(order_id)
        await pm.until_state(order_id, "CANCELLED")
    await pm.check_against_venue()

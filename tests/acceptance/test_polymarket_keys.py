"""API keys that rotate while something is under way: each copy leaves, and is looked for, under its own key."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from app.clock import SystemClock
from app.venue.interface import PlaceOutcome, PlaceRequest
from app.venue.polymarket.auth import ApiCredentials
from app.venue.polymarket.venue import PolymarketVenue
from tests.support.polymarket_rig import API_KEY, SIGNER, PolymarketRig, pm_fixture
from tests.support.simulator import no_authorities
from tests.support.worker import until

__all__ = ["pm_fixture"]

NEW_KEY = {
    "key_id": "99999999-2222-4333-8444-555555555555",
    "secret": "YW5vdGhlci1zZWNyZXQtb2YtdGhlLXRlc3Q=",
    "passphrase": "another-passphrase",
}
BY_NEW_KEY = {
    "api_key": NEW_KEY["key_id"],
    "api_secret": NEW_KEY["secret"],
    "api_passphrase": NEW_KEY["passphrase"],
}
WITH_THE_OLD = {
    "previous_api_key": API_KEY["key_id"],
    "previous_api_secret": API_KEY["secret"],
    "previous_api_passphrase": API_KEY["passphrase"],
}


def rotate(pm: PolymarketRig, venue: PolymarketVenue) -> None:
    """What a host does when it is told of a new key."""
    pm.simulator.account(SIGNER.address, key=NEW_KEY, collateral="0", tier="elite")
    venue.add_account(
        "main",
        SIGNER.address,
        ApiCredentials(NEW_KEY["key_id"], NEW_KEY["secret"], NEW_KEY["passphrase"]),
        maker=SIGNER.address,
        signature_type=0,
        owners=frozenset(),
    )


def end_the_old_key(pm: PolymarketRig) -> None:
    """Its owner has the venue forget it."""
    path = "/auth/api-key"
    headers = ApiCredentials(**API_KEY).headers(
        address=SIGNER.address,
        timestamp_s=SystemClock().now_ms() // 1000,
        method="DELETE",
        path=path,
    )
    with httpx.Client(base_url=pm.simulator.url, verify=no_authorities()) as http:
        assert http.delete(path, headers=headers).status_code == 200


async def owners(pm: PolymarketRig) -> list[tuple[str, str]]:
    rows = await pm.owner.fetch("SELECT owner, outcome FROM ledger.attempt ORDER BY attempt")
    return [(row["owner"], row["outcome"]) for row in rows]


async def halts(pm: PolymarketRig) -> list[str]:
    return [row["why"] for row in await pm.owner.fetch("SELECT why FROM ledger.halt")]


async def test_a_key_that_rotates_behind_an_open_attempt_changes_nothing_of_it(
    pm: PolymarketRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The body names the key it was opened under, so its headers are that key's."""
    place = PolymarketVenue.place
    rotated = asyncio.Event()

    async def after_rotation(
        self: PolymarketVenue, account: str, orders: list[PlaceRequest]
    ) -> Any:
        if not rotated.is_set():
            rotate(pm, self)
            rotated.set()
        outcomes: list[PlaceOutcome] = list(await place(self, account, orders))
        return outcomes

    monkeypatch.setattr(PolymarketVenue, "place", after_rotation)
    async with pm.inside():
        await pm.trading()
        order_id = await pm.reserve(cents=5)
        await pm.until_state(order_id, "LIVE")
        await pm.until_settled()
    assert await owners(pm) == [(API_KEY["key_id"], "accepted")]
    assert await halts(pm) == []
    await pm.check_against_venue()


async def lost_under_the_old_key(pm: PolymarketRig) -> int:
    """An order whose one copy never arrived, sent under the first key, and wanted no more."""
    async with pm.inside():
        await pm.trading()
        lost = pm.simulator.fault("drop_before", endpoint="POST /order*")
        unread = pm.simulator.fault("http_error", endpoint="GET /data/*", times=0)
        order_id = await pm.reserve(cents=5)
        await pm.until_state(order_id, "UNKNOWN")
        await pm.until_struck(lost)
    pm.simulator.do("no_fault", number=unread)
    await pm.cancel(order_id)
    assert await owners(pm) == [(API_KEY["key_id"], "unknown")]
    pm.simulator.account(SIGNER.address, key=NEW_KEY, collateral="0", tier="elite")
    return order_id


async def test_an_order_lost_under_the_key_before_is_looked_for_with_both_and_proven_absent(
    pm: PolymarketRig,
) -> None:
    order_id = await lost_under_the_old_key(pm)
    worker = await pm.started(**BY_NEW_KEY, **WITH_THE_OLD)
    await pm.until_state(order_id, "NOT_PLACED")
    await worker.stop()
    proofs = await pm.owner.fetch(
        "SELECT DISTINCT kind, owner FROM ledger.evidence WHERE kind IN ('order_absent', 'trades_absent')"
    )
    both = {API_KEY["key_id"], NEW_KEY["key_id"]}
    assert {(row["kind"], row["owner"]) for row in proofs} == {
        (kind, key) for kind in ("order_absent", "trades_absent") for key in both
    }
    assert (await pm.order(order_id))["cause"] == "PROVEN_ABSENT"
    await pm.check_against_venue()


@pytest.mark.parametrize("known", [True, False], ids=["refused by the venue", "known to nobody"])
async def test_an_order_lost_under_a_key_that_is_gone_is_never_taken_for_absent(
    pm: PolymarketRig, known: bool
) -> None:
    """And that an old key is refused halts nothing: it is not the one in use."""
    order_id = await lost_under_the_old_key(pm)
    end_the_old_key(pm)
    worker = await pm.started(**BY_NEW_KEY, **(WITH_THE_OLD if known else {}))
    await until(
        lambda: worker.log.read_text().count("LOOK_UP_FAILED") >= 2, "the old key is tried twice"
    )
    other = await pm.reserve("m1", cents=6)
    assert (await pm.order(order_id))["state"] == "UNKNOWN"
    missing = await pm.owner.fetchval(
        "SELECT ledger._missing_proof(o, ledger.clock()) FROM ledger.orders o WHERE order_id = $1",
        order_id,
    )
    assert "own key" in missing
    assert await halts(pm) == []
    assert (await pm.order(other))["state"] == "RESERVED"
    modes = await pm.owner.fetch("SELECT mode FROM audit.venue WHERE standing")
    assert "BAD_CREDENTIALS" not in [row["mode"] for row in modes]
    await worker.stop()


async def test_the_stream_is_opened_anew_with_a_new_key(pm: PolymarketRig) -> None:
    """Of what is sent under it, a stream of the old key would not tell."""
    opened = (
        "SELECT count(*) FROM ledger.reconcile_run WHERE kind = 'reconnect' AND result = 'clean'"
    )
    async with pm.inside() as context:
        await pm.trading()
        before = await pm.owner.fetchval(opened)
        venue = context.venue
        assert isinstance(venue, PolymarketVenue)
        rotate(pm, venue)
        await pm.until(f"SELECT ({opened}) > $1", before, within_s=15)
        await pm.trading()
    assert pm.simulator.see("state")["listeners"]["user"] == 0

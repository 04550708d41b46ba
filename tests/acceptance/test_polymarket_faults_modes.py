"""A worker on the simulated Polymarket in each condition of the venue: placements wait, cancels never do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.life import call
from tests.support.polymarket_rig import SIGNER, PolymarketRig, pm_fixture
from workers.worker import polymarket_host

__all__ = ["pm_fixture"]

Deed = Callable[[PolymarketRig], Any]


@dataclass(frozen=True)
class Case:
    """``begin`` and ``end`` happen at the venue; what becomes of the order that meets the mode, and of a cancel."""

    mode: str
    begin: Deed
    end: Deed
    met: str
    """State of the order whose placement shows the mode, while it stands."""
    code: str
    cancels: bool = True
    """Whether the venue carries a cancel out meanwhile."""
    posts_only: bool = False


def told(status: int, text: str) -> Deed:
    return lambda pm: pm.simulator.fault(
        "http_error", endpoint="POST /order*", times=0, status=status, text=text
    )


def no_fault(pm: PolymarketRig) -> Any:
    return pm.simulator.do("no_fault")


def venue_mode(mode: str) -> Deed:
    return lambda pm: pm.simulator.do("mode", mode=mode)


def closed_only_from_the_order_on(pm: PolymarketRig) -> Any:
    return pm.simulator.fault("closed_only")


def closed_only_no_more(pm: PolymarketRig) -> Any:
    return pm.simulator.do("account", address=SIGNER.address, closed_only=False)


def blocked(pm: PolymarketRig) -> Any:
    """The site cannot be asked meanwhile: it is the order's own answer that shows the mode."""
    pm.simulator.fault("http_error", endpoint="GET /api/geoblock", times=0)
    return pm.simulator.do("geoblock", blocked=True)


def unblocked(pm: PolymarketRig) -> Any:
    pm.simulator.do("geoblock", blocked=False)
    return no_fault(pm)


def page_of_the_edge(pm: PolymarketRig) -> Any:
    pm.simulator.fault("http_error", endpoint="GET /api/geoblock", times=0)
    return pm.simulator.fault("html_403", endpoint="POST /order*", times=0)


def other_version(pm: PolymarketRig) -> Any:
    """A cut-over that nothing but the order's own answer shows."""
    pm.simulator.fault("http_error", endpoint="GET /version", times=0)
    return pm.simulator.do("settings", order_version=3)


def our_version(pm: PolymarketRig) -> Any:
    pm.simulator.do("settings", order_version=2)
    return no_fault(pm)


NORMAL = venue_mode("normal")
CASES = [
    Case("RESTARTING", venue_mode("restarting"), NORMAL, "HELD_BACK", "ENGINE_RESTARTING", False),
    Case("POST_ONLY", venue_mode("post_only"), NORMAL, "HELD_BACK", "POST_ONLY_MODE", True, True),
    Case("CANCEL_ONLY", venue_mode("cancel_only"), NORMAL, "HELD_BACK", "CANCEL_ONLY"),
    Case("DISABLED", venue_mode("disabled"), NORMAL, "HELD_BACK", "TRADING_DISABLED", False),
    Case(
        "CLOSED_ONLY", closed_only_from_the_order_on, closed_only_no_more, "REJECTED", "CLOSED_ONLY"
    ),
    Case("GEOBLOCKED", blocked, unblocked, "REJECTED", "GEOBLOCKED"),
    Case("GEOBLOCKED", page_of_the_edge, no_fault, "UNKNOWN", "EDGE_PAGE"),
    Case("ORDER_VERSION", other_version, our_version, "REJECTED", "ORDER_VERSION"),
]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the venue states no time, a mode is tried again after two seconds."""
    monkeypatch.setattr(polymarket_host, "WATCH_EVERY_MS", 300)
    shown = {
        mode: 2_000 if lasts is not None else None
        for mode, lasts in polymarket_host.LASTS_MS.items()
    }
    monkeypatch.setattr(polymarket_host, "LASTS_MS", shown)


async def until_mode(pm: PolymarketRig, mode: str) -> None:
    await pm.until(
        "SELECT EXISTS (SELECT FROM ledger.venue_mode WHERE mode = $1 AND ended_at IS NULL)", mode
    )


async def until_over(pm: PolymarketRig, mode: str) -> None:
    """Over, told in the journal, and compared with the venue after it."""
    await pm.until(
        "SELECT EXISTS (SELECT FROM ledger.venue_mode WHERE mode = $1 AND ended_at IS NOT NULL)",
        mode,
    )
    await pm.until(
        "SELECT EXISTS (SELECT FROM ledger.reconcile_run r JOIN ledger.venue_mode q USING (account_id) "
        "WHERE q.mode = $1 AND r.kind = 'episode' AND r.result IN ('clean', 'drift') "
        "AND r.started_at >= q.since)",
        mode,
        within_s=15,
    )


async def until_a_cancel_left(pm: PolymarketRig, mode: str) -> None:
    """A DELETE was answered while the mode stood."""
    await pm.until(
        "SELECT EXISTS (SELECT FROM ledger.venue_exchange x JOIN ledger.venue_mode q USING (account_id) "
        "WHERE q.mode = $1 AND x.method = 'DELETE' AND x.at >= q.since "
        "AND (q.ended_at IS NULL OR x.at <= q.ended_at))",
        mode,
        within_s=10,
    )


@pytest.mark.parametrize("case", CASES, ids=[f"{one.mode} {one.code}" for one in CASES])
async def test_a_mode_of_the_venue_holds_placements_back_and_never_cancels(
    pm: PolymarketRig, case: Case
) -> None:
    await pm.new_market("m2")
    async with pm.inside():
        await pm.trading()
        resting = await pm.reserve("m2", cents=5)
        await pm.until_state(resting, "LIVE")
        case.begin(pm)
        met = await pm.reserve(cents=5, valid_for_ms=60_000)
        await until_mode(pm, case.mode)
        await pm.until_state(met, case.met)
        assert (await pm.attempts(met))[0][1] == case.code
        # another one waits in the ledger: it does not even try
        waiting = await pm.reserve(cents=4, valid_for_ms=60_000)
        await pm.cancel(resting)
        await until_a_cancel_left(pm, case.mode)
        if case.cancels:
            await pm.until_state(resting, "CANCELLED", within_s=10)
        assert (await pm.order(waiting))["state"] == "RESERVED"
        assert len(pm.simulator.see("orders")) == 1
        shown = await pm.owner.fetchval(
            "SELECT count(*) FROM ledger.journal WHERE event = 'VENUE_MODE_BEGAN' "
            "AND detail ->> 'mode' = $1",
            case.mode,
        )
        assert shown >= 1
        case.end(pm)
        await pm.until_state(waiting, "LIVE")
        await pm.until_state(resting, "CANCELLED")
        if case.met != "REJECTED":
            await pm.until_state(met, "LIVE")
        await until_over(pm, case.mode)
        await pm.until_settled()
    for order_id in (waiting, *([met] if case.met != "REJECTED" else [])):
        assert (await pm.book(order_id))["status"] == "LIVE"
        assert (await pm.arrivals(order_id))["accepted"] == 1
    assert (await pm.book(resting))["status"] == "CANCELED"
    await pm.check_against_venue()


async def test_an_engine_restart_and_its_post_only_minutes_let_only_post_only_orders_in(
    pm: PolymarketRig,
) -> None:
    await pm.new_market("m2")
    async with pm.inside():
        await pm.trading()
        pm.simulator.do("mode", mode="restarting", for_ms=1_500, post_only_ms=5_000)
        plain = await pm.reserve(cents=5, valid_for_ms=60_000)
        await until_mode(pm, "RESTARTING")
        await until_mode(pm, "POST_ONLY")
        post_only = await pm.reserve("m2", cents=5, post_only=True, valid_for_ms=60_000)
        await pm.until_state(post_only, "LIVE")
        assert pm.simulator.see("state")["mode"] == "post_only"
        assert (await pm.order(plain))["state"] == "HELD_BACK"
        await pm.until_state(plain, "LIVE")
        await until_over(pm, "POST_ONLY")
        await pm.until_settled()
    codes = [code for _, code in await pm.attempts(plain)]
    assert (codes[0], codes[-1]) == ("ENGINE_RESTARTING", "live")
    assert "POST_ONLY_MODE" in codes
    for order_id in (plain, post_only):
        assert (await pm.arrivals(order_id))["received"] == 1
    await pm.check_against_venue()


@pytest.mark.parametrize(
    ("mode", "status", "text"),
    [
        ("BAD_CREDENTIALS", 401, "Unauthorized/Invalid api key"),
        ("BANNED", 400, "'0x00' address banned"),
    ],
)
async def test_a_condition_of_our_account_halts_it_and_its_cancels_leave(
    pm: PolymarketRig, mode: str, status: int, text: str
) -> None:
    """A person must look: the halt cancels what stands, places nothing, and outlives the mode."""
    await pm.new_market("m2")
    async with pm.inside():
        await pm.trading()
        resting = await pm.reserve("m2", cents=5)
        await pm.until_state(resting, "LIVE")
        told(status, text)(pm)
        met = await pm.reserve(cents=5)
        await pm.until_state(met, "REJECTED")
        await pm.until("SELECT EXISTS (SELECT FROM ledger.halt WHERE why LIKE $1)", f"{mode}%")
        await pm.until_state(resting, "CANCELLED")
        no_fault(pm)
        [refused] = await pm.ask(pm.request())
        assert refused["code"] == "HALTED"
        halt = await pm.owner.fetchval("SELECT halt_id FROM ledger.halt")
        await until_over(pm, mode)
        await call(pm.owner, "clear_halt", "account", "main", halt, "looked", "test")
        after = await pm.reserve(cents=5)
        await pm.until_state(after, "LIVE")
        await pm.until_settled()
    assert (await pm.book(resting))["status"] == "CANCELED"
    assert await pm.venue_orders(met) == []
    await pm.check_against_venue()


@pytest.mark.parametrize("retry_after_s", [2, -1], ids=["with Retry-After", "without"])
async def test_too_many_requests_hold_placements_back_for_as_long_as_told_and_no_cancel(
    pm: PolymarketRig, retry_after_s: int
) -> None:
    await pm.new_market("m2")
    async with pm.inside():
        await pm.trading()
        resting = await pm.reserve("m2", cents=5)
        await pm.until_state(resting, "LIVE")
        pm.simulator.fault(
            "rate_limited", endpoint="POST /order*", retry_after_s=retry_after_s, times=1
        )
        met = await pm.reserve(cents=5)
        await pm.until_state(met, "HELD_BACK")
        await pm.cancel(resting)
        await pm.until_state(resting, "CANCELLED")
        await pm.until_state(met, "LIVE")
        await pm.until_settled()
    first, second = await pm.owner.fetch(
        "SELECT outcome, code, opened_at, ended_at FROM ledger.attempt WHERE order_id = $1 "
        "ORDER BY attempt",
        met,
    )
    assert (first["code"], second["code"]) == ("RATE_LIMITED", "live")
    told_s = retry_after_s if retry_after_s > 0 else 1
    assert (second["opened_at"] - first["ended_at"]).total_seconds() >= told_s - 0.1
    gone_at = await pm.owner.fetchval(
        "SELECT min(at) FROM ledger.venue_exchange WHERE method = 'DELETE'"
    )
    assert gone_at < second["opened_at"], "the cancel waited for the budget of placements"
    assert (await pm.arrivals(met))["received"] == 1
    await pm.check_against_venue()


async def test_too_many_cancels_are_sent_again_when_the_venue_takes_them(pm: PolymarketRig) -> None:
    async with pm.inside():
        await pm.trading()
        order_id = await pm.reserve(cents=5)
        await pm.until_state(order_id, "LIVE")
        pm.simulator.fault("rate_limited", endpoint="DELETE /*", retry_after_s=1, times=2)
        await pm.cancel(order_id)
        await pm.until_state(order_id, "CANCELLED")
        await pm.until_settled()
    assert await pm.owner.fetchval("SELECT tries FROM ledger.cancel_request") == 3
    await pm.check_against_venue()

"""A 429 that names no time, as an edge sends it: a pause, and not the end of placing."""

from __future__ import annotations

from tests.support.polymarket_rig import PolymarketRig, pm_fixture

__all__ = ["pm_fixture"]


async def test_too_many_requests_without_a_time_hold_placements_back_for_a_moment_only(
    pm: PolymarketRig,
) -> None:
    pm.simulator.fault("http_error", endpoint="POST /order*", status=429, text="slow down")
    async with pm.inside():
        await pm.trading()
        order_id = await pm.reserve(cents=5)
        await pm.until_state(order_id, "LIVE", within_s=30)
    paused = await pm.owner.fetch(
        "SELECT kind FROM ledger.venue_budget WHERE paused_until IS NOT NULL"
    )
    assert [row["kind"] for row in paused] == ["orders"]
    codes = await pm.owner.fetch("SELECT code FROM ledger.attempt ORDER BY opened_at")
    assert [row["code"] for row in codes] == ["RATE_LIMITED", "live"]
    await pm.check_against_venue()

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
        await pm.until("SELECT EXISTS (SELECT FROM ledger.venue_mode WHERE mode = 'RATE_LIMITED')")
        await pm.until_state(order_id, "LIVE", within_s=30)
    row = await pm.owner.fetchrow("SELECT * FROM ledger.venue_mode WHERE mode = 'RATE_LIMITED'")
    assert row["until"] is not None
    await pm.check_against_venue()

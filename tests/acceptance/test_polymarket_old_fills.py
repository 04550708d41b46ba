"""A fill that stays unsettled is not final: first an alarm, then its market is halted, once (lesson 21)."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.support.database import TestDatabase
from tests.support.life import SHARE, call
from tests.support.polymarket_rig import PolymarketRig, polymarket_rig
from tests.support.worker import until
from workers.worker import sweeps

NEVER_MS = 3_600_000


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked for with each second sweep."""
    monkeypatch.setattr(sweeps, "OLD_FILLS_EVERY", 2)


async def filled(pm: PolymarketRig) -> int:
    """An order that matched at the venue, and is booked; settled it is when the venue's setting says."""
    await pm.trading()
    order_id = await pm.reserve(cents=45)
    await pm.until_state(order_id, "LIVE")
    pm.simulator.do(
        "trade", token_id=pm.market.yes, side="SELL", price="0.45", size="5", mint=False
    )
    await pm.until_state(order_id, "FILLED")
    await pm.until("SELECT EXISTS (SELECT FROM ledger.fill)")
    return order_id


async def halts(pm: PolymarketRig) -> list[tuple[str, str]]:
    """Scope and reason of those that stand."""
    rows = await pm.owner.fetch(
        "SELECT scope, why FROM ledger.halt WHERE cleared_at IS NULL ORDER BY halt_id"
    )
    return [(row["scope"], row["why"].split(":")[0]) for row in rows]


async def test_an_old_fill_is_an_alarm_before_it_is_a_halt(
    database: TestDatabase, tmp_path: Path
) -> None:
    async with polymarket_rig(database, tmp_path, mine_after_ms=NEVER_MS) as pm:
        with capture_logs() as told:
            async with pm.inside(unconfirmed_alarm_s=1, unconfirmed_halt_s=3_600):
                order_id = await filled(pm)
                assert (
                    await pm.owner.fetchval("SELECT settlement FROM ledger.fill") == "provisional"
                )

                def alarmed() -> bool:
                    return any(one["event"] == "FILLS_UNCONFIRMED" for one in told)

                await until(alarmed, "the alarm is raised")
                [alarm, *_] = [one for one in told if one["event"] == "FILLS_UNCONFIRMED"]
                assert (alarm["orders"], alarm["halted"]) == ([order_id], 0)
                assert alarm["log_level"] == "error"
                assert await halts(pm) == []
                # Trading goes on meanwhile.
                after = await pm.reserve(cents=5)
                await pm.until_state(after, "LIVE")


async def test_an_older_fill_halts_its_market_once_whoever_resumes_and_restarts(
    database: TestDatabase, tmp_path: Path
) -> None:
    async with polymarket_rig(database, tmp_path, mine_after_ms=NEVER_MS) as pm:
        await pm.new_market("m2")
        old: dict[str, int] = {"unconfirmed_alarm_s": 1, "unconfirmed_halt_s": 1}
        async with pm.inside(**old):
            await filled(pm)
            beside = await pm.reserve("m2", cents=5)
            await pm.until_state(beside, "LIVE")
            await pm.until("SELECT EXISTS (SELECT FROM ledger.halt WHERE cleared_at IS NULL)")
            assert await halts(pm) == [("market", "UNCONFIRMED_TOO_LONG")]
            [refused] = await pm.ask(pm.request(cents=5))
            assert (refused["status"], refused["code"]) == ("refused", "HALTED")
            [admitted] = await pm.ask(pm.request("m2", cents=6))
            assert admitted["status"] == "admitted"
            row = await pm.owner.fetchrow("SELECT * FROM ledger.halt")
            slug = await pm.owner.fetchval(
                "SELECT slug FROM ledger.market WHERE market_id = $1", int(row["scope_id"])
            )
            await call(
                pm.owner, "clear_halt", "market", slug, row["halt_id"], "it is on its way", "test"
            )
            again = await pm.reserve(cents=5)
            await pm.until_state(again, "LIVE")
        # The next worker finds the same fill, older still, and a person who knows of it.
        with capture_logs() as told:
            async with pm.inside(**old):
                await pm.trading()

                def alarmed() -> bool:
                    return any(one["event"] == "FILLS_UNCONFIRMED" for one in told)

                await until(alarmed, "the alarm is raised again")
                await until(
                    lambda: sum(one["event"] == "FILLS_UNCONFIRMED" for one in told) >= 2,
                    "and again",
                )
        assert await pm.owner.fetchval("SELECT count(*) FROM ledger.halt") == 1
        assert await halts(pm) == []
        held = await pm.owner.fetchval("SELECT sum(size_micros) FROM ledger.fill")
        assert held == 5 * SHARE


async def test_a_fill_that_settles_in_time_raises_nothing(
    database: TestDatabase, tmp_path: Path
) -> None:
    async with polymarket_rig(database, tmp_path, mine_after_ms=200, confirm_after_ms=200) as pm:
        with capture_logs() as told:
            async with pm.inside(unconfirmed_alarm_s=30, unconfirmed_halt_s=30):
                await filled(pm)
                await pm.until_settled()
        assert [one for one in told if one["event"] == "FILLS_UNCONFIRMED"] == []
        assert await halts(pm) == []
        await pm.check_against_venue()

"""The worker looks at what was lost: it halts, cancels, and its successor knows what was told (R3)."""

from __future__ import annotations

from tests.support.life import SHARE, call, token
from tests.support.worker import Rig, rig_fixture  # noqa: F401 - the fixture

UNIT = 1_000_000
HALTED = "SELECT count(*) = $1 FROM ledger.halt WHERE why LIKE 'DAILY_LOSS:%'"


async def lose(rig: Rig, units: int) -> None:
    """Tokens come at a value and go for nothing."""
    keys = await rig.owner.fetchval("SELECT count(*) FROM ledger.balance_entry")
    for amount, value in ((100 * SHARE, units * UNIT), (-100 * SHARE, 0)):
        key = f"{keys} {amount}"
        await call(
            rig.owner, "book_movement", "main", token("m2", 0), amount, "conversion", key, "", value
        )


async def test_a_daily_loss_halts_cancels_and_outlives_the_worker(rig: Rig) -> None:
    await call(
        rig.owner,
        "set_total_limit",
        "account",
        None,
        "max_daily_loss_micros",
        str(10 * UNIT),
        "test",
    )
    order_id = await rig.reserve(cents=5)
    worker = await rig.started()
    await rig.until_state(order_id, "LIVE")
    await lose(rig, 11)
    await rig.until(HALTED, 1)
    await rig.until_state(order_id, "CANCELLED")
    assert "LOSS_HALT" in worker.log.read_text()
    await worker.kill()

    version = await rig.owner.fetchval("SELECT max(halt_id) FROM ledger.halt")
    await call(rig.owner, "clear_halt", "account", "main", version, "seen", "ann")
    worker = await rig.started()
    # Its first pass looks at losses before it is ready; what was told stays told.
    assert await rig.owner.fetchval(HALTED, 1)
    await lose(rig, 11)
    await rig.until(HALTED, 2)
    await worker.stop()


async def test_sizes_follow_the_drawdown_while_the_worker_runs(rig: Rig) -> None:
    for name, value in (("drawdown_to_micros", 20 * UNIT), ("drawdown_from_micros", 0)):
        await call(rig.owner, "set_total_limit", "account", "main", name, str(value), "test")
    async with rig.inside():
        await rig.until("SELECT count(*) > 0 FROM ledger.equity_mark")
        await lose(rig, 5)
        await rig.until("SELECT size_factor_ppm = 750000 FROM ledger.account_state")

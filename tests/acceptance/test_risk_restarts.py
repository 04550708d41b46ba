"""Kill a worker, a gateway or the database: the same limits are in force after it (G5, G10, R1 to R3)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from app.db import embedded
from app.db.credentials import Credentials
from tests.support.database import TestDatabase, migrated_template
from tests.support.in_force import FREE, bring_into_force, limit, rows, same
from tests.support.life import SHARE, call
from tests.support.servers import in_thread, of_embedded
from tests.support.worker import ROOT, Rig, open_rig, rig_fixture, until  # noqa: F401

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

DEATHS: Final = (
    *("claim.after", "prepare.after", "open.before", "open.after", "send.before", "send.after"),
    *("record.before", "record.after", "event.store.after", "event.apply.after"),
    *("start.sweep.after", "start.apply.after", "start.ready.before"),
)
CANCELLING: Final = ("cancel.claim.after", "cancel.send.after", "cancel.record.after")


async def test_a_worker_killed_at_any_step_leaves_every_limit_in_force(rig: Rig) -> None:
    await bring_into_force(rig)
    before = await rows(rig)
    await same(rig, before)
    for n, point in enumerate((*DEATHS, *CANCELLING)):
        order_id = await rig.reserve(FREE, cents=10 + n)
        if point in CANCELLING:
            resting = await rig.owner.fetchval(
                "SELECT order_id FROM ledger.orders o JOIN ledger.market m USING (market_id) "
                "WHERE m.slug = $1 AND o.state IN ('LIVE', 'UNKNOWN', 'SENDING') AND o.cancel_asked_at IS NULL LIMIT 1",
                FREE,
            )
            await rig.cancel(resting or order_id)
        await rig.start(stop_at=point).died()
        await same(rig, before, window=False)
    worker = await rig.started()
    await same(rig, before, window=False)
    await rig.until_resolved(within_s=60)
    await same(rig, before, window=False)
    await worker.stop()
    await rig.check_sound()


WITHDRAWING: Final = ("stop.after", "drain.after", "debit.before", "debit.after", "send.after")
LOOKING: Final = ("lapse.after", "look.after", "note.after")


async def test_a_worker_killed_at_each_step_of_a_withdrawal_moves_the_money_once(rig: Rig) -> None:
    asked = await call(
        rig.owner,
        "start_withdrawal",
        *("main", 900 * SHARE, "0x" + "ab" * 20, "w1", "test", "jo"),
    )
    assert asked["status"] == "ok"
    for point in (*WITHDRAWING, *LOOKING):
        await rig.start(stop_at=f"withdraw.{point}").died()
        # The claim of the dead one lapses by itself; a test need not wait for it.
        await rig.owner.execute("UPDATE ledger.withdrawal SET claimed_until = NULL")
    row = await rig.owner.fetchrow("SELECT state, attempts FROM ledger.withdrawal")
    assert tuple(row) == ("DONE", 1)
    [moved] = await rig.owner.fetch("SELECT amount_micros, times_received FROM paper.transfer")
    assert tuple(moved) == (900 * SHARE, 1)
    worker = await rig.started()
    await rig.until_state(await rig.reserve(), "LIVE")
    await worker.stop()
    entries = await rig.owner.fetch(
        "SELECT available_delta FROM ledger.balance_entry WHERE cause = 'withdrawal'"
    )
    assert [entry["available_delta"] for entry in entries] == [-900 * SHARE]
    await rig.check_sound()


GATEWAY: Final = """
import asyncio, sys
from app.errors import Refused
from app.gateway import Gateway
from app.ledger import Intent, Ledger

async def main(url):
    async with Ledger.open(url) as ledger:
        gateway, n = Gateway(ledger, ttl_ms=10_000), 0
        async with gateway.evaluation("free") as evaluation:
            while True:
                n += 1
                intent = Intent(market="free", outcome="Up", side="BUY", price_micros=50_000, size_micros=5_000_000,
                                key=f"{sys.argv[2]} {n}")
                try:
                    await evaluation.place_order_with_guards(intent)
                except Refused as refusal:
                    print(refusal.code.value, flush=True)
                    await asyncio.Event().wait()

asyncio.run(main(sys.argv[1]))
"""


async def test_a_gateway_killed_in_an_evaluation_leaves_every_limit_and_its_window(
    rig: Rig,
) -> None:
    await bring_into_force(rig)
    await limit(rig, FREE, "burst_per_minute", 3)
    before = await rows(rig)
    await call(rig.owner, "grant_account", "main", rig.database.server.role_prefix + "trader")
    gateway = subprocess.Popen(  # noqa: ASYNC220 - only started here
        [sys.executable, "-c", GATEWAY, rig.database.url_for("trader"), "first"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert gateway.stdout is not None
    try:
        assert in_thread(gateway.stdout.readline).strip() == "BURST_MINUTE"
    finally:
        gateway.kill()
        gateway.wait()
        gateway.stdout.close()
    await same(rig, before)
    [answer] = await rig.ask(rig.request(FREE))
    assert answer["code"] == "LOCKED", "its lease still runs"
    await rig.owner.execute("UPDATE ledger.exposure SET mutex_until = ledger.clock()")
    [answer] = await rig.ask(rig.request(FREE))
    assert answer["code"] == "BURST_MINUTE", "the three of the dead one count for everybody"
    assert await rig.owner.fetchval(
        "SELECT count(*) = 3 FROM ledger.orders WHERE key LIKE 'first %'"
    )


async def test_a_database_killed_under_a_worker_comes_back_with_every_limit(tmp_path: Path) -> None:
    with embedded.throwaway(fsync=True) as server:
        tested = of_embedded(server, Credentials(tmp_path / "credentials.json"))
        with migrated_template(tested) as template:
            tested.run(f"ALTER DATABASE {template} ALLOW_CONNECTIONS true")
            async with open_rig(TestDatabase(template, tested), tmp_path) as rig:
                await rig.account()
                await rig.no_burst_limits()
                await bring_into_force(rig)
                # No answer counts as slow, and this order's will not come for a while.
                for name in ("slow_ms", "stop_ms"):
                    await call(rig.owner, "set_limit", None, FREE, name, "60000", "test")
                before = await rows(rig)
                worker = await rig.started()
                await rig.fault("place", "delay", times=100, before_ms=150, after_ms=150)
                order_id = await rig.reserve(FREE)
                await rig.until("SELECT count(*) > 0 FROM ledger.orders WHERE state = 'SENDING'")
                in_thread(lambda: embedded.stop(server.config, "immediate"))
                in_thread(lambda: embedded.start(server.config))
                await rig.owner.expire_connections()
                await same(rig, before, window=False)
                await rig.until_state(order_id, "LIVE", within_s=60)
                await same(rig, before, window=False)
                await worker.stop()
                await rig.check_sound()

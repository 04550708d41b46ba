"""The worker's task of withdrawals driven in process, pass by pass, on the test's clock.

A kill is an exception that nothing catches, at a named point; what goes on after it is another start,
which knows only the database.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final, cast

import asyncpg
import pytest

from app.clock import AsyncioTasks, Ports, SeededRng, SystemClock
from app.ledger.calls import LedgerCalls
from app.observe import logs
from app.withdrawal.paper import PaperTreasury
from app.withdrawal.treasury import Treasury
from tests.support.clock import SettableClock
from tests.support.database import TestDatabase
from tests.support.life import SHARE, Life, incarnation
from tests.support.withdrawals import totals
from workers.worker.context import Context, Host, Shared
from workers.worker.withdrawals import Withdrawals

AMOUNT: Final = 100 * SHARE
ENDED: Final = ("DONE", "COMPENSATED", "CANCELLED")


class Killed(BaseException):
    """The process is gone."""


class TestsClock(SystemClock):
    """The wall clock of the outside: the database's, in the test's hand."""

    __test__ = False

    def __init__(self, clock: SettableClock) -> None:
        self._clock = clock

    def now_ms(self) -> int:
        return int(self._clock.now.timestamp() * 1000)


@dataclass
class Rig:
    life: Life
    pool: Any
    clock: TestsClock
    treasury: Treasury
    starts: int = 0
    met: set[str] = field(default_factory=set)

    def worker(self, stop_at: str = "", chance: random.Random | None = None) -> Withdrawals:
        """Another start; dies at a point, or at each with a small chance."""
        self.starts += 1

        def reached(point: str) -> None:
            self.met.add(point)
            if point == stop_at or (chance is not None and chance.random() < 0.06):
                raise Killed(point)

        context = Context(
            LedgerCalls(self.pool),
            LedgerCalls(self.pool),
            cast(Host, SimpleNamespace(treasury=lambda _account: self.treasury)),
            Ports(self.clock, SeededRng(self.starts), AsyncioTasks()),
            cast(Any, None),
            incarnation(1_000 + self.starts),
            logs.get_logger("test"),
            reached,
            Shared(known={"main"}),
        )
        return Withdrawals(context)

    async def pass_on(self, worker: Withdrawals, *, ms: int = 3_000) -> None:
        await worker.one_pass()
        await self.life.clock.advance(ms)

    async def state(self) -> str:
        return str(
            await self.life.conn.fetchval(
                "SELECT state FROM ledger.withdrawal ORDER BY withdrawal_id DESC LIMIT 1"
            )
        )

    async def until(self, *states: str, passes: int = 80) -> str:
        worker = self.worker()
        for _ in range(passes):
            if (state := await self.state()) in states:
                return state
            await self.pass_on(worker)
        raise AssertionError(f"{await self.state()} after {passes} passes")

    async def transfers(self) -> list[Any]:
        return list(await self.life.conn.fetch("SELECT * FROM paper.transfer"))

    async def green(self) -> None:
        """The books agree with themselves, and no asset comes from nowhere."""
        assert set((await totals(self.life)).values()) == {0}
        red = await self.life.conn.fetch("SELECT * FROM audit.checks() WHERE NOT is_notice")
        assert [dict(row) for row in red] == []


@pytest.fixture(name="rig")
async def rig_fixture(life: Life, module_database: TestDatabase) -> AsyncIterator[Rig]:
    await life.conn.execute("DELETE FROM paper.transfer; DELETE FROM paper.transfer_fault")
    clock = TestsClock(life.clock)
    # The worker's login, so that it is seen to have every right it needs.
    async with asyncpg.create_pool(module_database.url_for("worker"), min_size=1, max_size=4) as it:
        yield Rig(life, it, clock, PaperTreasury(it, clock))


async def fault(rig: Rig, kind: str, **more: Any) -> None:
    assert isinstance(rig.treasury, PaperTreasury)
    owner = PaperTreasury(rig.pool, rig.clock)
    await owner.order_fault("main", kind, **more)

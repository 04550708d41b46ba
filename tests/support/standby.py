"""A server of its own whose commits can be made to wait for a standby that never comes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from app.clock import Ports
from workers.demo.stage import Stage, choose_markets, set_up


@pytest.fixture(scope="module", name="stage")
def _stage() -> Iterator[Stage]:
    with set_up(choose_markets(None, Ports.system().clock), 1) as stage:
        yield stage


async def waits_for(operator: asyncpg.Connection, standby: str) -> None:
    await operator.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{standby}'")
    await operator.execute("SELECT pg_reload_conf()")
    async with asyncio.timeout(20):
        while await operator.fetchval("SHOW synchronous_standby_names") != standby:
            pass

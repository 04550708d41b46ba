"""What befalls the field for a while, and is undone: disks, sockets, connections, idle sessions, clocks.

Each returns what it killed in passing. The crowd goes on dying meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from app.db.connect import open_connection
from app.errors import DatabaseProblem
from proof.kills.crowd import Kill
from proof.kills.field import Field
from proof.kills.postgres import CONNECTIONS, SMALL_FILE
from workers.demo.stage import MAIN

Blow = Callable[[Field, "Pause"], Awaitable[list[Kill]]]
Pause = Callable[[], Awaitable[None]]
"""Lets the fault last."""

DATABASE_STEPS_MS: Final = (20_000, 0, -20_000, 0)
WALL_STEPS_MS: Final = (4_000, 0, -4_000, 0)
"""A worker refuses to start further from the venue's clock than five seconds."""


async def disk_full(field: Field, pause: Pause) -> list[Kill]:
    """Not a byte is left where the database writes; where no disk can be filled, its files may not grow."""
    postgres = field.postgres
    field.trouble()
    if postgres.volume is not None:
        postgres.volume.fill()
    else:
        postgres.limit_files(SMALL_FILE)
    try:
        await pause()
    finally:
        if postgres.volume is not None:
            postgres.volume.empty()
        else:
            postgres.limit_files("unlimited")
    # A server that could not write its journal has ended; one that could goes on.
    field.trouble()
    await postgres.start()
    return []


async def read_only(field: Field, pause: Pause) -> list[Kill]:
    """The disk falls read-only under the server and loses what was not synced; then it is mended and mounted again."""
    postgres = field.postgres
    assert postgres.volume is not None
    field.trouble()
    postgres.volume.fall()
    await pause()
    at_ms = field.ports.clock.now_ms()
    killed = postgres.kill_all()
    await postgres.volume.mend(field.ports.clock)
    field.trouble()
    await postgres.start()
    return [Kill("postgres, of which some were left", at_ms, killed)] if killed else []


async def no_connection_left(field: Field, pause: Pause) -> list[Kill]:
    """Strangers hold every connection that is left."""
    strangers: list[asyncpg.Connection] = []
    field.trouble()
    try:
        while len(strangers) < CONNECTIONS:
            try:
                strangers.append(await open_connection(field.stage.url("trader")))
            except DatabaseProblem:
                break
        await pause()
    finally:
        field.trouble()
        for one in strangers:
            one.terminate()
    return []


async def silent_database(field: Field, pause: Pause) -> list[Kill]:
    """The line to the database says nothing any more, and closes nothing."""
    return await _silent(field, "database", pause)


async def silent_venue(field: Field, pause: Pause) -> list[Kill]:
    """The line to the venue, likewise."""
    return await _silent(field, "venue", pause)


async def _silent(field: Field, group: str, pause: Pause) -> list[Kill]:
    field.trouble()
    await field.tell_lines(f"cut {group}")
    try:
        await pause()
    finally:
        await field.tell_lines(f"heal {group}")
        field.trouble()
    return []


async def idle_transactions(field: Field, pause: Pause) -> list[Kill]:
    """One holds a snapshot and does nothing; one has reserved, holds its locks, and says nothing any more."""
    market = field.stage.cast.markets[0]
    request = {
        "account": MAIN,
        "key": f"stranger-{field.ports.rng.bits(64):x}",
        "market": market.condition_id,
        "outcome": "0",
        "side": "BUY",
        "price_micros": market.tick_micros,
        "size_micros": market.min_size_micros,
        "class": "entry",
    }
    async with (
        _session(field.stage.owner_url) as keeper,
        _session(field.stage.url("trader")) as idle,
    ):
        await keeper.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await keeper.fetchval("SELECT pg_current_xact_id()")
        await idle.execute("BEGIN")
        await idle.fetchval("SELECT ledger.reserve_pending($1::jsonb)", json.dumps([request]))
        await pause()
    return []


@asynccontextmanager
async def _session(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Ended without a word, whatever became of it."""
    connection = await open_connection(url)
    try:
        yield connection
    finally:
        connection.terminate()


async def database_clock(field: Field, pause: Pause) -> list[Kill]:
    """The clock of limits and leases jumps ahead, back, back once more and home."""
    for off_ms in DATABASE_STEPS_MS:
        await field.step_database_clock(off_ms)
        await pause()
    return []


async def wall_clock(field: Field, pause: Pause) -> list[Kill]:
    """The workers' wall clock does."""
    for off_ms in WALL_STEPS_MS:
        field.wall.step(off_ms)
        await pause()
    return []


BLOWS: Final[Mapping[str, Blow]] = {
    "disk full": disk_full,
    "read-only disk": read_only,
    "no connection left": no_connection_left,
    "silent line to the database": silent_database,
    "silent line to the venue": silent_venue,
    "idle transactions": idle_transactions,
    "steps of the database's clock": database_clock,
    "steps of the workers' clock": wall_clock,
}
NEEDS_A_DISK: Final = ("read-only disk",)


def pausing(field: Field, seconds: float) -> Pause:
    async def pause() -> None:
        await field.ports.clock.sleep(seconds)

    return pause

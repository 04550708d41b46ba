"""Faults that are put in on purpose, each to be found by the judgement that the rounds rest on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from app.clock import Ports
from app.db.connect import open_connection
from proof.kills.field import Planted, field
from proof.kills.postgres import ServerFailed
from proof.live.judging import judged, lost_so_far
from workers.demo.course import until

ASKS_S: Final = 6.0
ENOUGH: Final = 20
DIED: Final = "writer at answer.received"
DEATHS: Final = 4
"""So many answers were there and not heard, each of them asked for anew."""


async def forgetful(ports: Ports, seed: int, under: Path) -> int | None:
    """A writer that asks anew, under another key, what it died before it heard: how many orders are told as doubled."""
    async with field(ports, seed, under, Planted(forgetful=True), disk=False) as made:
        made.go()

        def died() -> int:
            return sum(kill.kind == DIED for kill in made.crowd.toll.kills)

        await until(ports.clock, lambda: died() >= DEATHS, 60)
        found = await judged(made, ports)
    return found.verdict.duplicates


async def unsynced(ports: Ports, seed: int, under: Path) -> int | None:
    """A server with ``fsync = off`` on a disk that falls: how many answered orders are told as lost."""
    async with field(ports, seed + 500, under, Planted(unsynced=True)) as made:
        postgres = made.postgres
        if postgres.volume is None:
            return None
        owner = await open_connection(made.stage.owner_url)
        await owner.execute("CHECKPOINT")
        await owner.close()
        os.sync()  # what was there before is there; only what is answered from now on can be lost
        made.go()
        await until(
            ports.clock, lambda: sum(len(told.orders) for told in made.told) >= ENOUGH, ASKS_S * 5
        )
        made.trouble()
        postgres.volume.fall()
        postgres.kill_all()
        await postgres.volume.mend(ports.clock)
        made.crowd.staffed = False
        try:
            await postgres.start()
        except ServerFailed:
            return sum(len(told.orders) for told in made.told)
        return len(await lost_so_far(made))

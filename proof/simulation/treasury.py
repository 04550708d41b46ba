"""Who carries withdrawals out, in memory: a `Treasury` outliving every worker, with every misbehaviour of one."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass, field

from app.withdrawal.treasury import (
    Absent,
    Accepted,
    Done,
    Refused,
    Seen,
    Sent,
    Transfer,
    Unread,
    Unsure,
    Wish,
)
from proof.simulation.world import AFTER, BEFORE, World

KINDS = ("", "drop_answer", "lost", "refuse", "late", "unread")


@dataclass(slots=True)
class Vault:
    """What was moved, by hash; outlives every worker."""

    moved: dict[str, int] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


class SimTreasury:
    """One worker's way to the vault."""

    name = "simulated"
    repeatable = True
    request_ms = 2_000
    valid_ms = 5_000

    def __init__(self, world: World, vault: Vault, owner_moves: object) -> None:
        self._world = world
        self._vault = vault
        self._move = owner_moves

    async def prepare(self, wish: Wish) -> Transfer:
        """The wish as canonical JSON."""
        told = [wish.account, wish.withdrawal_id, wish.destination, wish.amount_micros]
        body = json.dumps(told).encode()
        return Transfer("0x" + hashlib.sha256(body).hexdigest(), body)

    async def send(self, wish: Wish, transfer: Transfer) -> Sent:
        """Moves the money once, however often the same bytes come."""
        world, vault = self._world, self._vault
        await world.meet("sent transfer", BEFORE)
        fault = vault.faults.pop(0) if vault.faults and not world.calm else ""
        if fault not in ("lost", "refuse"):
            vault.asked[transfer.hash] = vault.asked.get(transfer.hash, 0) + 1
            if transfer.hash not in vault.moved:
                vault.moved[transfer.hash] = wish.amount_micros
                self._move(wish.amount_micros)  # type: ignore[operator]
        world.trace.note("treasury", "send", fault or "done")
        await world.meet("sent transfer", AFTER)
        await asyncio.sleep(world.chance.random() * 0.1)
        if fault in ("lost", "drop_answer"):
            return Unsure("no answer")
        if fault == "refuse":
            return Refused("REFUSED_BY_SIMULATION")
        return Accepted(transfer.hash) if fault == "late" else Done(transfer.hash)

    async def look_up(self, wish: Wish, transfer: Transfer, reference: str | None) -> Seen:
        """The whole truth, so that absence is proof."""
        world = self._world
        await asyncio.sleep(world.chance.random() * 0.05)
        if self._vault.faults and self._vault.faults[0] == "unread" and not world.calm:
            self._vault.faults.pop(0)
            return Unread("no answer")
        if transfer.hash in self._vault.moved:
            return Done(transfer.hash)
        return Absent("no such transfer", proof=True)

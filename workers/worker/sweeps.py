"""The sweeps: what must become true by itself, whoever died. Start is only their first pass."""

from __future__ import annotations

from typing import Final

from workers.worker.context import Context

WATCHDOG_MS: Final = 500
"""A session may sit this long on a ledger lock before it is ended."""


OLD_FILLS_EVERY: Final = 20
"""Passes between two looks for fills that do not settle."""

LOSSES_EVERY: Final = 10
"""Passes between two looks at what was lost: a book falls faster than a minute."""

GROUPS_EVERY: Final = 10
"""Passes between two looks for lanes whose market was imported into another group."""


class Sweeps:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._passes = 0
        self._log = context.named("sweeper")

    async def one_pass(self) -> bool:
        """Cancels that a halt or suspension asks for, which nothing is to hold up; then lapsed claims, expired
        intents, breaches, losses; and the cancels again where one of these has stopped something.
        """
        self._passes += 1
        cancels = await self._sweep_cancels()
        await self._end_what_lapsed()
        stopped = await self._look_for_breaches()
        stopped |= await self._look_for_old_fills()
        stopped |= await self._look_for_losses()
        if self._passes % GROUPS_EVERY == 1 and (
            moved := await self._context.calls.value("sweep_groups")
        ):
            self._log.info("LANES_REGROUPED", count=moved)
        if stopped:
            cancels += await self._sweep_cancels()
        return bool(cancels)

    async def _sweep_cancels(self) -> int:
        count: int = await self._context.calls.value("sweep_cancels")
        if count:
            self._log.info("CANCELS_SWEPT", count=count)
        return count

    async def _end_what_lapsed(self) -> None:
        lapsed = await self._context.calls.value("sweep_lapsed")
        if lapsed["lost"]:
            self._log.warning(
                "FATE_UNKNOWN",
                orders=lapsed["lost"],
                why="the claim of a worker lapsed while sending",
            )
        if lapsed["taken_back"]:
            self._log.info("CLAIMS_TAKEN_BACK", orders=lapsed["taken_back"])
        if expired := await self._context.calls.value("sweep_expired"):
            self._log.info("INTENTS_EXPIRED", count=expired)

    async def _look_for_breaches(self) -> bool:
        if breaches := await self._context.calls.value("sweep_breaches"):
            self._log.error("INVARIANT_BREACH_HALT", count=breaches)
        return bool(breaches)

    async def _look_for_old_fills(self) -> bool:
        """A fill that stays unsettled is not final: an alarm first, then its market is halted (lesson 21)."""
        if self._passes % OLD_FILLS_EVERY != 1:
            return False
        settings = self._context.settings
        found = await self._context.calls.value(
            "sweep_unconfirmed",
            tuple(sorted(self._context.shared.known)),
            settings.unconfirmed_alarm_s,
            settings.unconfirmed_halt_s,
        )
        if found["old"]:
            self._log.error("FILLS_UNCONFIRMED", orders=found["old"], halted=found["halted"])
        return bool(found["halted"])

    async def _look_for_losses(self) -> bool:
        """Marks of equity, halts on daily and rolling loss, sizes by drawdown."""
        if self._passes % LOSSES_EVERY != 1:
            return False
        halted = (await self._context.calls.value("sweep_losses"))["halted"]
        for one in halted:
            self._log.error(
                "LOSS_HALT",
                scope=one["scope"],
                account=one["account"],
                kind=one["kind"],
                loss_micros=one["loss_micros"],
            )
        return bool(halted)


class Watchdog:
    """Ends sessions that sit on a ledger lock. On a connection of its own and behind nothing else: it
    must not wait for the very lock it is there to break.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._log = context.named("watchdog")

    async def one_pass(self) -> bool:
        if ended := await self._context.watch.value("end_lock_holders", WATCHDOG_MS):
            self._log.error("LOCK_HOLDERS_ENDED", count=ended)
        return False


class Beat:
    """Keeps this worker's claims alive, shows that it lives, and makes the journal's coming partitions."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._log = context.named("beat")
        self._beats = 0
        self._last: tuple[int | None, int] = (None, 0)
        """The database's clock at the last beat, and our own when its answer was here."""

    async def one_pass(self) -> bool:
        await self._context.calls.value(
            "renew_claims",
            self._context.incarnation,
            self._context.lease_ms,
            tuple(self._context.shared.holding),
        )
        await self._beat()
        if self._beats % 3600 == 0:
            await self._context.calls.value("make_partitions", 2)
        self._beats += 1
        return False

    async def _beat(self) -> None:
        """Say that we live, and hold the database's clock against ours: it may have been set back."""
        context, (last_us, last_ns) = self._context, self._last
        since_ms = None if last_us is None else context.elapsed_ms(last_ns)
        answer = await context.calls.value(
            "beat", context.incarnation, context.lease_ms, last_us, since_ms
        )
        self._last = (answer["at_us"], context.ports.clock.monotonic_ns())
        if answer["lost_ms"]:
            self._log.error("CLOCK_STEPPED_BACK", lost_ms=answer["lost_ms"])

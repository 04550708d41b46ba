"""The processes of a schedule: workers, bots with their gateways, an operator. Real code on simulated ports."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

import structlog

from app.clock import SeededRng
from app.config import Settings
from app.errors import LedgerError
from app.gateway import Gateway
from app.ledger import waiting
from app.ledger.client import Ledger
from app.venue.polymarket.signing import Signer
from proof.auditor.interface import Asked
from proof.simulation.asking import AskingCalls
from proof.simulation.database import Pool, Session
from proof.simulation.loop import ACTOR, WAKE, Actor
from proof.simulation.network import connector_of, transport_class
from proof.simulation.treasury import SimTreasury, Vault
from proof.simulation.venue import SimVenue
from proof.simulation.world import Strike, World
from workers.worker import delayed, heart, main, points, polymarket_host, serving, stream, wake
from workers.worker import loop as worker_loop
from workers.worker.context import Context, ExtraPass, Shared
from workers.worker.polymarket_host import PolymarketHost

SIGNER: Final = Signer.ephemeral(SeededRng(7).bits)
PRIVATE_KEY: Final = "0x" + format(SeededRng(7).bits(256), "064x")
API_KEY: Final = {
    "key_id": "11111111-2222-4333-8444-555555555555",
    "secret": "c2ltdWxhdG9yLXNlY3JldC1jYW5hcnk=",
    "passphrase": "simulator-passphrase-canary",
}
HOST: Final = "127.0.0.1:1"

LEASE_MS: Final = 4_000
TIMEOUT_MS: Final = 1_000
QUARANTINE_MS: Final = 3_000
POLL_MS: Final = 1_000

CADENCE: Final = {
    (main, "SWEEP_MS"): 2_000,
    (main, "WATCH_MS"): 600_000,
    (main, "LOOK_EVERY_MS"): 600_000,
    (main, "LOOK_FOR_ACCOUNTS_MS"): 10_000,
    (main, "WITHDRAWALS_MS"): 2_000,
    (delayed, "EVERY_MS"): 1_500,
    (serving, "LOOK_FOR_EPISODES_MS"): 1_500,
    (waiting, "LONGEST_INTERVAL_S"): 1.0,
    (waiting, "GROWTH"): 2.0,
    (polymarket_host, "MODES_EVERY_MS"): 2_500,
    (polymarket_host, "FLUSH_EVERY_MS"): 5_000,
}
"""How often loops look that have nothing to do: seldom, since each look costs and finds nothing. The watchdog of
sessions and the one of snapshots have no work here: no transaction is ever open.
"""


def settings() -> Settings:
    """Of every worker."""
    base = f"http://{HOST}"
    given: dict[str, Any] = {
        "venue": "polymarket",
        "account": "main",
        "private_key": PRIVATE_KEY,
        "api_key": API_KEY["key_id"],
        "api_secret": API_KEY["secret"],
        "api_passphrase": API_KEY["passphrase"],
        "polymarket_clob_url": base,
        "polymarket_site_url": base,
        "polymarket_gamma_url": f"{base}/gamma",
        "polymarket_data_url": f"{base}/data-api",
        "polymarket_ws_url": f"ws://{HOST}/ws/user",
        "polymarket_market_ws_url": f"ws://{HOST}/ws/market",
        "quarantine_ms": QUARANTINE_MS,
        "request_timeout_ms": TIMEOUT_MS,
        "claim_lease_ms": LEASE_MS,
        "poll_ms": POLL_MS,
        "reconcile_every_s": 30,
        "rewards": False,
        "secrets_refresh_s": 0,
        "log_level": "error",
    }
    return Settings(**given)


class _NoMarkets:
    """Books and metadata of markets are no part of these schedules: they stand as they were imported."""

    def passes(self) -> tuple[ExtraPass, ...]:
        return ()

    async def follow_books(self) -> None:
        """Until the worker stops."""
        await ACTOR_STOPPING[ACTOR.get()].wait()

    async def aclose(self) -> None:
        """Nothing is open."""


ACTOR_STOPPING: Final[dict[Actor, Any]] = {}


async def pause(context: Context, ms: int, *, wakes: Any = None) -> None:
    """As `worker_loop.pause`, with one future for all that may end it: of tasks for each, most steps of a run were."""
    clock: Any = context.ports.clock
    over = clock.world.loop.create_future()
    events = [one for one in (context.shared.stopping, wakes) if one is not None]
    if not any(one.is_set() for one in events):
        for one in events:
            one._waiters.append(over)
        loop = clock.world.loop
        alarm = loop.call_later(clock.world.stretched(ms / 1000), WAKE, over, None)
        try:
            await over
        finally:
            alarm.cancel()
            for one in events:
                one._waiters.remove(over)
    if wakes is not None:
        wakes.clear()


class SimHost(PolymarketHost):
    """The real host without the market watch, with a treasury."""

    sim_treasury: SimTreasury

    def _watch_over(self, context: Context) -> Any:
        return _NoMarkets()

    def treasury(self, account: str) -> Any:
        """The simulated one."""
        return self.sim_treasury


def be_silent() -> None:
    """Lines of simulated processes go nowhere, at no cost."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=True,
    )


@contextmanager
def installed(world: World, venue: SimVenue, vault: Vault) -> Iterator[None]:
    """The doors of the code to the outside lead into this world."""
    transport = transport_class(world, venue)

    async def open_pool(_url: str, **_options: Any) -> Pool:
        return Pool(world)

    async def open_connection(_url: str, **_options: Any) -> Session:
        return Session(world)

    async def fine(_connection: Any) -> None:
        """Version and schema are right."""

    def moved(micros: int) -> None:
        venue.do("credit", wallet=SIGNER.address, collateral=_decimal(-micros))

    def open_host(
        chosen: Settings, _pool: Any, calls: Any, ports: Any, log: Any, run: str
    ) -> SimHost:
        host = SimHost(calls, ports, chosen, log, run)
        host.sim_treasury = SimTreasury(world, vault, moved)
        return host

    doors: list[tuple[Any, str, Any]] = [
        (main, "open_pool", open_pool),
        (main, "check_version", fine),
        (main, "check_schema", fine),
        (main, "open_host", open_host),
        (wake, "open_connection", open_connection),
        (polymarket_host, "Transport", transport),
        (polymarket_host, "connector", connector_of(world, venue)),
        *((module, "pause", pause) for module in (worker_loop, wake, heart, stream, serving)),
        *((module, name, value) for (module, name), value in CADENCE.items()),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in doors]
    keys = {f"LEDGER_{name.upper()}": value for name, value in _keys().items()}
    with patch.dict(os.environ, keys):
        for module, name, value in doors:
            setattr(module, name, value)
        try:
            yield
        finally:
            for module, name, value in before:
                setattr(module, name, value)
            ACTOR_STOPPING.clear()


def _keys() -> dict[str, str]:
    return {
        "private_key": PRIVATE_KEY,
        "api_key": API_KEY["key_id"],
        "api_secret": API_KEY["secret"],
        "api_passphrase": API_KEY["passphrase"],
    }


def _decimal(micros: int) -> str:
    sign, whole = "-" if micros < 0 else "", abs(micros)
    return f"{sign}{whole // 1_000_000}.{whole % 1_000_000:06d}"


class Process:
    """Something that is started, killed and started again under one name."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.actor: Actor | None = None
        self.starts = 0
        self.ended: list[BaseException] = []
        self.wall_offset_ms = 0

    @property
    def alive(self) -> bool:
        return self.actor is not None and self.actor.alive

    def start(self) -> None:
        """A new process under the old name."""
        self.starts += 1
        self.world.figures["starts"] += 1
        if self.starts > 1:
            self.world.figures["restarts"] += 1
        actor = self.actor = Actor(self.name)
        actor.wall_offset_ms = self.wall_offset_ms
        task = self.world.loop.spawn(actor, self.run(actor), f"{self.name} runs")
        task.add_done_callback(lambda done: self._over(actor, done))

    async def run(self, actor: Actor) -> None:
        """The process's life."""
        raise NotImplementedError

    def kill(self) -> None:
        """SIGKILL from outside."""
        if self.actor is not None and self.actor.alive:
            self.world.kill(self.actor, Strike(self.name, "kill", for_ms=1_000))

    def _over(self, actor: Actor, done: Any) -> None:
        if done.cancelled() or not actor.alive:
            return
        error = done.exception()
        if error is not None:
            self.ended.append(error)
        self.world.unable(actor)
        self.world.loop.kill(actor)
        self.over(actor, error)

    def over(self, actor: Actor, error: BaseException | None) -> None:
        """It ended by itself."""


class Worker(Process):
    """``ledger-worker start``, supervised: what ends by itself is started again."""

    def __init__(self, world: World, name: str, chosen: Settings) -> None:
        super().__init__(world, name)
        self._settings = chosen
        self.context: Context | None = None
        self.to_stop = False

    def start(self) -> None:
        """Nothing is known any more of the one before."""
        self.context = None
        super().start()

    async def run(self, actor: Actor) -> None:
        """`main.open_context` and `main.serve`, as ``ledger-worker start`` calls them."""
        ports = self.world.ports(actor, 1_000 * self.starts + int(self.name[-1]))
        shared = Shared()
        ACTOR_STOPPING[actor] = shared.stopping
        opened = main.open_context(
            self._settings, ports, "simulated", reached=points.nothing, shared=shared
        )
        async with opened as self.context:
            await main.serve(self.context, "simulated")

    def stop(self) -> None:
        """SIGTERM."""
        self.to_stop = True
        if self.context is not None and self.alive:
            stopping = self.context.shared.stopping
            assert self.actor is not None
            self.world.unable(self.actor)
            self.world.loop.spawn(self.actor, _set(stopping), "told to stop")

    def over(self, actor: Actor, error: BaseException | None) -> None:
        """A supervisor starts it again, unless it was told to stop."""
        if not self.to_stop or error is not None:
            self.world.figures["worker_exits"] += 1
            self.world.later(500, self._restart)

    def _restart(self) -> None:
        if not self.alive:
            self.start()

    @property
    def ready(self) -> bool:
        return self.alive and self.context is not None and "main" in self.context.shared.ready


async def _set(event: Any) -> None:
    event.set()


Script = Callable[["Bot"], Awaitable[None]]


class Bot(Process):
    """A trading process: a ledger client and a gateway, and a script that it starts anew after a kill."""

    def __init__(self, world: World, name: str, asked: Asked, script: Script) -> None:
        super().__init__(world, name)
        self._asked = asked
        self._script = script
        self.done = False
        self.calls = AskingCalls(Pool(world), world, asked)

    async def run(self, actor: Actor) -> None:
        """The script, from its beginning: the keys of its intents make that harmless."""
        self.ports = self.world.ports(actor, 7_000 + self.starts * 10 + int(self.name[-1]))
        self.ledger = Ledger(self.calls, account="main", ports=self.ports)
        self.gateway = Gateway(self.ledger, ttl_ms=2_000)
        await self._script(self)
        await self.ledger.close()
        self.done = True

    def over(self, actor: Actor, error: BaseException | None) -> None:
        """What the ledger refuses or can't answer ends a script; it is started anew a few times."""
        if error is not None and isinstance(error, LedgerError) and self.starts < 6:
            self.world.later(300, self.start)
        elif error is not None:
            self.done = True

    async def sleep(self, ms: int) -> None:
        await self.ports.clock.sleep(ms / 1000)

"""One schedule from its seed: the scene is set, it plays, calm returns, all comes to rest, and it is judged."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from app.config import Settings
from app.venue.simulator.faults.catalogue import CATALOGUE
from app.venue.simulator.messages import Request
from proof.simulation import judging
from proof.simulation.actors import SIGNER, Bot, Process, Worker, installed, settings
from proof.simulation.chances import OFTEN, SHORTER
from proof.simulation.loop import Actor, Stuck, undisturbed
from proof.simulation.network import SimSocket
from proof.simulation.scenarios import SCENARIOS, SMALL
from proof.simulation.seam import START_US, Store
from proof.simulation.stage import VENUE, furnish_venue, told
from proof.simulation.treasury import Vault
from proof.simulation.venue import SimVenue
from proof.simulation.world import AFTER, BEFORE, Strike, World

PLAY_MS: Final = 4_500
LEAST_MS: Final = 500
OPEN_MS: Final = 3_500
LATER: Final = 0.8
"""How often whoever trades begins when a worker is up, or after so long: else they begin together."""

REST_MS: Final = 240_000
MOST_STEPS: Final = 400_000
LOOK_EVERY_MS: Final = 250
FAR_MS: Final = 60_000
MOST_TOLD: Final = 6
"""Of one schedule's violations: the first causes the rest.
"""

CALM_ONLY: Final = frozenset({"closed_only", "geoblock", "page_shift"})
"""Faults that a person ends, or that need pages that these schedules never fill."""


_STATES: Final = "SELECT o.state, o.salt::text AS salt, o.venue_order_id FROM ledger.orders o"


@dataclass(slots=True)
class Outcome:
    """What one schedule came to."""

    seed: int
    scenario: str
    digest: bytes = b""
    steps: int = 0
    simulated_ms: int = 0
    violations: list[str] = field(default_factory=list)
    places: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Every place that was met: by whom first, and at which of its times there."""
    strikes: tuple[Strike, ...] = ()
    """What was ordered, where nothing was drawn."""
    kills: tuple[tuple[str, str], ...] = ()
    """(place, before or after) of each kill at a place."""
    figures: Counter[str] = field(default_factory=Counter)
    struck: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(fault, state of an order when it struck) -> how often."""
    actors: int = 0
    directed: bool = False
    lines: list[str] = field(default_factory=list)

    @property
    def counts(self) -> bool:
        """A schedule that counts has at least two actors and one fault."""
        return self.actors >= 2 and bool(self.figures["faults"] + self.figures["crashes"])


@lru_cache(maxsize=1)
def _settings() -> Settings:
    return settings()


class Stage:
    """The scene of one schedule; what scenarios arrange things with (`scenarios.Set`)."""

    def __init__(
        self, world: World, venue: SimVenue, vault: Vault, chance: random.Random, scenario: str
    ) -> None:
        self.world = world
        self.scenario = scenario
        self.venue = venue
        self.vault = vault
        self.chance = chance
        self.asked = told()
        self.processes: dict[str, Process] = {}
        self.sockets: list[SimSocket] = []
        world.killed = self._killed
        venue.states = self._states
        world.look_at_ends = self._look_at_ends
        self.broken: list[str] = []
        self.opened = False
        self._to_open: list[Callable[[], object]] = []
        self.to_come = 0
        """Deeds of the scenario that were arranged and have not happened."""
        self.directed = False

    # --- what scenarios use ---------------------------------------------------------------------------

    def worker(self, number: int, *, after_ms: int = 0) -> Worker:
        made = Worker(self.world, f"worker{number}", _settings())
        self._add(made, after_ms)
        return made

    def bot(self, number: int, script: Callable[[Bot], Awaitable[None]]) -> Bot:
        return self._acts(Bot(self.world, f"bot{number}", self.asked, script))

    def operator(self, script: Callable[[Bot], Awaitable[None]]) -> Bot:
        return self._acts(Bot(self.world, "operator0", self.asked, script))

    def _acts(self, made: Bot) -> Bot:
        self.processes[made.name] = made
        self._to_open.append(made.start)
        return made

    def open(self) -> None:
        """Whoever trades begins, and what befalls them counts from here: in most schedules one can trade by then."""
        deeds, self._to_open, self.opened = self._to_open, [], True
        for deed in deeds:
            self.world.later(0, deed)

    def _add(self, made: Process, after_ms: int) -> None:
        self.processes[made.name] = made
        self.world.later(after_ms, made.start)

    def at(self, after_ms: float, deed: Callable[[], object]) -> None:
        self.to_come += 1

        def happens() -> None:
            self.to_come -= 1
            deed()

        if self.opened:
            self.world.later(after_ms, happens)
        else:
            self._to_open.append(lambda: self.world.later(after_ms, happens))

    def venue_does(self, deed: str, **arguments: Any) -> None:
        if deed == "cancel" and not arguments.get("address"):
            arguments["address"] = SIGNER.address
        self.venue.do(deed, **arguments)
        self.venue.let_time_pass()

    def cut_streams(self) -> None:
        for listener in list(self.venue.service.hub.listeners):
            listener.drop()

    def place_foreign(self) -> None:
        """Nobody places past the ledger here yet."""

    def transfer_faults(self, *kinds: str) -> None:
        self.vault.faults += kinds

    def _states(self, request: Request) -> list[str]:
        """States of the orders that a request is about, as the ledger has them right then."""
        text = request.body.decode("utf-8", "replace") + request.path
        rows = self.world.store.query(_STATES, ())
        return sorted(
            {
                row["state"]
                for row in rows
                if row["salt"] in text or (row["venue_order_id"] or "nothing") in text
            }
        )

    def _look_at_ends(self, function: str) -> None:
        """Nothing is given back without proof: what has just ended in the ledger must not live at the venue."""
        alive = self.venue.alive()
        for one in sorted(alive & self.world.store.ended()) if alive else ():
            sentence = f"release: {one} lives at the venue and ended in the ledger with {function}"
            if sentence not in self.broken:
                self.broken.append(sentence)

    # --- processes ------------------------------------------------------------------------------------

    def _killed(self, actor: Actor, strike: Strike) -> None:
        process = self.processes.get(actor.name)
        if process is None or process.actor is not actor:
            return
        if not (isinstance(process, Worker) and process.to_stop):
            self.world.later(strike.for_ms or 500, lambda: self._restart(process))

    def _restart(self, process: Process) -> None:
        """Unless that has happened already."""
        if not process.alive and not (isinstance(process, Worker) and process.to_stop):
            process.start()

    def workers(self) -> list[Worker]:
        return [one for one in self.processes.values() if isinstance(one, Worker)]

    def bots(self) -> list[Bot]:
        return [one for one in self.processes.values() if isinstance(one, Bot)]


def run(
    store: Store,
    seed: int,
    scenario: str,
    *,
    strikes: Sequence[Strike] | None = None,
    keep: bool = False,
    checks: bool = False,
) -> Outcome:
    """Play a seed. ``strikes`` instead of those that the seed draws; ``checks``: the ledger's own audit too."""
    with undisturbed():
        return _run(store, seed, scenario, strikes, keep, checks)


def _run(
    store: Store,
    seed: int,
    scenario: str,
    strikes: Sequence[Strike] | None,
    keep: bool,
    checks: bool,
) -> Outcome:
    store.begin(START_US)
    world = World(seed, store, keep=keep)
    world.durable = store.volatile()
    venue, vault = SimVenue(world, VENUE | {"seed": 1}), Vault()
    chance = random.Random(f"{scenario} {seed}")
    stage = Stage(world, venue, vault, chance, scenario)
    outcome = Outcome(seed, scenario, directed=strikes is not None, strikes=tuple(strikes or ()))
    with installed(world, venue, vault):
        try:
            furnish_venue(venue)
            _arrange(stage, scenario, strikes)
            _play(stage)
            _calm(stage)
            outcome.violations += _rest(stage)
            if not outcome.violations:
                outcome.violations += judging.verdict(stage, checks=checks)
        except Stuck as stuck:
            outcome.violations.append(f"stuck: {stuck}")
        finally:
            # What nobody foresaw comes first: the rest may follow from it.
            found = sorted({*outcome.violations, *stage.broken} - {*_unforeseen(stage)})
            outcome.violations = [*dict.fromkeys(_unforeseen(stage)), *found][:MOST_TOLD]
            _tell(outcome, stage)
            world.loop.close()
    return outcome


def _arrange(stage: Stage, scenario: str, strikes: Sequence[Strike] | None) -> None:
    world, chance = stage.world, stage.chance
    (SCENARIOS | SMALL)[scenario](stage)
    if strikes is not None:
        world.strikes, stage.directed = list(strikes), True
        _faults(stage)
        return
    _faults(stage)
    names = list(stage.processes)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 2, 3))):
        deed = chance.choice(("kill", "kill", "kill", "pause", "pause", "lose"))
        world.strikes.append(
            Strike(
                chance.choice(names),
                deed,
                chance.choice((BEFORE, AFTER)),
                1 + int(chance.random() ** 1.5 * 90),
                for_ms=chance.choice((50, 500, 1_500, 4_500, 6_000)),
            )
        )
    if chance.random() < 0.3:
        # Long enough for a colleague to take over: who wakes then is a zombie with an answer in its hands.
        world.strikes.append(
            Strike(
                chance.choice([one for one in names if one.startswith("worker")]),
                chance.choice(("pause", "pause", "kill")),
                chance.choice((BEFORE, AFTER)),
                place=chance.choice(_TELLING),
                for_ms=6_000,
            )
        )
    if chance.random() < 0.25:
        _kill_anywhere(stage, chance.choice(names))
    if chance.random() < 0.2:
        stage.at(chance.randrange(200, 4_000), lambda: _step_clock(stage))
    if chance.random() < 0.2:
        process = stage.processes[chance.choice(names)]
        process.wall_offset_ms = chance.choice((-4_000, -900, 900, 4_000))


_TELLING: Final = (
    "sent POST /order",
    "answer to POST /order",
    "open_attempt in sending._open",
    "sent DELETE /order",
    "record_fills in reading.book_trades",
)
"""Where a process that stands still, or dies, knows or has done what nobody else does yet."""


def _kill_anywhere(stage: Stage, name: str) -> None:
    """Death at an await, wherever that is: after so many steps of the process."""
    process, after = stage.processes[name], stage.chance.randrange(1, 700)

    def look() -> None:
        actor = process.actor
        if stage.world.calm or actor is None:
            return
        if actor.alive and actor.steps >= after:
            process.kill()
            return
        stage.world.later(1 + stage.world.chance.random() * 7, look)

    stage.world.later(1, look)


def _step_clock(stage: Stage) -> None:
    """The database's clock is set; it stays where it was set to."""
    if not stage.world.calm:
        step = stage.world.chance.choice((-3_000, -800, 700, 3_000))
        stage.world.database_offset_us += step * 1_000
        stage.world.figures["clock_steps"] += 1
        stage.world.trace.note("database", "clock", f"{step}")


def _faults(stage: Stage) -> None:
    """One to four faults of the venue's whole list, each once or twice, a while after the start."""
    chance, ordered = stage.chance, []
    some = chance.sample(sorted(set(CATALOGUE) - CALM_ONLY), chance.randrange(0, 4))
    for name in dict.fromkeys((*chance.sample(OFTEN, chance.randrange(1, 3)), *some)):
        rule: dict[str, Any] = {
            "name": name,
            "times": chance.randrange(1, 3),
            "skip": chance.choice((0, 0, 0, 1, 2)),
        }
        if name in SHORTER:
            rule |= {key: chance.choice(values) for key, values in SHORTER[name].items()}
        if CATALOGUE[name].where == "*":
            rule["endpoint"] = chance.choice(
                (
                    "POST /order*",
                    "POST /order*",
                    "DELETE /*",
                    "GET /data/order/{id}",
                    "GET /data/*",
                    "*",
                )
            )
        ordered.append(rule)
    stage.venue_does("fault", faults=ordered)


def _play(stage: Stage) -> None:
    """Until everybody has done what they set out to do and nothing is on its way, or time is up."""
    world, quiet = stage.world, _quiet(stage)
    over: list[bool] = []
    latest_ms = OPEN_MS if stage.scenario != "start" and stage.chance.random() < LATER else 0

    def open_() -> None:
        up = world.heard and any(one.ready for one in stage.workers())
        if up or world.elapsed_ms >= latest_ms:
            stage.open()
            world.later(LEAST_MS, look)
            world.later(PLAY_MS, lambda: over.append(True))
        else:
            world.later(20, open_)

    def look() -> None:
        everybody = all(one.done for one in stage.bots()) and all(
            one.ready or one.to_stop for one in stage.workers()
        )
        if not stage.to_come and everybody and quiet():
            over.append(True)
        else:
            world.later(LOOK_EVERY_MS, look)

    world.later(0, open_)
    world.loop.run(lambda: bool(over), MOST_STEPS)


def _calm(stage: Stage) -> None:
    """Faults are over, nobody is struck any more, whoever is stopped or dead comes back."""
    world = stage.world
    world.calm = True
    if not stage.directed:
        world.strikes.clear()
    struck = stage.venue.struck()
    for _, times in struck.values():
        world.figures["faults"] += times
    world.trace.note("world", "calm", "")
    stage.venue_does("no_fault")
    stage.venue_does("mode", mode="normal")
    workers = stage.workers()
    for worker in workers:
        worker.to_stop = False
    if not any(worker.alive for worker in workers):
        world.later(700, lambda: _revive(workers))


def _revive(workers: Sequence[Worker]) -> None:
    """If nobody else has started one meanwhile."""
    if not any(worker.alive for worker in workers):
        workers[0].start()


def _rest(stage: Stage) -> list[str]:
    """Run until nothing is on its way; then a worker starts anew, compares, and it is still so."""
    quiet = _quiet(stage)
    problem = _until(stage, quiet, "nothing is on its way")
    if problem:
        return problem
    fresh, *others = stage.workers()
    for worker in others:
        worker.to_stop = True
        worker.kill()
    begun = fresh.starts
    if fresh.alive:
        fresh.kill()
    else:
        fresh.start()
    return _until(
        stage,
        lambda: fresh.starts > begun and fresh.ready and quiet(),
        "a fresh worker is ready",
    )


def _quiet(stage: Stage) -> Callable[[], bool]:
    """Nothing is on its way in the ledger, and at the venue nothing is about to happen by itself."""
    venue = stage.venue.service.venue

    def quiet() -> bool:
        due = venue.due_ms()
        calm = due is None or due > stage.venue.service.now_ms() + FAR_MS
        return calm and stage.world.store.settled()

    return quiet


def _until(stage: Stage, condition: Callable[[], bool], what: str) -> list[str]:
    world = stage.world
    ends_ms = world.elapsed_ms + REST_MS
    state = {"met": False}

    def look() -> None:
        if all(bot.done for bot in stage.bots()) and condition():
            state["met"] = True
        elif world.elapsed_ms < ends_ms:
            world.later(LOOK_EVERY_MS, look)
        else:
            state["met"], state["late"] = True, True
        if _unforeseen(stage):
            state["met"] = True

    world.later(0, look)
    world.loop.run(lambda: state["met"], MOST_STEPS)
    if "late" in state:
        return [f"rest: within {REST_MS // 1000} s of calm it did not come about that {what}"]
    return []


def _unforeseen(stage: Stage) -> list[str]:
    """What no process may die of, and what nobody waited for."""
    found = [
        f"process: {process.name} ended by {type(error).__name__}: {error}"[:300]
        for process in stage.processes.values()
        for error in process.ended
        if not _foreseen(error)
    ]
    for one in stage.world.loop.failures:
        error = one.get("exception")
        if (
            error is not None
            and not _foreseen(error)
            and not isinstance(error, asyncio.CancelledError)
        ):
            found.append(f"task: {one.get('message')}: {type(error).__name__}: {error}"[:300])
    return found


def _foreseen(error: BaseException) -> bool:
    from app.errors import LedgerError

    return isinstance(error, LedgerError)


def _tell(outcome: Outcome, stage: Stage) -> None:
    world = stage.world
    outcome.digest, outcome.steps = world.trace.digest(), world.trace.steps
    outcome.simulated_ms = world.elapsed_ms
    outcome.places = dict(world.places)
    outcome.kills = tuple(world.taken)
    outcome.figures = world.figures
    outcome.actors = len(stage.processes) + 1
    outcome.lines = world.trace.lines
    outcome.struck = stage.venue.fault_states

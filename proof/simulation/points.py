"""Crash points, counted: every place between two durable effects, each taken before and after.

A first run of a scenario without any crash lists its places; so do all later ones, since a restart and a fault lead
to places that nothing else leads to. Then one run per place with a kill before the effect, and one with a kill after
it: the run in which the place was first met, up to that very moment, since one seed is one run. A place counts as
taken only where the kill struck there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from proof.simulation import schedule
from proof.simulation.schedule import Outcome
from proof.simulation.seam import Store
from proof.simulation.world import AFTER, BEFORE, Strike

SEEDS: Final = 4
"""Calm runs per scenario that list its places, with the venue's faults of their seeds."""

ROUNDS: Final = 4
"""How often what the directed runs themselves turned up is taken, too."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a place is come to: a seed, what strikes on the way, and who comes there at which of its times."""

    seed: int
    before: tuple[Strike, ...]
    actor: str
    nth: int


@dataclass(slots=True)
class Points:
    """Of one scenario: every place that was met with the way there, and what was taken."""

    scenario: str
    found: dict[str, Way] = field(default_factory=dict)
    taken: set[tuple[str, str]] = field(default_factory=set)

    def learn(self, outcome: Outcome) -> None:
        for place, (actor, nth) in outcome.places.items():
            self.found.setdefault(place, Way(outcome.seed, outcome.strikes, actor, nth))
        self.taken.update(outcome.kills)

    def open(self) -> list[tuple[str, str]]:
        return [
            (place, when)
            for place in self.found
            for when in (BEFORE, AFTER)
            if (place, when) not in self.taken
        ]

    def names(self) -> tuple[list[str], list[str]]:
        """What exists and what was taken, as the report names them."""
        existing = [f"{self.scenario}:{place}:{w}" for place in self.found for w in (BEFORE, AFTER)]
        return existing, [f"{self.scenario}:{place}:{when}" for place, when in sorted(self.taken)]


def take(
    store: Store, points: Points, first_seed: int, goes_on: Callable[[], bool]
) -> Iterator[Outcome]:
    """Runs until every place that was found has been taken both ways, or time is up."""
    for seed in range(first_seed, first_seed + SEEDS):
        if not goes_on():
            return
        yield _run(store, points, seed, ())
    for _ in range(ROUNDS):
        for place, when in points.open():
            if (place, when) in points.taken:
                continue
            if not goes_on():
                return
            way = points.found[place]
            last = at(place.partition(":")[2], when, way.actor, way.nth)
            yield _run(store, points, way.seed, (*way.before, last))


def _run(store: Store, points: Points, seed: int, strikes: tuple[Strike, ...]) -> Outcome:
    outcome = schedule.run(store, seed, points.scenario, strikes=strikes)
    points.learn(outcome)
    return outcome


def at(place: str, when: str, actor: str, nth: int) -> Strike:
    """A kill at the nth time that a process comes to a place."""
    return Strike(actor, "kill", when, nth, place, for_ms=700)


def spelled(strikes: tuple[Strike, ...]) -> str:
    """Kills as a command names them; `read` reads them back."""
    return ";".join(f"{one.place}/{one.when}/{one.actor}/{one.nth}" for one in strikes) or "calm"


def read(text: str) -> tuple[Strike, ...]:
    """See `spelled`."""
    if text == "calm":
        return ()
    parts = [one.rsplit("/", 3) for one in text.split(";")]
    return tuple(at(place, when, actor, int(nth)) for place, when, actor, nth in parts)

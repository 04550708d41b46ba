"""Part 7 of the campaign: what comes from outside, bent (see `proof.fuzzing.targets` for the doors)."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from app.clock import SystemClock
from proof.fuzzing import targets
from proof.fuzzing.engine import Finding, Tally, drive
from proof.fuzzing.model import STREAM, Surroundings, first_of
from proof.fuzzing.processes import Crew, Order
from proof.parts import Request, Share, Violation

NAME: Final = "fuzzing"


def run(request: Request) -> Share:
    """Fuzz every target, or ``only`` one, until the time is over; or one input, where the seed is the number of one."""
    clock = SystemClock()
    started_ns = clock.monotonic_ns()
    names = sorted(targets.ALL) if request.only is None else [_known(request.only)]
    if request.seed >= STREAM and request.only is not None:
        tallies = {names[0]: _again(request, names[0])}
    else:
        tallies = Crew().run(orders(request, names, started_ns + int(request.seconds * 1e9)))
    for name, tally in sorted(tallies.items()):
        request.report(
            f"{name}: {tally.inputs:,} inputs, {sum(tally.kinds.values())} broke something"
        )
    seconds = (clock.monotonic_ns() - started_ns) / 1e9
    return share_of(tallies, seconds)


def orders(request: Request, names: list[str], ends_ns: int) -> list[Order]:
    """One for each process. Databases are the first one's: to start a server costs as much as thousands of inputs."""
    several = max(1, request.processes)
    found = []
    for number in range(several):
        mine = [one for one in names if number == 0 or not targets.ALL[one].needs_database]
        folder = request.workdir / f"fuzzing-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        first = first_of(request.seed)
        found.append(Order(tuple(mine), first, several, number, ends_ns, folder))
    return found


def _known(name: str) -> str:
    if name not in targets.ALL:
        raise ValueError(
            f"no target is called {name!r}; there are: {', '.join(sorted(targets.ALL))}"
        )
    return name


def _again(request: Request, name: str) -> Tally:
    """One input once more, here and now."""
    target = targets.ALL[name]
    with ExitStack() as stack:
        check = stack.enter_context(target.opened(Surroundings(request.workdir)))
        tally = drive(target, check, iter([request.seed]), lambda _: True)
    for outcome in tally.outcomes:
        request.report(f"input {request.seed}: {outcome}")
    return tally


def share_of(tallies: dict[str, Tally], seconds: float) -> Share:
    """All that was done, for the report."""
    kinds = {kind: sum(one.kinds[kind] for one in tallies.values()) for kind in KINDS}
    findings = [found for one in tallies.values() for found in one.findings.values()]
    figures = {
        "inputs": sum(one.inputs for one in tallies.values()),
        "distinct_inputs": sum(len(one.digests) for one in tallies.values()),
        **{_PLURALS[kind]: count for kind, count in kinds.items()},
    }
    return Share(
        part=NAME,
        seconds=seconds,
        figures=figures,
        sets={"targets": sorted(tallies)},
        table=[_row(name, tallies[name]) for name in sorted(tallies)],
        violations=[_violation(one) for one in sorted(findings, key=lambda one: one.target)],
    )


_PLURALS: Final = {
    "crash": "crashes",
    "misread": "misreadings",
    "hang": "hangs",
    "secret": "secrets_shown",
    "written": "written_on_refusal",
    "stuck": "readers_stuck",
}
KINDS: Final = tuple(_PLURALS)


def _row(name: str, tally: Tally) -> dict[str, object]:
    outcomes = {
        outcome.partition(": ")[2]: count for outcome, count in tally.outcomes.most_common(12)
    }
    return {
        "key": name,
        "target": name,
        "inputs": tally.inputs,
        "distinct": len(tally.digests),
        "broke": sum(tally.kinds.values()),
        "outcomes": outcomes,
    }


def _violation(one: Finding) -> Violation:
    times = f" ({one.times} inputs)" if one.times > 1 else ""
    replay = f"make prove PART={NAME} SEED={one.seed} ONLY={one.target}"
    return Violation(one.seed, f"{one.kind}: {one.what}{times}", replay)

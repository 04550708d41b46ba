"""The part ``kills``: rounds of real kills under load, each judged, until the budget is used up.

``only`` names one lasting fault (see `proof.kills.blows`), or ``planted``: a writer that forgets its keys must be found
to double orders, and a server that does not sync to lose them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from app.clock import Ports, Rng, SeededRng
from app.errors import BadInput, Code, LedgerError
from proof.kills.blows import BLOWS, NEEDS_A_DISK
from proof.kills.crowd import WORKER_POINTS, WRITER_POINTS, Kill
from proof.kills.field import Field
from proof.kills.field import field as open_field
from proof.kills.planted import forgetful, unsynced
from proof.kills.postgres import ServerFailed
from proof.kills.rounds import Gap, Round, play
from proof.kills.volume import VolumeFailed
from proof.live.judging import Judgement
from proof.live.measuring import middle
from proof.parts import Request, Share, Violation

NAME: Final = "kills"
PLANT: Final = "planted"
ROUND_S: Final = 60.0
SHORT_ROUND_S: Final = 7.0
ROUNDS_OF_A_FIELD: Final = 5
"""Then everything is made anew: a judgement reads the whole ledger, and would take longer each time."""

FOR_A_JUDGEMENT_S: Final = 30.0
FOR_A_FIELD_S: Final = 15.0
"""What must be left of the budget for another round, or another field, to begin."""


@dataclass(slots=True)
class Log:
    """What a run did so far; a failure leaves it as it stands."""

    seed: int
    only: str | None = None
    rounds: list[Round] = field(default_factory=list)
    fields: list[Counter[str]] = field(default_factory=list)
    """The counts of each field, as its last judgement had them."""
    problems: list[str] = field(default_factory=list)
    left_out: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    """What was told already: an order that is lost is lost in every later round of its field."""

    def tell(self, where: str, found: Iterable[str]) -> None:
        new = [one for one in dict.fromkeys(found) if one not in self.seen]
        self.seen.update(new)
        self.problems += [f"{where}: {one}" for one in new]


def run(request: Request) -> Share:
    """Rounds until the budget is used up. Raises `BadInput` for an unknown fault."""
    if request.only not in (None, *BLOWS, PLANT):
        raise BadInput(
            Code.BAD_REQUEST,
            f"{request.only!r} is no fault of this part",
            not_done="nothing was killed",
            next_step=f"one of {', '.join((*BLOWS, PLANT))}",
        )
    ports = Ports.system()
    began_ns = ports.clock.monotonic_ns()

    def spent_s() -> float:
        return (ports.clock.monotonic_ns() - began_ns) / 1e9

    if request.only == PLANT:
        found = asyncio.run(_planted(request, ports))
        return share_of_planted(request.seed, found, spent_s())
    log = Log(request.seed, request.only)
    asyncio.run(_campaign(request, ports, log, lambda: request.seconds - spent_s()))
    share = share_of(log, spent_s())
    for row in share.table:
        request.report(
            "; ".join(f"{name}: {value}" for name, value in row.items() if name != "key")
        )
    return share


def faults_of(rng: Rng, only: str | None) -> Iterator[str]:
    """What befalls the rounds: each equally often, in an order that the seed chooses, and now and then nothing."""
    while True:
        turn = [only] if only else ["", *BLOWS]
        while turn:
            yield turn.pop(rng.bits(32) % len(turn))


async def _campaign(request: Request, ports: Ports, log: Log, left_s: Callable[[], float]) -> None:
    rng = SeededRng(request.seed)
    faults = faults_of(rng, request.only)
    tried: Counter[str] = Counter()
    number = 0
    round_s = SHORT_ROUND_S if request.short else ROUND_S
    while not log.rounds or left_s() > FOR_A_FIELD_S + round_s + FOR_A_JUDGEMENT_S:
        log.fields.append(Counter())
        log.seen.clear()
        try:
            async with open_field(ports, request.seed * 1_000 + number, request.workdir) as made:
                made.crowd.toll.tried = tried
                await _rounds(request, made, faults, rng, log, left_s, round_s)
                log.fields[-1]["given_up_starts"] = made.crowd.toll.given_up
        except (ServerFailed, VolumeFailed, LedgerError, OSError, AssertionError) as error:
            log.problems.append(f"the campaign could not go on: {type(error).__name__}: {error}")
            return
        number += 1


async def _rounds(
    request: Request,
    made: Field,
    faults: Iterator[str],
    rng: Rng,
    log: Log,
    left_s: Callable[[], float],
    round_s: float,
) -> None:
    done = 0
    while not done or (done < ROUNDS_OF_A_FIELD and left_s() > round_s + FOR_A_JUDGEMENT_S):
        fault = next(faults)
        while fault in NEEDS_A_DISK and made.postgres.volume is None:
            log.left_out.add(fault)
            if request.only:
                raise BadInput(
                    Code.BAD_REQUEST,
                    f"{fault} needs a disk of its own, and mounting is not ours to do here",
                    not_done="nothing was killed",
                    next_step="run it as root, on Linux with loop devices",
                )
            fault = next(faults)
        played, judgement = await play(len(log.rounds), fault, made, rng, round_s)
        log.rounds.append(played)
        request.report(str(played))
        where = f"round {played.number}, {fault or 'kills alone'}"
        log.tell(where, judgement.problems)
        if played.unserved:
            log.problems.append(f"{where}: nobody was served again")
        log.fields[-1] = counts_of(made, judgement) | Counter(judgements=done + 1)
        if judgement.problems:
            request.report(f"  problems: {len(judgement.problems)}: {judgement.problems[0][:200]}")
        done += 1


def counts_of(made: Field, judgement: Judgement) -> Counter[str]:
    """Of the whole ledger of this field so far: the last judgement's stand."""
    verdict = judgement.verdict
    return Counter(
        intents=verdict.intents,
        orders_placed=verdict.placed,
        trades=verdict.trades,
        replays=verdict.replays,
        failed_answers=sum(told.statuses["failed"] for told in made.told),
        unknown_fates=judgement.unknown,
        lost=verdict.lost,
        doubled=verdict.duplicates,
        over_a_cap=verdict.cap_breaches,
    )


async def _planted(request: Request, ports: Ports) -> dict[str, int | None]:
    """By fault: how much of it was found; None where it cannot be planted."""
    found: dict[str, int | None] = {}
    for name, work in (("forgetful", forgetful), ("unsynced", unsynced)):
        found[name] = await work(ports, request.seed, request.workdir)
        request.report(f"planted {name}: found {found[name]}")
    return found


# --- the share ------------------------------------------------------------------------------------------


def share_of(log: Log, seconds: float) -> Share:
    """What is reported."""
    kills = [kill for played in log.rounds for kill in played.kills]
    figures: Counter[str] = Counter()
    for one in log.fields:
        figures.update(one)
    figures["rounds"] = len(log.rounds)
    figures["kills"] = len(kills)
    figures["processes_killed"] = sum(kill.count for kill in kills)
    figures["faults"] = sum(bool(one.fault) for one in log.rounds)
    only = f" ONLY='{log.only}'" if log.only else ""
    points = {kill.kind for kill in kills if " at " in kill.kind}
    return Share(
        NAME,
        seconds,
        figures=dict(figures),
        sets={
            "kill_points_existing": [
                *(f"worker at {name}" for name in WORKER_POINTS),
                *(f"writer at {name}" for name in WRITER_POINTS),
            ],
            "kill_points_taken": sorted(points),
            "left_out": sorted(log.left_out),
        },
        table=rows_of(log.seed, kills, [gap for one in log.rounds for gap in one.gaps]),
        violations=[
            Violation(log.seed, what, f"make prove PART={NAME} SEED={log.seed}{only}")
            for what in log.problems
        ],
    )


def rows_of(seed: int, kills: Sequence[Kill], gaps: Sequence[Gap]) -> list[Mapping[str, Any]]:
    """A row for each kind of blow."""
    times = Counter(kill.kind for kill in kills)
    times.update(gap.kind for gap in gaps if gap.fault)
    return [
        _row(seed, kind, times[kind], [gap for gap in gaps if gap.kind == kind])
        for kind in sorted(times)
    ]


def _row(seed: int, kind: str, times: int, gaps: Sequence[Gap]) -> Mapping[str, Any]:
    def told(values: Sequence[int]) -> str:
        return f"{middle(values) / 1000:.1f}, {max(values, default=0) / 1000:.1f}" if values else ""

    return {
        "key": f"{kind} {seed}",
        "what is struck": kind,
        "seed": seed,
        "times": times,
        "no reservation admitted, median and most, s": told([gap.admitted_ms for gap in gaps]),
        "no order at the venue, median and most, s": told([gap.placed_ms for gap in gaps]),
    }


def share_of_planted(seed: int, found: Mapping[str, int | None], seconds: float) -> Share:
    """Of runs that must find what was planted; no kill of theirs counts."""
    missed = [name for name, count in found.items() if count == 0]
    return Share(
        NAME,
        seconds,
        figures={
            "planted_runs": sum(count is not None for count in found.values()),
            "planted_found": sum(bool(count) for count in found.values()),
        },
        violations=[
            Violation(
                seed,
                f"planted {name} was not found: the check does not check",
                f"make prove PART={NAME} SEED={seed} ONLY={PLANT}",
            )
            for name in missed
        ],
    )

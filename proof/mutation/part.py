"""The part of the campaign that judges the tests: of the guards that were removed, how many did they miss?

Verdicts are kept in ``results.jsonl`` and hold while code and tests do (`results`), so a further run only does what is
new or changed: the named mutants first, then the generated ones, one after another in the order of a draw that was
fixed before any was judged. Two scores are told apart, that of the named and that of the drawn; ``mutation_score`` is
of both, and counts a survivor with an explanation (``explained.toml``) not at all. Every run also plants three bugs in
the code that the simulation plays (`planted`): it must find them. The short form adds a handful of named mutants that
were killed once, which must be killed again.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from proof.mutation import planted
from proof.mutation.coverage import Coverage
from proof.mutation.mutants import Mutant
from proof.mutation.planted import Hunt
from proof.mutation.results import Results, Verdict, explanations
from proof.mutation.running import (
    AGAIN,
    QUICK,
    THOROUGH,
    chosen,
    everything,
    history_of,
    hold,
    in_drawn_order,
)
from proof.parts import Request, Share, Violation

NAME: Final = "mutation"

HUNT_S: Final = 0.5
"""How much of the short form's time each planted bug may take: most are found in a fraction of it."""
HUNT_LONG_S: Final = 120.0

HANDFUL: Final = 6
LEAST_S: Final = 15.0
"""For judging, however long the hunts took."""

Judged = tuple[Mutant, Verdict]


def run(request: Request) -> Share:
    """Hunt the planted bugs, then judge what is not judged yet, in ``request.seconds``."""
    started = time.monotonic()
    hunts = _hunts(request)
    coverage = Coverage.load()
    mutants = everything()
    results = Results(coverage)
    results.take_pending(mutants)
    left = max(LEAST_S, request.seconds - (time.monotonic() - started))
    if request.only is not None and request.only.startswith(planted.NAME):
        fresh: list[Judged] = []
    elif request.short:
        fresh = _handful(request, mutants, results, coverage, left)
    else:
        fresh = _campaign(request, mutants, results, coverage, left)
    sums = Sums.of(mutants, results)
    request.report(sums.told())
    return _share(request, sums, fresh, hunts, time.monotonic() - started)


def _hunts(request: Request) -> list[Hunt]:
    if request.only is not None and not request.only.startswith(planted.NAME):
        return []
    seconds = HUNT_S * request.seconds if request.short else HUNT_LONG_S
    return planted.hunt_all(request.seed, seconds, request.processes, request.report)


def _handful(
    request: Request,
    mutants: Sequence[Mutant],
    results: Results,
    coverage: Coverage,
    seconds: float,
) -> list[Judged]:
    """Some named ones whose kill was quick: the same tests must kill them today."""
    quick = [
        one
        for one in mutants
        if one.named and (verdict := results.of(one)) is not None and _is_quick_kill(verdict)
    ]
    some = random.Random(request.seed).sample(quick, min(HANDFUL, len(quick)))
    kept = hold(
        some,
        coverage,
        seconds=seconds,
        processes=request.processes,
        effort=AGAIN,
        report=request.report,
        history=history_of(some, results),
        verdicts=request.workdir,
    )
    by_name = {one.name: one for one in some}
    return [(by_name[verdict["name"]], verdict) for verdict in kept]


def _is_quick_kill(verdict: Verdict) -> bool:
    return (
        verdict["verdict"] == "killed"
        and verdict["seconds"] < 4
        and not verdict.get("timeout")
        and not verdict.get("sometimes")
    )


def _campaign(
    request: Request,
    mutants: Sequence[Mutant],
    results: Results,
    coverage: Coverage,
    seconds: float,
) -> list[Judged]:
    """What is not judged yet, quickly; then those that outlived the quick look, thoroughly."""
    ends = time.monotonic() + seconds
    wanted = chosen(mutants, request.only)
    todo = [one for one in wanted if results.of(one) is None or request.only == one.name]
    asked = {one.name for one in todo}
    request.report(
        f"{len(mutants)} mutants, {len(wanted) - len(todo)} verdicts hold, {len(todo)} to judge"
    )
    for effort in (QUICK, THOROUGH):
        left = ends - time.monotonic()
        if todo and left > 0:
            hold(
                todo,
                coverage,
                seconds=left,
                processes=request.processes,
                effort=effort,
                report=request.report,
                history=history_of(mutants, results),
            )
            results.take_pending(mutants)
        todo = [one for one in wanted if _is_half_judged(results.of(one))]
    return [
        (one, verdict)
        for one in mutants
        if one.name in asked and (verdict := results.of(one)) is not None
    ]


def _is_half_judged(verdict: Verdict | None) -> bool:
    """Alive, and not every test was run."""
    return verdict is not None and verdict["verdict"] == "alive" and verdict["ran"] < verdict["of"]


def score(killed: int, alive: int) -> float:
    """0 where nothing was judged: silence is not success."""
    return round(killed / (killed + alive), 4) if killed + alive else 0.0


@dataclass(frozen=True, slots=True)
class Group:
    """Mutants of one kind: how many there are, and the verdicts over those that were judged."""

    exist: int
    judged: Sequence[Judged]
    explained: frozenset[str]

    def names(self, verdict: str) -> list[str]:
        return [one.name for one, found in self.judged if found["verdict"] == verdict]

    @property
    def score(self) -> float:
        return score(len(self.names("killed")), len(set(self.names("alive")) - set(self.explained)))

    @property
    def raw_score(self) -> float:
        """Explained survivors count as alive."""
        return score(len(self.names("killed")), len(self.names("alive")))

    def told(self) -> str:
        explained = len(set(self.names("alive")) & set(self.explained))
        return (
            f"{len(self.judged):,} of {self.exist:,} judged, {len(self.names('killed')):,} killed, "
            f"{len(self.names('alive')):,} alive ({explained} explained), score {self.score}, raw {self.raw_score}"
        )


@dataclass(frozen=True, slots=True)
class Sums:
    """The named and the drawn, apart."""

    named: Group
    drawn: Group

    @classmethod
    def of(cls, mutants: Sequence[Mutant], results: Results) -> Sums:
        """Of the generated ones those count that stand before the first of the draw that nobody judged: who was judged
        out of turn, because somebody asked for it, would spoil the draw.
        """
        reasons = frozenset(explanations())
        named = [one for one in mutants if one.named]
        judged = [(one, verdict) for one in named if (verdict := results.counted(one)) is not None]
        generated = in_drawn_order(mutants)
        drawn: list[Judged] = []
        for one in generated:
            verdict = results.counted(one)
            if verdict is None:
                break
            drawn.append((one, verdict))
        return cls(Group(len(named), judged, reasons), Group(len(generated), drawn, reasons))

    def told(self) -> str:
        return f"named: {self.named.told()}; generated: {self.drawn.told()}"


def _share(
    request: Request, sums: Sums, fresh: Sequence[Judged], hunts: Sequence[Hunt], seconds: float
) -> Share:
    reasons = explanations()
    groups = (sums.named, sums.drawn)
    judged = [*sums.named.judged, *sums.drawn.judged]
    alive = [name for group in groups for name in group.names("alive")]
    request.report(f"median {_median_s(fresh)} s per mutant, of {len(fresh)} in this run")
    return Share(
        part=NAME,
        seconds=seconds,
        figures={
            "judged_in_runs": len(fresh),
            "tests_in_runs": sum(int(verdict.get("ran", 0)) for _, verdict in fresh),
            "milliseconds_in_runs": sum(
                round(1000 * float(verdict["seconds"])) for _, verdict in fresh
            ),
            "hunts": len(hunts),
            "schedules_of_hunts": sum(one.runs for one in hunts),
        },
        sets={
            "killed": [name for group in groups for name in group.names("killed")],
            "alive": alive,
            "explained": sorted(set(alive) & set(reasons)),
            "stillborn": [name for group in groups for name in group.names("stillborn")],
            "named_killed": sums.named.names("killed"),
            "named_alive": sums.named.names("alive"),
            "generated_killed": sums.drawn.names("killed"),
            "generated_alive": sums.drawn.names("alive"),
        },
        table=[
            {"key": "", "survivor": "(named)", "explanation": sums.named.told()},
            {"key": " ", "survivor": "(generated)", "explanation": sums.drawn.told()},
            *(_found_row(one) for one in hunts),
            *(
                _row(one, verdict, reasons)
                for one, verdict in judged
                if verdict["verdict"] == "alive"
            ),
        ],
        violations=[*_missed(request, hunts), *_revived(request, fresh)],
    )


def _missed(request: Request, hunts: Sequence[Hunt]) -> list[Violation]:
    return [
        Violation(
            request.seed,
            f"a planted bug was not found by {one.runs} schedules in {one.seconds:.0f} s: {one.name}",
            f"make prove PART={NAME} SEED={request.seed} ONLY={planted.NAME}",
        )
        for one in hunts
        if not one.what
    ]


def _revived(request: Request, fresh: Sequence[Judged]) -> list[Violation]:
    """In the short form: killed once, and alive today."""
    return [
        Violation(
            request.seed,
            f"a mutant that was killed lives: {one.name}",
            f"make prove PART={NAME} ONLY='{one.name}'",
        )
        for one, verdict in fresh
        if request.short and verdict["verdict"] == "alive"
    ]


def _median_s(fresh: Sequence[Judged]) -> float:
    took = [float(verdict["seconds"]) for _, verdict in fresh]
    return round(statistics.median(took), 1) if took else 0.0


def _found_row(found: Hunt) -> dict[str, Any]:
    return {
        "key": f" {found.name}",
        "survivor": f"({planted.NAME}) {found.name}",
        "tests": f"{found.runs} schedules, {found.seconds:.0f} s",
        "explanation": f"found: {found.what}" if found.what else "NOT FOUND",
    }


def _row(mutant: Mutant, verdict: Verdict, reasons: dict[str, str]) -> dict[str, Any]:
    """A survivor: what was changed, how many tests looked on, and why that may be."""
    change = "; ".join(
        f"{_short(edit.old)} -> {_short(edit.new) or '(nothing)'}" for edit in mutant.edits
    )
    return {
        "key": mutant.name,
        "survivor": mutant.name,
        "change": change,
        "tests": f"{verdict.get('ran', 0)} of {verdict['of']}",
        "explanation": reasons.get(mutant.name, ""),
    }


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 80 else words[:77] + "..."

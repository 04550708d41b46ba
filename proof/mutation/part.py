"""The part of the campaign that judges the tests: of the guards that were removed, how many did they miss?

Verdicts are kept in ``results.jsonl`` and hold while code and tests do (`results`), so a further run only does what is
new or changed, named mutants first and then the generated ones in the seed's order, until its time is over. A share
tells every verdict that holds now. ``mutation_score`` counts a survivor with an explanation (``explained.toml``) not at
all, ``mutation_score_strict`` counts it as alive.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any, Final

from proof.mutation.coverage import Coverage
from proof.mutation.mutants import Mutant
from proof.mutation.results import Results, Verdict, explanations
from proof.mutation.running import QUICK, THOROUGH, chosen, everything, hold
from proof.parts import Request, Share, Violation

NAME: Final = "mutation"
PLANTED: Final = "planted: "
"""Three bugs that must be found by every run, the short one included."""

Judged = tuple[Mutant, Verdict]


def run(request: Request) -> Share:
    """Judge what is not judged yet, in ``request.seconds``. The short form keeps to the planted bugs and a sample."""
    started = time.monotonic()
    coverage = Coverage.load()
    mutants = everything()
    results = Results(coverage)
    results.take_pending(mutants)
    wanted = chosen(mutants, request.seed, request.only)
    todo = [one for one in wanted if results.of(one) is None or _again(one, request)]
    if request.short:
        todo.sort(key=lambda one: not one.name.startswith(PLANTED))
    request.report(
        f"{len(mutants)} mutants, {len(wanted) - len(todo)} verdicts hold, {len(todo)} to judge"
    )
    asked = {one.name for one in todo}
    for effort in (QUICK, THOROUGH):
        left = request.seconds - (time.monotonic() - started)
        if todo and left > 0:
            hold(
                todo,
                coverage,
                seconds=left,
                processes=request.processes,
                effort=effort,
                report=request.report,
            )
            results.take_pending(mutants)
        todo = [one for one in wanted if _is_half_judged(results.of(one))]
    judged = [(one, verdict) for one in mutants if (verdict := results.counted(one)) is not None]
    fresh = [pair for pair in judged if pair[0].name in asked]
    return _share(request, judged, fresh, len(mutants), time.monotonic() - started)


def _again(mutant: Mutant, request: Request) -> bool:
    """One that is asked for by its name is judged anew; so are the planted bugs in the short form."""
    return request.only == mutant.name or (request.short and mutant.name.startswith(PLANTED))


def _is_half_judged(verdict: Verdict | None) -> bool:
    """Alive, and not every test was run."""
    return verdict is not None and verdict["verdict"] == "alive" and verdict["ran"] < verdict["of"]


def score(killed: int, alive: int) -> float:
    """0 where nothing was judged: silence is not success."""
    return round(killed / (killed + alive), 4) if killed + alive else 0.0


def _share(
    request: Request, judged: Sequence[Judged], fresh: Sequence[Judged], total: int, seconds: float
) -> Share:
    reasons = explanations()
    killed = [one.name for one, verdict in judged if verdict["verdict"] == "killed"]
    alive = [one.name for one, verdict in judged if verdict["verdict"] == "alive"]
    named = {one.name for one, _ in judged if one.named}
    explained = sorted(set(alive) & set(reasons))
    unexplained = len(alive) - len(explained)
    request.report(
        f"killed {len(killed)}, alive {len(alive)} (explained {len(explained)}), of {total}; "
        f"mutation_score {score(len(killed), unexplained)}, "
        f"mutation_score_strict {score(len(killed), len(alive))}; median {_median_s(fresh)} s per mutant"
    )
    return Share(
        part=NAME,
        seconds=seconds,
        figures={
            "judged_in_runs": len(fresh),
            "tests_in_runs": sum(int(verdict.get("ran", 0)) for _, verdict in fresh),
            "milliseconds_in_runs": sum(
                round(1000 * float(verdict["seconds"])) for _, verdict in fresh
            ),
        },
        sets={
            "killed": killed,
            "alive": alive,
            "explained": explained,
            "stillborn": [one.name for one, verdict in judged if verdict["verdict"] == "stillborn"],
            "named_killed": sorted(named & set(killed)),
            "named_alive": sorted(named & set(alive)),
        },
        table=[
            _told(len(judged), total),
            *(
                _row(one, verdict, reasons)
                for one, verdict in judged
                if verdict["verdict"] == "alive"
            ),
        ],
        violations=[
            Violation(
                request.seed,
                f"a planted bug lives: {name}",
                f"make prove PART={NAME} ONLY='{name}'",
            )
            for name in alive
            if name.startswith(PLANTED)
        ],
    )


def _median_s(fresh: Sequence[Judged]) -> float:
    took = [float(verdict["seconds"]) for _, verdict in fresh]
    return round(statistics.median(took), 1) if took else 0.0


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


def _told(judged: int, total: int) -> dict[str, Any]:
    """So that nobody takes the score of a sample for that of all."""
    return {"key": "", "survivor": f"({judged:,} of {total:,} mutants were judged)"}


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 80 else words[:77] + "..."

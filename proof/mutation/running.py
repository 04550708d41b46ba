"""Chooses mutants, hands them to processes of pytest that hold them against tests, and keeps the verdicts.

python -m proof.mutation.running [--only NAME] [--named | --generated] [--sample N] [--seconds S]
                                 [--processes N] [--each S] [--again | --survivors]
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from proof.mutation.coverage import Coverage, touched
from proof.mutation.mutants import Mutant, named_mutants
from proof.mutation.python_rules import python_mutants
from proof.mutation.results import Results, Verdict, digest_of, digest_of_tests
from proof.mutation.sql_rules import sql_mutants
from proof.mutation.targets import HERE, ROOT, python_files, sql_files

Job: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Effort:
    """How long and with how many tests a mutant is held at most. One that outlives it counts as alive, though not every
    test was run; a `THOROUGH` one is then made of the survivors.
    """

    seconds: float
    tests: int


QUICK: Final = Effort(15.0, 80)
THOROUGH: Final = Effort(240.0, 100_000)
AGAIN: Final = Effort(10.0, 2)
"""For what was killed once: its killer is known, and goes first."""

NICE: Final = 10

DRAW: Final = 1
"""The seed of the order in which generated mutants are judged."""


def everything() -> list[Mutant]:
    """Named mutants, and the generated ones of all files."""
    found = named_mutants()
    for file in sql_files():
        found += sql_mutants(file)
    for file in python_files():
        found += python_mutants(file)
    return found


def chosen(mutants: Sequence[Mutant], only: str | None = None) -> list[Mutant]:
    """Named ones first, then the generated as they were drawn."""
    if only is not None:
        exact = [one for one in mutants if one.name == only]
        return exact or [one for one in mutants if only in one.name or only in one.file]
    return [one for one in mutants if one.named] + in_drawn_order(mutants)


def in_drawn_order(mutants: Sequence[Mutant]) -> list[Mutant]:
    """The generated ones in an order that chance gave to their names: the same after the code has changed, but for
    those that came or went.
    """
    generated = [one for one in mutants if not one.named]
    return sorted(generated, key=lambda one: hashlib.sha256(f"{DRAW} {one.name}".encode()).digest())


def hold(
    mutants: Sequence[Mutant],
    coverage: Coverage,
    *,
    seconds: float,
    processes: int,
    effort: Effort,
    report: Callable[[str], None],
    verdicts: Path = HERE,
    history: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> list[Verdict]:
    """Hold each against its tests, in ``seconds`` at most; verdicts are also left as pending files in a folder.
    ``history`` has the tests that have killed by the function they killed in: they go first there.
    """
    with tempfile.TemporaryDirectory(prefix="proof-mutation-") as folder:
        shares = [list(mutants[n::processes]) for n in range(processes)]
        running = [
            _start(
                [job_of(one, coverage, effort, history) for one in share],
                Path(folder),
                verdicts / f"pending-{os.getpid()}-{n}.jsonl",
                seconds,
            )
            for n, share in enumerate(shares)
            if share
        ]
        with contextlib.ExitStack() as stack:
            for process in running:
                stack.callback(_end, process)
            for process in running:
                process.wait()
        for n, process in enumerate(running):
            if process.returncode not in (0, 1, 5):
                log = _log(Path(folder) / f"jobs-pending-{os.getpid()}-{n}").read_text("utf-8")
                report(f"process {n} ended with {process.returncode}:\n{log[-2000:]}")
    left = sorted(verdicts.glob(f"pending-{os.getpid()}-*.jsonl"))
    return [json.loads(line) for one in left for line in one.read_text("utf-8").splitlines()]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Also where this run is interrupted: the verdicts that are there stay."""
    if process.poll() is None:
        process.terminate()
        process.wait()


def _start(
    jobs: Sequence[Job], folder: Path, verdicts: Path, seconds: float
) -> subprocess.Popen[bytes]:
    files = sorted({test.partition("::")[0] for job in jobs for test in job["tests"]})
    given = folder / f"jobs-{verdicts.stem}"
    given.write_text(json.dumps(jobs), "utf-8")
    environment = {
        **os.environ,
        "PROOF_JOBS": str(given),
        "PROOF_VERDICTS": str(verdicts),
        "PROOF_SECONDS": str(seconds),
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "proof.mutation.killing",
        "-p",
        "no:cacheprovider",
        # The killer's own alarm ends a test that stands still; two alarms are none.
        "-o",
        "timeout=0",
    ]
    with _log(given).open("wb") as log:
        return subprocess.Popen(
            ["nice", "-n", str(max(0, NICE - os.nice(0))), *command, *files],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _log(jobs: Path) -> Path:
    return jobs.with_suffix(".log")


def job_of(
    mutant: Mutant,
    coverage: Coverage,
    effort: Effort,
    history: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Job:
    """What a process of pytest needs to know of a mutant."""
    prices = coverage.priced(mutant)
    judging = list(prices)
    function = function_of(mutant)
    killers = [name for name in history.get(function, ()) if name in prices]
    tests = list(dict.fromkeys([*judging[: effort.tests], *killers]))
    return {
        "name": mutant.name,
        "file": mutant.file,
        "why": mutant.why,
        "named": mutant.named,
        "edits": [list(asdict(edit).values()) for edit in mutant.edits],
        "digest": digest_of(mutant),
        "function": function,
        "tests": tests,
        "prices": {test: prices[test] for test in tests},
        "history": killers,
        "judging": len(judging),
        "basis": digest_of_tests(judging),
        "seconds": {test: coverage.seconds[test] for test in tests},
        "budget": effort.seconds,
    }


def function_of(mutant: Mutant) -> str:
    """The function by which kills are remembered."""
    return min(touched(mutant), default="")


def history_of(mutants: Sequence[Mutant], results: Results) -> dict[str, list[str]]:
    """The tests that have killed, by function."""
    found: dict[str, list[str]] = defaultdict(list)
    for one in mutants:
        killer = results.killer(one)
        if killer is not None:
            found[function_of(one)].append(killer)
    return found


def line_of(verdict: Verdict) -> str:
    """A verdict for a person."""
    ran = f"{verdict.get('ran', 0)}/{verdict['of']}"
    by = verdict.get("by", "").rpartition("/")[2]
    how = verdict.get("how", "")[:80]
    return f"{verdict['verdict']:9} {verdict['seconds']:7.1f} s {ran:>9}  {verdict['name']}  {by} {how}"


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only")
    parser.add_argument("--named", action="store_true")
    parser.add_argument("--generated", action="store_true")
    parser.add_argument("--sample", type=int)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--each", type=float, help="seconds for one mutant at most")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--survivors", action="store_true", help="those alive, against every test")
    parser.add_argument("--again", action="store_true", help="also those whose verdict holds")
    asked = parser.parse_args()
    coverage = Coverage.load()
    mutants = everything()
    results = Results(coverage)
    results.take_pending(mutants)
    todo = chosen(mutants, asked.only)
    todo = [
        one
        for one in todo
        if (one.named or not asked.named) and not (one.named and asked.generated)
    ]
    if asked.survivors:
        todo = [one for one in todo if (results.of(one) or {}).get("verdict") == "alive"]
    elif not asked.again:
        todo = [one for one in todo if results.of(one) is None]
    if asked.sample is not None:
        todo = todo[: asked.sample]
    effort = THOROUGH if asked.survivors else QUICK
    effort = Effort(asked.each or effort.seconds, effort.tests)
    hold(
        todo,
        coverage,
        seconds=asked.seconds,
        processes=asked.processes,
        effort=effort,
        report=_say,
        history=history_of(mutants, results),
    )
    results.take_pending(mutants)
    for one in todo:
        verdict = results.of(one)
        if verdict is not None:
            sys.stdout.write(line_of(verdict) + "\n")


if __name__ == "__main__":
    main()

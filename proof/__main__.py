"""``make prove``: the parts of the campaign, one after another, their shares kept and added up per commit.

make prove                          every part, the long form
make prove SHORT=1                  CI's share: minutes, kept apart, never the committed figures
make prove PART=simulation SEED=7   one part from one seed; SEED alone replays
make prove REPORT=1                 only write the report from what was kept
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from proof import report
from proof.keeping import Shelf
from proof.machine import ROOT, commit
from proof.parts import Part, Request, Share

# Name: seconds of the short and of the long form. The order is that of a first failure's price.
PARTS: dict[str, tuple[float, float]] = {
    "simulation": (40, 3_000),
    "model": (90, 4_200),
    "isolation": (15, 600),
    "fuzzing": (15, 900),
    "kills": (20, 1_800),
    "failover": (0, 2_700),
    "mutation": (45, 7_200),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """0: nothing found. 1: a violation, printed with its seed. 2: a part could not run."""
    asked = _parser().parse_args(arguments)
    shelf = Shelf(ROOT / "proof" / "runs" / commit() / ("short" if asked.short else "long"))
    chosen = asked.part or [name for name, (short, _) in PARTS.items() if short or not asked.short]
    found = 0
    if not asked.report:
        for name in chosen:
            found += len(_run(name, asked, shelf).violations)
    body = report.compose(shelf, commit())
    say(report.figures(body))
    if asked.short or asked.only is not None:
        return 1 if found else 0
    if body["commit"] != "unknown" and not body["commit"].endswith("-dirty"):
        report.write(body)
    else:
        say(
            "The tree differs from its commit: the figures were kept, proof/report.json was not written. Commit first."
        )
    return 1 if found else 0


def _run(name: str, asked: argparse.Namespace, shelf: Shelf) -> Share:
    """Run one part and keep what it did. A replay shows one run again and counts for nothing."""
    part: Part = importlib.import_module(f"proof.{name}.part")
    seconds = asked.seconds or PARTS[name][0 if asked.short else 1]
    workdir = Path(tempfile.mkdtemp(prefix=f"proof-{name}-"))
    say(f"{name}: up to {seconds:.0f} s, from seed {asked.seed}")
    try:
        share = part.run(
            Request(
                seed=asked.seed,
                seconds=seconds,
                short=asked.short,
                workdir=workdir,
                processes=asked.processes,
                only=asked.only,
                report=lambda line: say(f"  {line}"),
            )
        )
        if asked.only is None:
            shelf.keep(share)
    finally:
        shutil.rmtree(workdir, ignore_errors=True)
    _tell(share)
    return share


def _tell(share: Share) -> None:
    counted = ", ".join(f"{name} {value:,}" for name, value in sorted(share.figures.items()))
    say(f"{share.part}: {share.seconds:.0f} s; {counted}")
    for violation in share.violations:
        say(
            f"  VIOLATION seed {violation.seed}: {violation.what}\n    again: {violation.replay}",
        )


def say(line: str) -> None:
    """One line of progress, at once: a campaign is watched through a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make prove", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--part", action="append", choices=sorted(PARTS), help="only this part (repeatable)"
    )
    parser.add_argument("--seed", type=int, default=1, help="first seed")
    parser.add_argument("--seconds", type=float, default=0, help="budget of each part")
    parser.add_argument("--short", action="store_true", help="CI's share")
    parser.add_argument("--only", help="one scenario, target or mutant of the part")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--report", action="store_true", help="run nothing, write the report from what was kept"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

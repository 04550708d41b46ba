"""What a part of the campaign is asked for, and what it gives back.

A part is a package ``proof/<name>/`` whose ``part.py`` has ``NAME`` and ``run(Request) -> Share``. Shares of one
commit add up: figures are summed, sets united, violations kept. So a part can be run again, later, with another seed,
and the report grows; nothing is counted twice because a thing that must be distinct travels as a set or as hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Request:
    """One run of one part.

    ``seconds`` is a budget: the part ends by itself near it and reports what it did. ``short`` is CI's share.
    ``only`` narrows to one scenario or target. ``workdir`` is scratch space that the runner removes.
    """

    seed: int
    seconds: float
    short: bool
    workdir: Path
    processes: int = 1
    only: str | None = None
    report: Callable[[str], None] = print


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken invariant: the seed, what was seen against what must hold, and the command that shows it again."""

    seed: int
    what: str
    replay: str


@dataclass(frozen=True, slots=True)
class Share:
    """What one run did.

    ``figures`` are counts that add up. ``sets`` hold names that are united (crash points taken, mutants killed).
    ``hashes`` is a file of 8-byte digests of things that must be distinct (schedules); the runner unites the files.
    ``table`` holds rows for the report, by column name; rows with an equal ``key`` replace each other.
    """

    part: str
    seconds: float
    figures: Mapping[str, int] = field(default_factory=dict)
    sets: Mapping[str, Sequence[str]] = field(default_factory=dict)
    hashes: Path | None = None
    table: Sequence[Mapping[str, Any]] = ()
    violations: Sequence[Violation] = ()


class Part(Protocol):
    """The module ``proof.<name>.part``."""

    NAME: str

    def run(self, request: Request) -> Share: ...

"""What a target of the fuzzer is: how an input is made from a seed, and what must hold of whatever became of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

Random: TypeAlias = random.Random

STREAM: Final = 10**9
"""Inputs of one seed. ``SEED=7`` is the stream 7_000_000_000, 7_000_000_001, ...; each number is one input."""

Check: TypeAlias = Callable[[Any], str]
"""Runs one input. Answers what became of it in a word; raises `Violated` for what must not be."""


class Violated(Exception):
    """An oracle is broken. ``kind``: ``misread``, ``crash``, ``hang``, ``secret``, ``written``, ``stuck``."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(what)
        self.kind = kind
        self.what = what


class Hung(BaseException):
    """An input took longer than it may. No `Exception`: nothing under test may catch it."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a target may use beside its input."""

    workdir: Path


@dataclass(frozen=True, slots=True)
class Target:
    """One door to the outside.

    ``make`` uses nothing but its generator, so that a seed is an input. ``opened`` gives the check, for as long as its
    surroundings live. ``weight`` is its part of the time.
    """

    name: str
    make: Callable[[Random], Any]
    opened: Callable[[Surroundings], AbstractContextManager[Check]]
    weight: float = 1.0
    needs_database: bool = False
    bound_s: float = 5.0
    """More of the processor's time for one input is a hang."""


def steady(check: Check) -> Callable[[Surroundings], AbstractContextManager[Check]]:
    """For a check that needs no surroundings."""

    @contextmanager
    def opened(_: Surroundings) -> Iterator[Check]:
        yield check

    return opened


def rng_of(target: str, seed: int) -> Random:
    """The generator of one input."""
    return random.Random(f"{target}:{seed}")


def first_of(seed: int) -> int:
    """The number of the first input of a run: of a stream, or the very input that is named."""
    return seed if seed >= STREAM else seed * STREAM


def require(holds: object, kind: str, what: str) -> None:
    """Raise `Violated` unless it holds."""
    if not holds:
        raise Violated(kind, what)

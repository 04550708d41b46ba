"""Runs inputs of one target, one after another, under a clock, and writes down what broke.

An input is known by its number alone. What breaks is kept once for each place and kind, with the first number that
shows it and how often it came back.
"""

from __future__ import annotations

import hashlib
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final

from app.clock import Clock, SystemClock
from proof.fuzzing.bending import DEPTH
from proof.fuzzing.model import Check, Hung, Target, Violated, rng_of

_SHOWN: Final = 400
WAITING: Final = 12
"""So many times longer an input may take by the clock than by the processor."""


@dataclass(slots=True)
class Finding:
    """One thing that broke."""

    target: str
    kind: str
    seed: int
    what: str
    times: int = 1


@dataclass(slots=True)
class Tally:
    """What was done."""

    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    findings: dict[str, Finding] = field(default_factory=dict)
    digests: set[bytes] = field(default_factory=set)
    """Of the inputs, to tell how many were different."""

    def broke(self, target: str, kind: str, seed: int, where: str, what: str) -> None:
        self.kinds[kind] += 1
        known = self.findings.setdefault(
            f"{target}/{kind}/{where}", Finding(target, kind, seed, what, 0)
        )
        known.times += 1

    def add(self, other: Tally) -> None:
        self.inputs += other.inputs
        self.outcomes += other.outcomes
        self.kinds += other.kinds
        self.digests |= other.digests
        for key, one in other.findings.items():
            known = self.findings.get(key)
            if known is None:
                self.findings[key] = one
            else:
                known.times += one.times
                known.seed = min(known.seed, one.seed)


Going = Callable[[int], bool]
"""Told the number that comes next; whether there is time for it."""


def drive(
    target: Target, check: Check, seeds: Iterator[int], going: Going, clock: Clock | None = None
) -> Tally:
    """Run inputs while ``going`` says so."""
    tally, clock = Tally(), clock or SystemClock()
    with _alarms():
        for seed in seeds:
            if not going(seed):
                break
            one(target, check, seed, tally)
    return tally


def _deep(frames: int, check: Check, given: Any) -> str:
    """The check at a depth that does not depend on who called."""
    return check(given) if frames <= 0 else _deep(frames - 1, check, given)


def _missing_frames() -> int:
    frame, found = sys._getframe(1), 0
    while frame.f_back is not None:
        frame, found = frame.f_back, found + 1
    return DEPTH - found


def one(target: Target, check: Check, seed: int, tally: Tally) -> None:
    """One input, by its number."""
    frames = _missing_frames()
    given: Any = "(none was made)"
    tally.inputs += 1
    try:
        given = target.make(rng_of(target.name, seed))
        tally.digests.add(hashlib.blake2b(_bytes(given), digest_size=8).digest())
        try:
            _set(target.bound_s)
            outcome = _deep(frames, check, given)
        finally:
            _set(0)
        tally.outcomes[f"{target.name}: {outcome}"] += 1
    except Violated as violated:
        what = f"{target.name}: {violated.what}; input {shown(given)}"
        tally.broke(target.name, violated.kind, seed, violated.what[:60], what)
    except Hung:
        what = f"{target.name}: took longer than {target.bound_s:g} s; input {shown(given)}"
        tally.broke(target.name, "hang", seed, "", what)
    except Exception as error:  # noqa: BLE001 - whatever escapes the border is the finding
        where = place_of(error)
        what = f"{target.name}: {type(error).__name__} at {where}: {str(error)[:160]}"
        what = f"{what}; input {shown(given)}"
        tally.broke(target.name, "crash", seed, f"{type(error).__name__} {where}", what)


def _bytes(given: Any) -> bytes:
    if isinstance(given, bytes):
        return given
    try:
        return repr(given).encode("utf-8", "backslashreplace")
    except RecursionError:
        return b"deep"


def shown(given: Any) -> str:
    """Enough of an input to see what it is; its number makes it whole again."""
    try:
        text = repr(given)
    except RecursionError:
        return "(nested too deep to be shown)"
    text = text.encode("ascii", "backslashreplace").decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"


def place_of(error: BaseException) -> str:
    """The innermost place in the project where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [one for one in frames if "/app/" in one.filename or "/workers/" in one.filename]
    last = (ours or list(frames))[-1:]
    return "".join(f"{'/'.join(one.filename.rsplit('/', 3)[1:])}:{one.lineno}" for one in last)


_ARMED: Final[list[bool]] = []


def _set(bound_s: float) -> None:
    """By the processor's time, so that a busy machine makes no hang; by the clock's too, for what only waits."""
    _ARMED[:] = [True] if bound_s else []
    signal.setitimer(signal.ITIMER_PROF, bound_s)
    signal.setitimer(signal.ITIMER_REAL, bound_s * WAITING)


@contextmanager
def _alarms() -> Iterator[None]:
    """From here on an alarm of the operating system is `Hung`."""

    def ring(_signal: int, _frame: FrameType | None) -> None:
        # Once for an input: the other timer may ring while this is being told.
        if _ARMED:
            _ARMED.clear()
            raise Hung

    before = {one: signal.signal(one, ring) for one in (signal.SIGALRM, signal.SIGPROF)}
    try:
        yield
    finally:
        _set(0)
        for one, handler in before.items():
            signal.signal(one, handler)

"""Which step of a withdrawal comes next: pure, no clock, no chance, no I/O.

The ledger's functions judge each step again under their locks, so a wrong answer here costs time and
never money.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.withdrawal.treasury import Absent, Seen


class State(StrEnum):
    """As in ledger.withdrawal."""

    REQUESTED = "REQUESTED"
    STOPPING = "STOPPING"
    DRAINING = "DRAINING"
    UNLOCKED = "UNLOCKED"
    DEBITED = "DEBITED"
    SENDING = "SENDING"
    UNKNOWN = "UNKNOWN"
    FAILED = "FAILED"
    DONE = "DONE"
    COMPENSATED = "COMPENSATED"
    CANCELLED = "CANCELLED"


ENDED: Final = frozenset({State.DONE, State.COMPENSATED, State.CANCELLED})


class Step(StrEnum):
    """One step is at most one commit, or one request and the commit of its answer."""

    STOP = "stop"
    """Pause the account."""
    DRAIN = "drain"
    """Ask for cancels; the ledger goes on by itself once nothing is open."""
    DEBIT = "debit"
    """Make the bytes, and store them with the debit."""
    SEND = "send"
    LOOK = "look"
    LAPSE = "lapse"
    """Whoever was sending is gone: its transfer is unknown."""
    COMPENSATE = "compensate"
    ESCALATE = "escalate"
    """Call a person."""
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Saga:
    """What is known of a withdrawal when it is claimed."""

    state: State
    needs_person: bool
    """A person was called and has not answered: no step forward is taken."""
    alarm_due: bool
    """It stands where it stands for too long."""
    amount_micros: int
    open: int
    """Orders of the account that have not ended."""
    locked: int
    available: int
    repeatable: bool = False
    """Of the stored bytes."""
    attempts: int = 0
    since_attempt_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Next:
    step: Step
    why: str = ""
    """For `Step.ESCALATE`."""


RESEND_AFTER_MS: Final = 5_000
MOST_ATTEMPTS: Final = 5
"""A transfer that was sent so often without effect is not a matter of sending it once more."""


def decide(saga: Saga, seen: Seen | None = None) -> Next:
    """The next step. ``seen``: what a look-up of this pass found, already recorded."""
    if saga.state in ENDED:
        return Next(Step.WAIT)
    if saga.state is State.SENDING:
        # The claim is ours now, so it is not the sender's any more.
        return Next(Step.LAPSE)
    if saga.state is State.FAILED:
        return Next(Step.COMPENSATE)
    if saga.alarm_due and not saga.needs_person:
        return Next(Step.ESCALATE, f"{saga.state.value}_TOO_LONG")
    if saga.state is State.UNKNOWN:
        return _unknown(saga, seen)
    if saga.needs_person:
        # The account stays paused: cancels go on until nothing is open, money does not move.
        return Next(Step.DRAIN if saga.state is State.DRAINING and saga.open else Step.WAIT)
    return _forward(saga)


def _forward(saga: Saga) -> Next:
    if saga.state is State.REQUESTED:
        return Next(Step.STOP)
    if saga.state is State.UNLOCKED:
        return Next(Step.DEBIT)
    if saga.state is State.DEBITED:
        waits = saga.attempts > 0 and (saga.since_attempt_ms or 0) < RESEND_AFTER_MS
        return Next(Step.WAIT if waits else Step.SEND)
    drained = saga.open == 0 and saga.locked == 0
    if saga.state is State.DRAINING and drained and saga.available < saga.amount_micros:
        return Next(Step.ESCALATE, "INSUFFICIENT_COLLATERAL")
    return Next(Step.DRAIN)


def _unknown(saga: Saga, seen: Seen | None) -> Next:
    if seen is None:
        return Next(Step.LOOK)
    again = (
        isinstance(seen, Absent)
        and saga.repeatable
        and not saga.needs_person
        and saga.attempts < MOST_ATTEMPTS
        and (saga.since_attempt_ms or 0) >= RESEND_AFTER_MS
    )
    return Next(Step.SEND if again else Step.WAIT)

"""The next step of a withdrawal, for every state and everything that may be known of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from app.withdrawal.decide import ENDED, MOST_ATTEMPTS, RESEND_AFTER_MS, Saga, State, Step, decide
from app.withdrawal.treasury import Absent, Done, Failed, Pending, Seen, Unread

FRESH = Saga(State.REQUESTED, False, False, 100, open=0, locked=0, available=100, repeatable=True)
LONG_AGO = RESEND_AFTER_MS
FORWARD = {Step.STOP, Step.DEBIT, Step.SEND}


def at(state: State, **changes: object) -> Saga:
    return replace(FRESH, state=state, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("saga", "step"),
    [
        (at(State.REQUESTED), Step.STOP),
        (at(State.STOPPING, open=3), Step.DRAIN),
        (at(State.DRAINING, open=3), Step.DRAIN),
        (at(State.DRAINING, locked=1), Step.DRAIN),
        (at(State.DRAINING), Step.DRAIN),
        (at(State.DRAINING, available=99), Step.ESCALATE),
        (at(State.DRAINING, available=99, locked=1), Step.DRAIN),
        (at(State.UNLOCKED), Step.DEBIT),
        (at(State.DEBITED), Step.SEND),
        (at(State.DEBITED, attempts=1, since_attempt_ms=LONG_AGO - 1), Step.WAIT),
        (at(State.DEBITED, attempts=1, since_attempt_ms=LONG_AGO), Step.SEND),
        (at(State.SENDING), Step.LAPSE),
        (at(State.SENDING, alarm_due=True), Step.LAPSE),
        (at(State.UNKNOWN), Step.LOOK),
        (at(State.UNKNOWN, needs_person=True), Step.LOOK),
        (at(State.FAILED), Step.COMPENSATE),
        (at(State.FAILED, alarm_due=True), Step.COMPENSATE),
        (at(State.DRAINING, needs_person=True, open=2), Step.DRAIN),
        (at(State.DRAINING, needs_person=True), Step.WAIT),
    ],
)
def test_the_next_step(saga: Saga, step: Step) -> None:
    assert decide(saga).step is step


@pytest.mark.parametrize("seen", [Absent("", proof=True), Absent("")])
def test_only_repeatable_bytes_that_nobody_has_seen_are_sent_again(seen: Seen) -> None:
    unknown = at(State.UNKNOWN, attempts=1, since_attempt_ms=LONG_AGO)
    assert decide(unknown, seen).step is Step.SEND
    for change in (
        {"repeatable": False},
        {"needs_person": True},
        {"attempts": MOST_ATTEMPTS},
        {"since_attempt_ms": LONG_AGO - 1},
    ):
        assert decide(replace(unknown, **change), seen).step is Step.WAIT
    for other in (Done(None), Failed(""), Pending(None), Unread("")):
        assert decide(unknown, other).step is Step.WAIT


def test_nothing_goes_forward_while_a_person_is_called_or_to_be_called() -> None:
    for state, needs, open_ in product(State, (True, False), (0, 2)):
        saga = at(state, needs_person=needs, alarm_due=True, open=open_, since_attempt_ms=LONG_AGO)
        for seen in (None, Absent("", proof=True), Unread("")):
            step = decide(saga, seen).step
            assert step not in FORWARD, saga
            waiting = state not in (*ENDED, State.SENDING, State.FAILED)
            assert (step is Step.ESCALATE) == (waiting and not needs), saga


def test_what_has_ended_is_left_alone() -> None:
    for state in ENDED:
        assert decide(at(state, alarm_due=True)).step is Step.WAIT

"""Limits and halts, as an operation may have found them.

They are rows of their own, which a decision reads without locking them: it may run beside their change and take the old
or the new value, at some moment of its own. What it may not do is take a value that was gone before it began, or one
that came after its answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from proof.isolation.operations import CONTROLS, Beginning, Operation
from proof.isolation.spec import Controls

Name = tuple[str, str]
"""Of the limit (or ``halt``), and of its market or account."""


def name_of(one: Operation) -> Name:
    return one.arguments["name"], one.arguments["scope"]


def possible_values(
    changes: Sequence[Operation], first: int | None, begin: int, end: int
) -> set[int | None]:
    """Of one control: values that stood at some moment between the two."""
    done = [one for one in changes if one.end < begin]
    found: set[int | None] = set()
    if not done:
        found.add(first)
    for one in changes:
        if one.begin > end:
            continue
        gone = any(other.begin > one.end and other.end < begin for other in changes)
        if not gone:
            found.add(one.arguments["value"])
    return found


class Known:
    """All controls of an account's history."""

    def __init__(self, beginning: Beginning, operations: Sequence[Operation]) -> None:
        self.first: dict[Name, int | None] = dict(beginning.limits)
        self.changes: dict[Name, list[Operation]] = {}
        for one in operations:
            if one.kind in CONTROLS:
                self.changes.setdefault(name_of(one), []).append(one)

    def values(self, name: Name, begin: int, end: int) -> set[int | None]:
        return possible_values(self.changes.get(name, ()), self.first.get(name), begin, end)

    def possible(self, one: Operation) -> list[Controls]:
        """Every combination that the operation may have found."""
        names = sorted({*self.first, *self.changes})
        choices = [sorted(self.values(n, one.begin, one.end), key=str) for n in names]
        return [dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*choices)]

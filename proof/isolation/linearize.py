"""Is there an order of the operations that is legal one after another, and in which what had been answered before
another began comes first? Searched as Wing and Gong do, with states remembered, per account: no operation touches two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proof.isolation.controls import Known
from proof.isolation.operations import CONTROLS, Operation
from proof.isolation.spec import Controls, Spec, State

MOST_STATES = 400_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """``order``: a legal order, or None. ``stuck``: what could not follow the longest legal beginning."""

    order: tuple[int, ...] | None
    stuck: tuple[Operation, ...] = ()
    states: int = 0
    given_up: bool = False


def linearize(spec: Spec, operations: Sequence[Operation], known: Known) -> Verdict:
    """Searches for an order. Controls are left out: see `proof.isolation.controls`."""
    todo = sorted(
        (one for one in operations if one.kind not in CONTROLS), key=lambda one: one.begin
    )
    possible = [known.possible(one) for one in todo]
    return _Search(spec, todo, possible).run()


class _Search:
    """Depth first, without recursion; a mask says which operations have taken effect."""

    def __init__(
        self, spec: Spec, todo: Sequence[Operation], possible: Sequence[list[Controls]]
    ) -> None:
        self._spec, self._todo, self._possible = spec, todo, possible
        self._seen: set[tuple[int, State]] = set()

    def run(self) -> Verdict:
        whole = (1 << len(self._todo)) - 1
        stack: list[tuple[int, State, tuple[int, ...]]] = [(0, self._spec.start, ())]
        best, furthest = -1, 0
        while stack:
            mask, state, path = stack.pop()
            if mask == whole:
                return Verdict(path, states=len(self._seen))
            if len(self._seen) > MOST_STATES:
                return Verdict(None, (), len(self._seen), given_up=True)
            if len(path) > best:
                best, furthest = len(path), mask
            for n in self._ready(mask):
                for after in self._spec.next(state, self._todo[n], self._possible[n]):
                    mark = (mask | 1 << n, after)
                    if mark not in self._seen:
                        self._seen.add(mark)
                        stack.append((*mark, (*path, n)))
        stuck = tuple(self._todo[n] for n in self._ready(furthest))
        return Verdict(None, stuck, len(self._seen))

    def _ready(self, mask: int) -> list[int]:
        """Operations before which no other had been answered that is still to come; the last begun first on the
        stack, so that the first begun is tried first.
        """
        left = [n for n in range(len(self._todo)) if not mask >> n & 1]
        first_end = min(self._todo[n].end for n in left)
        return [n for n in reversed(left) if self._todo[n].begin <= first_end]

"""A session's choices, the same for the same name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

from app.clock import SeededRng

T = TypeVar("T")


class Chance:
    """Draws from a seed that is a text."""

    def __init__(self, seed: str) -> None:
        self._rng = SeededRng(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big"))

    def randrange(self, low: int, high: int | None = None) -> int:
        if high is None:
            low, high = 0, low
        return low + self._rng.bits(62) % (high - low)

    def happens(self, ppm: int) -> bool:
        return self.randrange(1_000_000) < ppm

    def choice(self, of: Sequence[T]) -> T:
        return of[self.randrange(len(of))]

"""The venue's dead-man switch: a key that began to beat and stops loses its orders (docs/venue.md 9.1)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(slots=True)
class Beat:
    expected: str
    due_ms: int
    count: int


class Heartbeats:
    """Of every API key that ever began; an expiry forgets it."""

    def __init__(self) -> None:
        self._beats: dict[str, Beat] = {}

    def beat(self, key_id: str, given: str, now_ms: int, patience_ms: int) -> tuple[bool, str]:
        """Whether it counts, and the id to send next (or: the one that was expected)."""
        known = self._beats.get(key_id)
        if known is not None and given != known.expected:
            return False, known.expected
        if known is None and given:
            return False, ""
        count = known.count + 1 if known is not None else 1
        h = hashlib.sha256(f"{key_id}|{now_ms}|{count}".encode()).hexdigest()
        expected = f"{h[:8]}-{h[8:12]}-4{h[13:16]}-8{h[17:20]}-{h[20:32]}"
        self._beats[key_id] = Beat(expected, now_ms + patience_ms, count)
        return True, expected

    def due_ms(self) -> int | None:
        return min((beat.due_ms for beat in self._beats.values()), default=None)

    def expired(self, now_ms: int) -> list[str]:
        """Keys whose beat has not come, forgotten from now on."""
        late = sorted(key for key, beat in self._beats.items() if beat.due_ms <= now_ms)
        for key in late:
            del self._beats[key]
        return late

    def expire(self, key_id: str) -> None:
        self._beats.pop(key_id, None)

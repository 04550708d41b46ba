"""What the writers' records say about a round: how long nobody was served, and what was promised. Pure but for reading.

Service is measured from outside: by reservations that were admitted, for writers who ask all the time. What Patroni or
HAProxy think of it has no part in it.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path


@dataclass(slots=True)
class Told:
    """What one writer was told so far, read from its record as it grows."""

    path: Path
    route: str
    """How it reaches the primary: ``haproxy`` or ``hosts``."""
    admitted_ms: list[int] = field(default_factory=list)
    """When fresh reservations were confirmed, in order."""
    orders: dict[int, str] = field(default_factory=dict)
    """Every order that was promised, with its key."""
    statuses: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    _read: int = 0

    def read_on(self) -> None:
        """Take in what was written since; a line that is not whole yet waits for the next time."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        end = data.rfind(b"\n") + 1
        self._read += end
        for line in data[:end].splitlines():
            if line:
                self._take(json.loads(line))

    def _take(self, entry: Mapping[str, Mapping[str, object]]) -> None:
        answer = entry.get("Answer")
        if answer is None:
            return
        self.statuses[str(answer["status"])] += 1
        if answer["code"]:
            self.codes[f"{answer['status']} {answer['code']}"] += 1
        if answer["status"] == "admitted" and answer["via"] != "reuse":
            self.orders[int(str(answer["order_id"]))] = str(answer["key"])
            if answer["via"] == "place":
                self.admitted_ms.append(int(str(answer["at_ms"])))


def longest_gap(times_ms: Sequence[int], since_ms: int, until_ms: int) -> int:
    """The longest time without an admission that touches the span; up to its end if none came any more."""
    times = sorted(times_ms)
    first = max(0, bisect_right(times, since_ms) - 1)
    points = [*(one for one in times[first:] if one <= until_ms), until_ms]
    if not times or times[0] > since_ms:
        points.insert(0, since_ms)
    return max((after - before for before, after in pairwise(points)), default=0)


def missing(promised: Mapping[int, str], found: Mapping[int, str]) -> list[str]:
    """Promised orders that the ledger does not have, or has under another key."""
    return [
        f"order {order_id} under key {key} was admitted, and the ledger has "
        + (f"it under key {found[order_id]}" if order_id in found else "no such order")
        for order_id, key in promised.items()
        if found.get(order_id) != key
    ]


def middle(values: Iterable[int]) -> int:
    """The median, of an even number the lower; 0 of none."""
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2] if ordered else 0

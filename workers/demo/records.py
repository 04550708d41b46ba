"""What a writer knows for sure: a file of its own, one JSON line per question and answer, fsynced.

The judgement at the end rests on these files and on the venue's book, not on the ledger: an order the
ledger forgot is still in the file of the writer that was told about it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Ask:
    """A question, written down before it was put. Sizes and prices in micros."""

    key: str
    via: str
    """place, set, replace; again (the same once more), reuse (the key with another request)."""
    at_ms: int
    account: str
    market: str
    outcome: str
    side: str
    price_micros: int
    size_micros: int
    request: dict[str, Any]
    """All of it, for a writer that starts again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. ``status``: admitted, refused, or asked (a replacement that waits)."""

    key: str
    via: str
    at_ms: int
    status: str
    code: str = ""
    order_id: int = 0
    size_micros: int = 0
    replay: bool = False


class Record:
    """Appends to the file. A line is in it for good when the method returns."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, entry: Ask | Answer) -> None:
        # A life that ended in the middle of a line must not spoil the first line of the next.
        line = "\n" + json.dumps({type(entry).__name__: asdict(entry)}) + "\n"
        os.write(self._file, line.encode())
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


def read_record(path: Path) -> tuple[list[Ask], list[Answer]]:
    """Everything a writer wrote down, over all its lives; a line that a kill cut off is none."""
    asks: list[Ask] = []
    answers: list[Answer] = []
    for kind, entry in _lines(path):
        if kind == "Ask":
            asks.append(Ask(**entry))
        else:
            answers.append(Answer(**entry))
    return asks, answers


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if not path.exists():
        return
    for line in path.read_text("utf-8").splitlines():
        if not line:
            continue
        try:
            loaded = json.loads(line)
        except ValueError:
            continue
        yield from loaded.items()

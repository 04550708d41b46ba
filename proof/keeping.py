"""The shares of one commit on disk: written as they come, read back and added up.

A long campaign is run in pieces, over hours and after interruptions. Each piece leaves one file, so a kill between two
loses nothing that was done before, and the sum is made anew from the files each time.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from proof.parts import Share, Violation

DIGEST = 8  # bytes of one hash


@dataclass(slots=True)
class Sum:
    """All shares of one part: figures added, sets united, rows by their key, distinct hashes counted."""

    part: str
    seconds: float = 0.0
    runs: int = 0
    figures: Counter[str] = field(default_factory=Counter)
    sets: dict[str, set[str]] = field(default_factory=dict)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    distinct: int = 0


class Shelf:
    """The folder of one commit: ``<part>/<n>.json`` and, where a part counts distinct things, ``<part>/<n>.hashes``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, share: Share) -> Path:
        """Write one share so that it is whole or absent, hashes first. Returns its file."""
        folder = self.folder / share.part
        folder.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(p.stem) for p in folder.glob("*.json")), default=0)
        if share.hashes is not None:
            _replace(folder / f"{number:05}.hashes", _united([share.hashes]))
        body = asdict(share) | {"hashes": None}
        path = folder / f"{number:05}.json"
        _replace(path, json.dumps(body, indent=1, sort_keys=True, default=str).encode())
        return path

    def parts(self) -> list[str]:
        return (
            sorted(p.name for p in self.folder.iterdir() if p.is_dir())
            if self.folder.is_dir()
            else []
        )

    def sum(self, part: str) -> Sum:
        """What all kept runs of ``part`` did together. An unreadable file is an error: a sum that skips is a lie."""
        total = Sum(part)
        folder = self.folder / part
        for path in sorted(folder.glob("*.json")):
            _add(total, json.loads(path.read_bytes()))
        hashes = sorted(folder.glob("*.hashes"))
        total.distinct = len(_united(hashes)) // DIGEST
        return total


def _add(total: Sum, share: dict[str, Any]) -> None:
    total.runs += 1
    total.seconds += share["seconds"]
    total.figures.update(share["figures"])
    for name, members in share["sets"].items():
        total.sets.setdefault(name, set()).update(members)
    for row in share["table"]:
        total.rows[str(row.get("key", len(total.rows)))] = row
    total.violations.extend(Violation(**v) for v in share["violations"])


def _united(files: Iterable[Path]) -> bytes:
    """The distinct digests of several files, sorted. Half a digest at the end means a broken file."""
    seen: set[bytes] = set()
    for path in files:
        seen.update(_digests(path))
    return b"".join(sorted(seen))


def _digests(path: Path) -> Iterator[bytes]:
    data = path.read_bytes()
    if len(data) % DIGEST:
        raise ValueError(
            f"{path} ends in the middle of a digest; it was not counted. Delete it and run the part again."
        )
    for start in range(0, len(data), DIGEST):
        yield data[start : start + DIGEST]


def _replace(path: Path, data: bytes) -> None:
    waiting = path.with_suffix(path.suffix + ".new")
    waiting.write_bytes(data)
    os.replace(waiting, path)

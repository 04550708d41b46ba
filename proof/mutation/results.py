"""What became of each mutant, kept between runs: a verdict holds while code and tests do.

A kill holds as long as the test file that killed is the same; a survivor as long as all test files are that run its
function.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from proof.mutation.coverage import Coverage
from proof.mutation.mutants import Mutant, source
from proof.mutation.python_rules import function_at
from proof.mutation.sql_text import changed
from proof.mutation.targets import HERE, ROOT

FILE: Final = HERE / "results.jsonl"
PENDING: Final = "pending-*.jsonl"
EXPLAINED: Final = HERE / "explained.toml"

_FOLDERS: Final = re.compile(r"(?<![\w.])/(?:[\w.-]+/)+")
"""Where a machine keeps its packages says nothing about a kill."""

Verdict = dict[str, Any]


@cache
def digest_of(mutant: Mutant) -> str:
    """Of the mutant and of the function it changes, as it reads with the change."""
    after = mutant.text()
    if mutant.is_sql:
        told = [one.text for one in changed(source(mutant.file), after)]
    else:
        found = [function_at(after, edit.start) for edit in mutant.edits]
        told = [one[1] for one in found if one is not None]
    return hashlib.sha256("\n".join([mutant.name, *told]).encode()).hexdigest()[:16]


@cache
def _file_digest(path: str) -> str:
    file = ROOT / path
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.exists() else "gone"


def digest_of_tests(tests: Iterable[str]) -> str:
    """Of the files that hold the tests, and of their names."""
    names = sorted(tests)
    files = sorted({name.partition("::")[0] for name in names})
    told = [*names, *(_file_digest(file) for file in files)]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


class Results:
    """The verdicts by name."""

    def __init__(self, coverage: Coverage, path: Path = FILE) -> None:
        self._coverage = coverage
        self._path = path
        self._kept: dict[str, Verdict] = {}
        if path.exists():
            self._take(path.read_text("utf-8").splitlines())

    def of(self, mutant: Mutant) -> Verdict | None:
        """The verdict, if it still holds."""
        found = self._kept.get(mutant.name)
        if found is None or found["digest"] != digest_of(mutant) or found["verdict"] == "unjudged":
            return None
        if found["verdict"] == "stillborn":
            return found
        return found if found.get("tests_digest") == self._basis(mutant, found) else None

    def counted(self, mutant: Mutant) -> Verdict | None:
        """As `of`; and what once lived, or brought the judge down, counts as alive until a test has killed it."""
        found = self._kept.get(mutant.name)
        lives = found is not None and found["verdict"] in ("alive", "unjudged")
        if found is not None and lives and found["digest"] == digest_of(mutant):
            return found | {"verdict": "alive"}
        return self.of(mutant)

    def killer(self, mutant: Mutant) -> str | None:
        """The test that killed it once; whether the verdict still holds is another question."""
        found = self._kept.get(mutant.name)
        return str(found["by"]) if found is not None and found["verdict"] == "killed" else None

    def take_pending(self, mutants: Sequence[Mutant]) -> int:
        """Verdicts that a run left, an interrupted one included, become part of the file."""
        by_name = {one.name: one for one in mutants}
        taken = 0
        if self._path.exists():
            self._take(self._path.read_text("utf-8").splitlines())
        for pending in sorted(self._path.parent.glob(PENDING)):
            if _is_being_written(pending):
                continue
            for line in pending.read_text("utf-8").splitlines():
                verdict: Verdict = json.loads(line)
                mutant = by_name.get(verdict["name"])
                if mutant is not None and verdict["digest"] == digest_of(mutant):
                    # Of a survivor those that judged it when it was held, not those that were written since.
                    killed = verdict["verdict"] == "killed"
                    verdict["tests_digest"] = (
                        self._basis(mutant, verdict) if killed else verdict.get("basis", "")
                    )
                    verdict["how"] = _FOLDERS.sub("", verdict.get("how", ""))
                    self._kept[mutant.name] = verdict
                    taken += 1
            pending.unlink()
        names = {one.name for one in mutants}
        lines = [
            json.dumps(one, sort_keys=True)
            for name, one in sorted(self._kept.items())
            if name in names
        ]
        self._path.write_text("".join(line + "\n" for line in lines), "utf-8")
        return taken

    def _take(self, lines: Iterable[str]) -> None:
        for line in lines:
            verdict: Verdict = json.loads(line)
            self._kept[verdict["name"]] = verdict

    def _basis(self, mutant: Mutant, verdict: Verdict) -> str:
        if verdict["verdict"] == "killed":
            return digest_of_tests([verdict["by"]])
        return digest_of_tests(self._coverage.judging(mutant))


def _is_being_written(pending: Path) -> bool:
    """By another run that lives: its verdicts are its own to take."""
    writer = int(pending.stem.split("-")[1])
    if writer == os.getpid():
        return False
    try:
        os.kill(writer, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def explanations(path: Path = EXPLAINED) -> dict[str, str]:
    """Survivors that change no behaviour, each with the reason."""
    if not path.exists():
        return {}
    body: dict[str, str] = tomllib.loads(path.read_text("utf-8")).get("explained", {})
    return body

"""Which tests run which functions, as recorded once: what a mutant must be held against, the likeliest first.

python -m proof.mutation.coverage            records anew: all unit and integration tests, traced, half an hour
python -m proof.mutation.coverage FILES      only these test files; the rest stays as it was recorded
"""

from __future__ import annotations

import ast
import gzip
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

from proof.mutation.mutants import Mutant, source
from proof.mutation.python_rules import function_at as python_function_at
from proof.mutation.sql_text import changed, functions
from proof.mutation.targets import HERE, ROOT, TESTS, judges, python_files, sql_files

FILE: Final = HERE / "coverage.json.gz"
ROW: Final = 1.5
NEIGHBOUR: Final = 1.08
"""What each test of the same table, and of the same file, that stands before makes the next one dearer by."""

_CALLED: Final = re.compile(r"\bledger\.(\w+)\s*\(")


@dataclass(frozen=True, slots=True)
class Coverage:
    """``seconds`` of each test; ``tests`` of each function."""

    seconds: dict[str, float]
    tests: dict[str, frozenset[str]]
    breadth: dict[str, int]
    weights: dict[str, float] = field(default_factory=dict)
    """Of words in the tests' names: what half of them have says little, what one in a hundred has says much."""

    def __post_init__(self) -> None:
        words = Counter(word for test in self.seconds for word in _words(test.partition("[")[0]))
        for word, tests in words.items():
            self.weights[word] = math.log2(len(self.seconds) / tests) / 3

    @classmethod
    def load(cls, path: Path = FILE) -> Coverage:
        body = json.loads(gzip.decompress(path.read_bytes()))
        names: list[str] = body["functions"]
        tests: dict[str, set[str]] = defaultdict(set)
        seconds: dict[str, float] = {}
        breadth: dict[str, int] = {}
        for test, (took, covers) in body["tests"].items():
            seconds[test] = took
            breadth[test] = len(covers)
            for place in covers:
                tests[names[place]].add(test)
        return cls(seconds, {name: frozenset(found) for name, found in tests.items()}, breadth)

    def judging(self, mutant: Mutant) -> list[str]:
        """The tests that run what it changes; cheap, narrow and near ones first."""
        return list(self.priced(mutant))

    def priced(self, mutant: Mutant) -> dict[str, float]:
        """The tests that run what it changes with what each costs, the cheapest first. Those of one file, and above
        all the rows of one table, see much the same: after the first of them the others wait.
        """
        found: set[str] = set()
        for name in touched(mutant):
            found |= self.tests.get(name, frozenset())
        about = _words(
            f"{Path(mutant.file).stem} {mutant.name} {mutant.why} {' '.join(touched(mutant))}"
        )
        text = " ".join(f"{edit.old} {edit.new}" for edit in mutant.edits)
        says = all_words(f"{Path(mutant.file).stem} {mutant.name} {mutant.why} {text}")
        prices = {
            test: self._price(test, about) * 0.5 ** nearness(test, says | about) for test in found
        }
        before: Counter[str] = Counter()
        for test in sorted(found, key=lambda test: (prices[test], test)):
            file, name = test.partition("::")[0], test.partition("[")[0]
            prices[test] *= ROW ** before[name] * NEIGHBOUR ** min(before[file], 20)
            before.update((file, name))
        return dict(sorted(prices.items(), key=lambda pair: (pair[1], pair[0])))

    def _price(self, test: str, about: frozenset[str]) -> float:
        """What it costs, less for each word that its name and the mutant have in common."""
        near = sum(self.weights[word] for word in about & _words(test.partition("[")[0]))
        return (0.05 + self.seconds[test]) * (1 + self.breadth[test] / 40) * 0.5**near


@lru_cache(maxsize=10_000)
def _words(text: str) -> frozenset[str]:
    """The beginnings of its longer words: suspended and suspension, cancelled and cancels are one."""
    return frozenset(word[:5] for word in re.findall(r"[a-z]{4,}", text.lower())) - _COMMON


def all_words(text: str) -> frozenset[str]:
    """The beginnings of its words, those of code too: columns, codes, functions."""
    return frozenset(word[:6] for word in _WORD.findall(text.lower()))


_WORD: Final = re.compile(r"[a-z]{3,}")


def nearness(test: str, says: frozenset[str]) -> float:
    """How much of what a mutant says the test's text says as well; rare words say more, long texts say less."""
    texts, weights = _texts_of_tests()
    words = texts.get(test.partition("[")[0], frozenset())
    return sum(weights[word] for word in says & words) / (1 + math.sqrt(len(words)))


@cache
def _texts_of_tests() -> tuple[dict[str, frozenset[str]], dict[str, float]]:
    texts: dict[str, frozenset[str]] = {}
    for folder in TESTS:
        for path in sorted((ROOT / folder).glob("test_*.py")):
            text = path.read_text("utf-8")
            lines = text.splitlines()
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    first = min(one.lineno for one in (node, *node.decorator_list))
                    name = f"{path.relative_to(ROOT)}::{node.name}"
                    texts[name] = all_words("\n".join(lines[first - 1 : node.end_lineno]))
    counts = Counter(word for words in texts.values() for word in words)
    return texts, {word: math.log2(len(texts) / count) for word, count in counts.items()}


_COMMON: Final = frozenset(
    word[:5]
    for word in (
        "ledger",
        "test",
        "tests",
        "integration",
        "that",
        "which",
        "this",
        "with",
        "from",
        "must",
        "planted",
    )
)


def touched(mutant: Mutant) -> set[str]:
    """The functions it changes, and those that a planner may have put in their place."""
    if mutant.is_sql:
        names = {one.name for one in changed(source(mutant.file), mutant.text())}
        return names | _through(names)
    found = set()
    for edit in mutant.edits:
        function = python_function_at(source(mutant.file), edit.start)
        if function is not None:
            found.add(f"{mutant.file}:{function[0]}")
    return found


def _through(names: Iterable[str]) -> set[str]:
    """A function in plain SQL may be inlined, and is then not counted: whoever names it stands for it, and so on."""
    out: set[str] = set()
    plain, callers = _graph()
    todo = [name for name in names if name in plain]
    while todo:
        for caller in callers[todo.pop()]:
            if caller not in out:
                out.add(caller)
                if caller in plain:
                    todo.append(caller)
    return out


def callers_of(function: str) -> set[str]:
    """The functions of SQL whose text calls it."""
    return set(_graph()[1].get(function, ()))


def _graph() -> tuple[frozenset[str], dict[str, set[str]]]:
    if not _GRAPH:
        plain: set[str] = set()
        callers: dict[str, set[str]] = defaultdict(set)
        for file in sql_files():
            for one in functions(source(file)):
                if "LANGUAGE sql" in one.text:
                    plain.add(one.name)
                for called in _CALLED.findall(one.body):
                    callers[f"ledger.{called}"].add(one.name)
        _GRAPH.append((frozenset(plain), callers))
    return _GRAPH[0]


_GRAPH: list[tuple[frozenset[str], dict[str, set[str]]]] = []


# --- making it --------------------------------------------------------------------------------------


def record(arguments: Sequence[str] = ()) -> None:
    """Run the tests under `recording`, and write the file."""
    with tempfile.TemporaryDirectory(prefix="proof-coverage-") as folder:
        target = f"{folder}/ran"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "proof.mutation.recording",
            "-n",
            "2",
        ]
        command += ["--dist", "loadfile", *(arguments or _judging_files())]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "PROOF_RECORD": target}, check=False)
        merge(sorted(Path(folder).glob("ran.*.json")), FILE if arguments else None)


def _judging_files() -> list[str]:
    found = [path for folder in TESTS for path in (ROOT / folder).glob("test_*.py")]
    return sorted(str(path.relative_to(ROOT)) for path in found if judges(str(path)))


def merge(parts: Sequence[Path], onto: Path | None = None) -> None:
    """One file from what the processes wrote; with ``onto``, what was recorded there before stays unless run anew."""
    tests: dict[str, dict[str, Any]] = {}
    if onto is not None:
        before = json.loads(gzip.decompress(onto.read_bytes()))
        for test, (took, covers) in before["tests"].items():
            tests[test] = {"seconds": took, "covers": [before["functions"][n] for n in covers]}
    for part in parts:
        tests |= json.loads(part.read_text("utf-8"))["tests"]
    wanted = _wanted()
    kept: dict[str, list[str]] = {}
    for test, one in tests.items():
        covers = sorted({_outermost(name) for name in one["covers"]} & wanted)
        if covers and judges(test.partition("::")[0]) and "debian" not in test:
            kept[test] = covers
    names = sorted({name for covers in kept.values() for name in covers})
    place = {name: n for n, name in enumerate(names)}
    body = {
        "functions": names,
        "tests": {
            test: [tests[test]["seconds"], [place[name] for name in kept[test]]]
            for test in sorted(kept)
        },
    }
    packed = gzip.compress(json.dumps(body, separators=(",", ":")).encode(), mtime=0)
    FILE.write_bytes(packed)


def _wanted() -> set[str]:
    from proof.mutation.python_rules import outermost

    wanted = {one.name for file in sql_files() for one in functions(source(file))}
    for file in python_files():
        wanted |= {f"{file}:{name}" for name, _ in outermost(ast.parse(source(file)))}
    return wanted


def _outermost(name: str) -> str:
    """What runs inside a function belongs to it."""
    return name.partition(".<locals>")[0]


if __name__ == "__main__":
    record(sys.argv[1:])

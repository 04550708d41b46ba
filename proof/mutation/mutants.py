"""A mutant: one change of one place, which some test must notice."""

from __future__ import annotations

import hashlib
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from proof.mutation.targets import HERE, ROOT

NAMED: Final = HERE / "named"


@dataclass(frozen=True, slots=True)
class Edit:
    """``new`` in place of ``old``; ``start`` is where ``old`` begins in the file, in characters."""

    start: int
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """``why`` says what the removed guard is for; a generated mutant has the rule that made it instead."""

    name: str
    file: str
    edits: tuple[Edit, ...]
    why: str
    named: bool = False

    @property
    def is_sql(self) -> bool:
        return self.file.endswith(".sql")

    def text(self) -> str:
        """The whole file with the change."""
        return applied(source(self.file), self.edits)


class DoesNotApply(Exception):
    """The text that a named mutant replaces is not there, or is there more than once."""


@cache
def source(file: str) -> str:
    return (ROOT / file).read_text("utf-8")


def applied(text: str, edits: Iterable[Edit]) -> str:
    for edit in sorted(edits, key=lambda one: -one.start):
        end = edit.start + len(edit.old)
        assert text[edit.start : end] == edit.old, edit
        text = text[: edit.start] + edit.new + text[end:]
    return text


def named_mutants() -> list[Mutant]:
    """Everything in ``named/``. Raises `DoesNotApply`."""
    found: list[Mutant] = []
    for path in sorted(NAMED.glob("*.toml")):
        found += map(_named, tomllib.loads(path.read_text("utf-8"))["mutant"])
    doubles = [name for name, count in Counter(one.name for one in found).items() if count > 1]
    if doubles:
        raise DoesNotApply(f"two mutants are named {doubles[0]}")
    return found


def _named(entry: dict[str, str]) -> Mutant:
    text = source(entry["file"])
    pairs = [(entry["old"], entry["new"])]
    if "old2" in entry:
        pairs.append((entry["old2"], entry["new2"]))
    edits = []
    for old, new in pairs:
        if text.count(old) != 1:
            raise DoesNotApply(
                f"{entry['name']}: its text is {text.count(old)} times in {entry['file']}: {old!r}"
            )
        edits.append(Edit(text.index(old), old, new))
    return Mutant(entry["name"], entry["file"], tuple(edits), entry["why"], named=True)


def christened(mutants: Iterable[Mutant], where: dict[Edit, str]) -> list[Mutant]:
    """Names that stay while the code around them changes: the function, the rule and a digest of the place."""
    counts: Counter[str] = Counter()
    out = []
    for one in mutants:
        edit = one.edits[0]
        line = _line(source(one.file), edit.start)
        digest = hashlib.sha256(f"{line}|{edit.old}|{edit.new}".encode()).hexdigest()[:6]
        name = f"{where[edit]}/{one.why}/{digest}"
        counts[name] += 1
        out.append(replace(one, name=name if counts[name] == 1 else f"{name}-{counts[name]}"))
    return out


def _line(text: str, place: int) -> str:
    begin = text.rfind("\n", 0, place) + 1
    end = text.find("\n", place)
    return text[begin : None if end < 0 else end].strip()

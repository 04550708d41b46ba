"""What the code says it rests on can be looked up: each number it names is a heading of docs/venue.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from app.venue.simulator.faults.catalogue import CATALOGUE

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = (ROOT / "docs" / "venue.md").read_text("utf-8")
HEADINGS: Final = set(re.findall(r"^#{2,3} ([0-9]+(?:\.[0-9]+)?)\.? ", PAGE, re.MULTILINE))
ROWS: Final = set(re.findall(r"^\| ([0-9]+) \|", PAGE, re.MULTILINE))

# The page, then numbers; a citation may go over the end of a line.
_CITED: Final = re.compile(r"docs/venue\.md((?:[\s#*/-]*(?:and|,)?[\s#*/-]*[0-9]+(?:\.[0-9]+)?)+)")
_NOT_OURS: Final = re.compile(r"\b(polymarket|requirements|models|design)\.md\b|design section")


def sources() -> list[Path]:
    folders = ("app", "workers", "tests")
    return [
        path
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".py", ".sql") and path != Path(__file__).resolve()
    ]


def cited() -> dict[str, set[str]]:
    """Each number and the files that name it."""
    found: dict[str, set[str]] = {}
    for path in sources():
        for match in _CITED.finditer(path.read_text("utf-8")):
            for number in re.findall(r"[0-9]+(?:\.[0-9]+)?", match[1]):
                found.setdefault(number, set()).add(str(path.relative_to(ROOT)))
    return found


def test_each_number_that_is_cited_is_a_heading() -> None:
    numbers = cited()
    assert len(numbers) > 25, "the scan finds citations"
    assert {number: files for number, files in numbers.items() if number not in HEADINGS} == {}


def test_no_page_is_cited_that_is_not_here() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in sources()
        for match in _NOT_OURS.finditer(path.read_text("utf-8"))
    ]
    assert wrong == []


def test_each_fault_that_names_a_report_names_a_row_of_the_page() -> None:
    named = {
        number for fault in CATALOGUE.values() for number in re.findall(r"#([0-9]+)", fault.says)
    }
    assert named
    assert named <= ROWS

"""What is mutated, and which tests may judge it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
HERE: Final = Path(__file__).resolve().parent

SQL: Final = "app/ledger/sql/functions"
_WORKER: Final = ("sending", "cancels", "look_ups", "stream", "sweeps")
_ANSWERS: Final = ("outcomes", "cancels", "pacing", "border")

TESTS: Final = ("tests/unit", "tests/integration")

JUDGES_OF_TEXT: Final = (
    "test_schema_",
    "test_docs_",
    "test_repository_rules",
    "test_ports_lint",
    "test_proof_",
    "test_revisions",
)
"""Tests that compare texts or catalogues would kill every mutant, and say nothing about what is tested."""

SURVIVOR_TESTS: Final = "test_proof_survivors"
"""Tests that were written for a survivor judge like the others."""


def sql_files() -> list[str]:
    """The files of functions; rows that a new ledger starts with are no function."""
    return sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / SQL).glob("*.sql")
        if path.name != "defaults.sql"
    )


def python_files() -> list[str]:
    """The core of the send path."""
    folders = [*(ROOT / "app/ledger").glob("*.py"), *(ROOT / "app/gateway").glob("*.py")]
    folders += (ROOT / "app/reconcile").glob("*.py")
    folders += [ROOT / f"app/venue/polymarket/answers/{name}.py" for name in _ANSWERS]
    folders += [ROOT / f"workers/worker/{name}.py" for name in _WORKER]
    return sorted(str(path.relative_to(ROOT)) for path in folders if path.name != "__init__.py")


def judges(path: str) -> bool:
    """Whether tests of this file say something about behaviour."""
    name = Path(path).name
    return name.startswith(SURVIVOR_TESTS) or not name.startswith(JUDGES_OF_TEXT)

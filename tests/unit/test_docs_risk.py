"""docs/risk.md names every limit, every refusal and every option, and each control names the tests that show it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.errors import Code
from workers.cli.limit_names import LIMITS, OF_SCOPE, TOTALS, Limit
from workers.docs.words_risk import RISK_CODES, RISK_JOURNAL

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/risk.md").read_text("utf-8")
TABLES = {
    "limits": ROOT / "app/ledger/sql/tables/reference.sql",
    "total_limits": ROOT / "app/ledger/sql/tables/risk.sql",
}
ALSO = (
    *("CAP_OUTCOME", "CAP_MARKET", "BURST_GAP", "BURST_MINUTE", "DEFERRED", "HALTED", "SUSPENDED"),
    *("LOCKED", "MUTEX_LOST", "INSUFFICIENT_COLLATERAL", "INSUFFICIENT_TOKENS", "VENUE_MODE"),
)
"""Refusals by what stood before the risk limits."""


def columns(table: str) -> list[str]:
    """Of the table's file, without the two that say whose the row is."""
    text = TABLES[table].read_text("utf-8").split(f"CREATE TABLE ledger.{table} (", 1)[1]
    found = re.findall(
        r"^    ([a-z_]+) +(?:bigint|integer|boolean|text)", text.split("\n);")[0], re.M
    )
    return found[2:]


def rows() -> list[list[str]]:
    """The cells of every row of every table of the page, heads and rules left out."""
    lines = re.findall(r"^\| (.*) \|$", PAGE, re.MULTILINE)
    cells = [[cell.strip() for cell in line.split(" | ")] for line in lines]
    return [row for row in cells if row[0] not in ("limit", "what", "---")]


@pytest.mark.parametrize("table", TABLES)
def test_every_limit_has_its_row_with_the_option_that_sets_it(table: str) -> None:
    known: dict[str, Limit] = {one.column: one for one in (LIMITS if table == "limits" else TOTALS)}
    assert list(known) == columns(table)
    for column, limit in known.items():
        found = [row for row in rows() if row[0] == f"`{column}`"]
        assert any(f"`--{limit.option}`" in cell for row in found for cell in row), column


def test_every_refusal_and_every_event_is_told() -> None:
    codes = {Code(code) for code in (*RISK_CODES, *ALSO)}
    told = set(re.findall(r"`([A-Z_]+)`", PAGE))
    assert {code.value for code in codes} - told == set()
    assert RISK_JOURNAL.keys() - told == set()
    assert {scope for scope in OF_SCOPE if f"`{scope}`" not in PAGE} == set()


def test_every_refusal_of_the_intent_is_one_of_the_page() -> None:
    """What the judging functions can say, found in their sources."""
    sql = "\n".join(
        (ROOT / f"app/ledger/sql/functions/{name}.sql").read_text("utf-8")
        for name in ("risk", "totals", "books", "breakers")
    )
    said = set(re.findall(r"_refusal\(r\.item,\s*'([A-Z_]+)'", sql))
    assert len(said) > 18
    assert said == set(RISK_CODES)


def test_every_control_names_a_test_that_shows_it() -> None:
    known = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", path.read_text("utf-8"))
    }
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert named - known == set()
    assert len(named) > 50
    silent = [
        row[0] for row in rows() if not re.search(r"`test_\w+`|the same test|\.md\)", row[-1])
    ]
    assert silent == []


def test_the_examples_are_commands_that_can_be_read() -> None:
    lines = re.findall(r"^ledger-worker limits set (.*)$", PAGE, re.MULTILINE)
    assert len(lines) >= 4
    options = {f"--{one.option}" for one in (*LIMITS, *TOTALS)} | {"--account", "--scope", "--why"}
    for line in lines:
        assert set(re.findall(r"--[a-z-]+", line)) <= options, line

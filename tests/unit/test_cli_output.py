"""Tables on a terminal: however narrow it is, no word of a row is cut off or left out."""

from __future__ import annotations

import io
import re

import pytest

from workers.cli import state
from workers.cli.output import Column, counted, field, table

MARKET = "btc-updown-15m-2056370400"
ROW = {
    "order": 17,
    "account": "main",
    "market": MARKET,
    "outcome": "Down",
    "side": "SELL",
    "price": "0.4550",
    "size": "1234.5",
    "matched": "1000.25",
    "type": "GTC",
    "state": "CANCELLED",
    "since": "4d03h",
    "cause": "CANCELED",
    "key": "first-of-the-day",
}
COLUMNS: list[Column] = [(name, field(name)) for name in ROW]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, width: int, columns: list[Column]) -> str:
    state.begin(state.State())
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    table(columns, [ROW], empty="")
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())


@pytest.mark.parametrize("width", [20, 60, 80, 100, 120, 140, 200])
@pytest.mark.parametrize("count", [3, 7, len(ROW)])
def test_a_table_shows_every_word_on_a_terminal_of_any_width(
    monkeypatch: pytest.MonkeyPatch, width: int, count: int
) -> None:
    columns = COLUMNS[:count]
    said = shown(monkeypatch, width, columns)
    short = [str(ROW[name]) for name, _ in columns if len(str(ROW[name])) <= 12]
    for word in (*short, *(name for name, _ in columns)):
        assert re.search(rf"(?<!\S){re.escape(word)}(?!\S)", said), (word, said)
    # a long text may be folded, and then goes on in the lines below
    column = said.splitlines()[0].index("market")
    folded = "".join(line[column:].split("  ")[0].strip() for line in said.splitlines()[1:])
    assert MARKET in said or folded.startswith(MARKET), said


def test_a_wide_terminal_shows_a_row_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(shown(monkeypatch, 200, COLUMNS).splitlines()) == 2


def test_one_is_no_plural() -> None:
    assert [counted(n, "halt") for n in (0, 1, 2)] == ["0 halts", "1 halt", "2 halts"]

"""The examples are run as they stand, against the paper venue."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.tour import tour

pytestmark = pytest.mark.acceptance


def test_the_ten_line_bot_fills_one_order_however_often_it_runs(tmp_path: Path) -> None:
    with tour(tmp_path) as shell:
        for line in (
            "alembic upgrade head",
            "ledger-worker markets import app/markets/sample.json",
            "ledger-worker account open main",
            "ledger-worker account grant main ledger_trader",
        ):
            done = shell.run(line)
            assert done.returncode == 0, f"$ {line}\n{done.stdout}\n{done.stderr}"
        shell.start_worker()
        first = shell.run("python examples/bot.py")
        assert first.returncode == 0, first.stderr
        assert first.stdout.startswith("FILLED"), first.stdout
        again = shell.run("python examples/bot.py")
        assert again.stdout == first.stdout, again.stderr
        orders = json.loads(shell.run("ledger-worker orders --json").stdout)
        assert [order["key"] for order in orders] == ["my-first-order"]


def test_the_bot_is_told_why_it_may_not_trade(tmp_path: Path) -> None:
    with tour(tmp_path) as shell:
        assert shell.run("alembic upgrade head").returncode == 0
        done = shell.run("python examples/bot.py")
        assert done.returncode != 0
        assert "UNKNOWN_ACCOUNT" in done.stderr

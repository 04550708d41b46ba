"""The demo on the simulated Polymarket, as a user starts it: faults of every kind, and the same kills."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.venue.simulator.faults import CATALOGUE
from tests.acceptance.test_demo import BETWEEN, demo, processes_in, told
from tests.support.waiting import wait_until

pytestmark = pytest.mark.acceptance

SEED = 11


@pytest.fixture(name="open_folder")
def _open_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.mark.campaign
def test_under_all_faults_and_kills_nothing_is_lost_doubled_or_over_a_cap(
    open_folder: Path,
) -> None:
    # Keys of a user that must not be read: with them the workers would not be let in.
    users = {"LEDGER_PRIVATE_KEY": "0x" + "11" * 32, "LEDGER_API_KEY": "users", "LEDGER_LIVE": "1"}
    arguments = ("--venue", "polymarket", "--intents", "160", "--seed", str(SEED), "--json")
    with demo(open_folder, *arguments, **users) as process:
        out, _ = process.communicate(timeout=240)
    assert process.returncode == 0, (out, told(open_folder))
    [line] = out.splitlines()
    result: dict[str, Any] = json.loads(line)
    assert (result["duplicates"], result["lost"], result["cap_breaches"]) == (0, 0, 0)
    assert result["audit_ok"] is True
    assert result["compared"][-1] == result["reconciled"] == "clean"
    assert (result["venue"], result["seed"], result["intents"]) == ("polymarket", SEED, 160)
    parts = ("refused", "not_placed", "rejected", "placed")
    assert sum(result[name] for name in parts) == 160
    ends = ("filled", "cancelled", "expired", "open")
    assert sum(result[name] for name in ends) == result["placed"] > 10
    assert result["filled"] > 0
    assert result["kills"] == 5
    assert set(result["killed_at"]) <= set(BETWEEN)
    assert result["writer_kills"] == 4
    assert set(result["faults"]) <= set(CATALOGUE)
    assert len(result["faults"]) > 10
    assert result["seconds"] < 180
    assert processes_in(open_folder) == []


def test_a_demo_on_polymarket_that_is_killed_leaves_no_simulator_behind(open_folder: Path) -> None:
    with demo(open_folder, "--venue", "polymarket", "--json") as process:
        wait_until(
            lambda: "round 1 of" in told(open_folder) or process.poll() is not None,
            "the first round began",
            within_s=60,
        )
        assert process.poll() is None, told(open_folder)
        process.kill()
        process.communicate(timeout=60)
    wait_until(lambda: not processes_in(open_folder), "its children are gone", within_s=30)
    wait_until(lambda: not list(open_folder.glob("ledger-throwaway-*")), "the database is gone")

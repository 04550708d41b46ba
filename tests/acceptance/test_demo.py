"""The demo as a user starts it: real processes, real kills, a database of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import wait_until

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).resolve().parents[2]
BETWEEN = ("prepare.after", "open.after", "send.before", "send.after", "record.after", "anywhere")


@contextmanager
def demo(folder: Path, *arguments: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """The demo, started in ``folder``; everything it makes lies below ``folder`` where it can."""
    with (folder / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "workers.demo", *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)} | env,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            process.communicate()


def told(folder: Path) -> str:
    return (folder / "stderr").read_text()


def processes_in(folder: Path) -> list[int]:
    """Processes whose working directory lies below ``folder``: the demo's writers and workers."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if folder in (entry / "cwd").readlink().parents:
                found.append(int(entry.name))
        except OSError:
            continue  # it ended, or is not ours to look at
    return found


@pytest.fixture(name="open_folder")
def _open_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.mark.slow
def test_the_demo_kills_what_it_can_and_nothing_is_lost_doubled_or_over_a_cap(
    open_folder: Path,
) -> None:
    # Settings of a user that must not be read: their database, their real money.
    (open_folder / ".env").write_text("LEDGER_POLL_MS=nonsense\nLEDGER_VENUE=polymarket\n")
    users = {"LEDGER_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/users", "LEDGER_POLL_MS": "x"}
    with demo(open_folder, "--seed", "11", "--json", **users) as process:
        out, _ = process.communicate(timeout=240)
    assert process.returncode == 0, (out, told(open_folder))
    [line] = out.splitlines()
    result: dict[str, Any] = json.loads(line)
    assert (result["duplicates"], result["lost"], result["cap_breaches"]) == (0, 0, 0)
    assert result["audit_ok"] is True
    assert result["reconciled"] == "clean"
    assert result["intents"] == 400
    parts = ("refused", "not_placed", "rejected", "placed")
    assert sum(result[name] for name in parts) == 400
    ends = ("filled", "cancelled", "expired", "open")
    assert sum(result[name] for name in ends) == result["placed"] > 100
    assert result["filled"] > 20
    assert result["kills"] == 5
    assert set(result["killed_at"]) <= set(BETWEEN)
    assert result["writer_kills"] == 4
    assert result["replays"] > 0
    assert result["key_reused"] > 0
    assert result["unknown"] > 0
    met = {"BURST_GAP", "CAP_MARKET", "HALTED", "SUSPENDED", "INSUFFICIENT_TOKENS", "BAD_PRICE"}
    assert met | {"LOCKED", "INSUFFICIENT_COLLATERAL", "OFF_TICK"} <= set(
        result["refused_by_reason"]
    )
    assert sum(result["refused_by_reason"].values()) == result["refused"]
    assert processes_in(open_folder) == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)]
)
def test_a_demo_that_is_ended_leaves_no_process_behind(
    open_folder: Path, number: signal.Signals, code: int
) -> None:
    with demo(open_folder, "--json") as process:
        wait_until(
            lambda: "round 1 of" in told(open_folder) or process.poll() is not None,
            "the first round began",
            within_s=60,
        )
        assert process.poll() is None, told(open_folder)
        if Path("/proc/self/cwd").exists():
            # one of them may just be on its way from fork to its own program
            wait_until(
                lambda: len(processes_in(open_folder)) >= 9 or process.poll() is not None,
                "eight writers and the worker run",
            )
            assert process.poll() is None, told(open_folder)
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == code
        if code == 130:
            error = json.loads(out)["error"]
            assert error["code"] == "INTERRUPTED"
            assert "its database are gone" in error["not_done"]
        wait_until(lambda: not processes_in(open_folder), "its children are gone", within_s=30)
        wait_until(lambda: not list(open_folder.glob("ledger-throwaway-*")), "the database is gone")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("[]", "none with tokens"),
        ('[{"conditionId": "0x' + "ab" * 32 + '", "question": "?"}]', "none with tokens"),
        ("slug,price\na,1\n", "CSV"),
    ],
)
def test_a_file_without_usable_markets_is_refused_by_name(
    open_folder: Path, content: str, word: str
) -> None:
    file = open_folder / "markets.json"
    file.write_text(content)
    with demo(open_folder, "--markets", str(file), "--json") as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    error = json.loads(out)["error"]
    assert error["code"] == "BAD_FILE"
    assert word in error["wrong"]
    assert str(file) in error["wrong"]
    assert error["next"]
    assert not list(open_folder.glob("ledger-throwaway-*"))

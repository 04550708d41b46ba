"""The cron line of docs/running.md, run as it stands: silent and 0 when clean, else the report and 1 or 2."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli import ROOT, Cli
from tests.support.polymarket_rig import SIGNER, PolymarketRig, pm_fixture

__all__ = ["pm_fixture"]
pytestmark = pytest.mark.acceptance

PAGE = (ROOT / "docs/running.md").read_text("utf-8")
[LINE] = re.findall(r"^```cron\n(.*)\n```$", PAGE, re.MULTILINE)
COMMAND = LINE.split(" ", 5)[5].replace("/srv/ledger", "srv")


def test_the_line_is_one_that_cron_can_read() -> None:
    """To cron a percent sign is the end of the line."""
    assert re.fullmatch(r"(\*|\*/\d+)( \*){4} .+", LINE)
    assert "%" not in LINE


async def run(pm: PolymarketRig, folder: Path) -> subprocess.CompletedProcess[str]:
    given = {f"LEDGER_{name.upper()}": str(value) for name, value in pm.settings().items()}
    env = Cli(pm.database, folder, given).environment()
    env["PATH"] = f"{folder}:{env['PATH']}"
    return await asyncio.to_thread(
        subprocess.run,
        ["/bin/sh", "-c", COMMAND],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )


async def test_the_cron_line_exits_0_when_clean_1_on_drift_2_when_incomplete(
    pm: PolymarketRig,
) -> None:
    folder = pm.folder / "cron"
    (folder / "srv").mkdir(parents=True)
    program = folder / "ledger-worker"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m workers.cli "$@"\n')
    program.chmod(0o755)

    clean = await run(pm, folder)
    assert (clean.returncode, clean.stdout) == (0, ""), clean
    pm.simulator.do("credit", wallet=SIGNER.address, collateral="50", tokens={}, seen=True)
    drift = await run(pm, folder)
    assert drift.returncode == 1, drift
    [account] = json.loads(drift.stdout)["accounts"]
    assert [one["kind"] for one in account["drift"]] == ["collateral_differs"]
    pm.simulator.fault("http_error", endpoint="GET /data/trades", times=0)
    incomplete = await run(pm, folder)
    assert incomplete.returncode == 2, incomplete
    assert json.loads(incomplete.stdout)["result"] == "incomplete"

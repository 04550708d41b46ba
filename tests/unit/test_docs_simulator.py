"""docs/simulator.md names every deed, view, setting and fault of the simulator, and no other."""

from __future__ import annotations

import json
import re
from pathlib import Path

from app.venue.simulator.control import DEEDS
from app.venue.simulator.control_server import VIEWS
from app.venue.simulator.faults import CATALOGUE
from app.venue.simulator.settings import Settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "simulator.md").read_text("utf-8")


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def first_cells(text: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def test_the_faults_are_those_of_the_catalogue() -> None:
    rows = []
    for name, kind in CATALOGUE.items():
        params = ", ".join(f"`{k}` = {json.dumps(v)}" for k, v in kind.params.items())
        cells = (f"`{name}`", kind.stage.value, f"`{kind.where}`", kind.says, params)
        rows.append(f"| {' | '.join(cells)} |")
    found = [line for line in section("Faults").splitlines() if line.startswith("| `")]
    assert found == rows


def test_the_deeds_are_those_of_the_control_endpoint() -> None:
    assert first_cells(section("Control")) == [*DEEDS, "stop"]


def test_the_views_are_those_of_the_control_endpoint() -> None:
    views = section("Control").split("Views, for auditors:")[1]
    assert set(VIEWS) <= set(re.findall(r"`([a-z]+)`", views))


def test_the_settings_are_those_there_are() -> None:
    named = section("Settings").split("`settings`:")[1].split(".\n")[0]
    assert re.findall(r"`([a-z_]+)`", named) == list(Settings().to_json())

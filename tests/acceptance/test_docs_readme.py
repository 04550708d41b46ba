"""README's examples are run as they stand: what is shown there is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.tour import ROOT, console_blocks, tour

pytestmark = pytest.mark.acceptance

README = (ROOT / "README.md").read_text("utf-8")
TESTED_ELSEWHERE = ("make ",)
"""The demo has tests of its own, and this is a part of ``make test``."""


def shown_in(shown: str, printed: str) -> bool:
    """Whether an example's output is what was printed, or a part of it. A line ``...`` leaves lines out."""
    position = 0
    for part in shown.split("\n...\n"):
        found = printed.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    return True


def test_what_is_shown_is_compared_with_what_was_printed() -> None:
    printed = "a\nb 1\nc\n27 checks, all clean\n"
    for right in ("", "a\nb 1", "a\n...\nc", "27 checks, all clean", "a\n...\nc\n27 checks"):
        assert shown_in(right, printed), right
    for wrong in ("a\nc", "c\n...\nb 1", "b 2", "27 checks, 1 red", "42 checks, all clean"):
        assert not shown_in(wrong, printed), wrong


def test_the_console_examples_of_the_readme_work_as_shown(tmp_path: Path) -> None:
    steps = console_blocks(README)
    assert len(steps) > 10
    with tour(tmp_path) as shell:
        for line, shown in steps:
            if line.startswith(TESTED_ELSEWHERE):
                continue
            if line == "ledger-worker start":
                shell.start_worker()
                continue
            done = shell.run(line)
            assert done.returncode == 0, f"$ {line}\n{done.stdout}\n{done.stderr}"
            assert shown_in(shown, done.stdout), f"$ {line}\n{done.stdout}\n{done.stderr}"


def test_the_bot_in_the_readme_is_the_one_in_examples() -> None:
    shown = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert shown == [(ROOT / "examples/bot.py").read_text("utf-8")]

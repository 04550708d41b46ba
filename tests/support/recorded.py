"""Recorded files of the venue, where ``LEDGER_TEST_DATA_DIR`` names a folder of them, and who has read which."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest


class Recorded:
    """The folder. Remembers what was read, so that a test can say that nothing was left out."""

    def __init__(self) -> None:
        self.read: set[str] = set()

    def text(self, name: str) -> str:
        """The file's text; skips the test where there is no folder."""
        path = self._folder() / name
        self.read.add(name)
        return path.read_text("utf-8")

    def load(self, name: str) -> Any:
        return json.loads(self.text(name))

    def lines(self, name: str) -> list[Any]:
        return [json.loads(line) for line in self.text(name).splitlines() if line.strip()]

    def unread(self, *parts: str) -> set[str]:
        """Files of these folders that no test of the process has read."""
        folder = self._folder()
        there = {
            path.relative_to(folder).as_posix()
            for part in parts
            for path in (folder / part).rglob("*")
            if path.is_file()
        }
        assert there, "the folder of recorded data is empty"
        return there - self.read

    @staticmethod
    def _folder() -> Path:
        named = os.environ.get("LEDGER_TEST_DATA_DIR")
        if not named:
            pytest.skip("LEDGER_TEST_DATA_DIR names no folder of recorded data")
        return Path(named)

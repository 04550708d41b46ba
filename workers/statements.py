"""The SQL that modules of this package read with: a file each under ``workers/sql``."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

_SQL: Final = Path(__file__).resolve().parent / "sql"


@cache
def statement(name: str) -> str:
    """The text of ``sql/<name>.sql``."""
    return (_SQL / f"{name}.sql").read_text("utf-8")

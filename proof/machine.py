"""What the figures were taken on, and at which commit."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# What a campaign itself writes: a tree that differs in these alone is the commit's.
OWN = ("proof/report.json", "docs/proof.md", "CHANGELOG.md")


def commit() -> str:
    """The commit under test, ``-dirty`` behind it where the tree differs, ``unknown`` outside a checkout."""
    named = _git("rev-parse", "HEAD")
    if named is None:
        return "unknown"
    changed = [
        line[3:]
        for line in (_git("status", "--porcelain", "--untracked-files=no") or "").splitlines()
    ]
    return named + ("-dirty" if any(name not in OWN for name in changed) else "")


def machine() -> dict[str, Any]:
    """Processor count, memory, system and interpreter; no name of the machine."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.rstrip("\n") if done.returncode == 0 else None

"""An installation as a user meets it first: an embedded server of its own, commands, a worker, all as processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from app.db import embedded
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60


@dataclass
class Tour:
    """A shell in which the project is installed and nothing is configured but where its data lies."""

    home: Path
    folder: Path
    _background: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("LEDGER_")}
        path = f"{self.folder}:{Path(sys.executable).parent}:{kept.get('PATH', '')}"
        return kept | {"PATH": path, "PYTHONPATH": str(ROOT), "LEDGER_DATA_DIR": str(self.home)}

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        """A line as typed into a shell, in the project's folder."""
        return subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def start_worker(self) -> None:
        """``ledger-worker start`` in the background, until it says that it is ready."""
        log = self.folder / "worker.log"
        with log.open("wb") as out:
            worker = subprocess.Popen(
                [str(self.folder / "ledger-worker"), "start"],
                cwd=ROOT,
                env=self.environment,
                stdout=out,
                stderr=out,
            )
        self._background.append(worker)

        def ready() -> bool:
            assert worker.poll() is None, log.read_text()
            return "ACCOUNT_READY" in log.read_text()

        wait_until(ready, "the worker is ready", within_s=DEADLINE_S)

    def end(self) -> None:
        """Stop what runs in the background."""
        for process in self._background:
            process.send_signal(signal.SIGTERM)
        for process in self._background:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def tour(folder: Path) -> Iterator[Tour]:
    """A throw-away server without schema, and a shell for it; ``folder`` is the test's own."""
    program = folder / "ledger-worker"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m workers.cli "$@"\n')
    program.chmod(0o755)
    with embedded.throwaway(fsync=False) as server:
        made = Tour(server.config.home, folder)
        try:
            yield made
        finally:
            made.end()


def console_blocks(markdown: str) -> list[tuple[str, str]]:
    """Commands of the ``console`` blocks of a page, each with the output shown below it."""
    steps: list[tuple[str, str]] = []
    for block in re.findall(r"^```console\n(.*?)^```", markdown, re.DOTALL | re.MULTILINE):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, shown = part.partition("\n")
            steps.append((line, shown.strip()))
    return steps

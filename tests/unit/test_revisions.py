"""Which revisions there are is known without Alembic, and as Alembic knows it."""

from __future__ import annotations

import subprocess
import sys

from alembic.script import ScriptDirectory

from app.db.migrate import alembic_config
from app.db.revisions import head, known_revisions


def test_the_revisions_are_those_that_alembic_finds() -> None:
    scripts = ScriptDirectory.from_config(alembic_config(None))
    assert head() == scripts.get_current_head()
    assert known_revisions() == {script.revision for script in scripts.walk_revisions()}


def test_neither_a_worker_nor_a_bot_loads_alembic_to_know_them() -> None:
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, app, workers.worker.main; print('alembic' in sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == "False"

"""The first steps in the wrong order, and a worker's end: what a new user meets on the embedded server."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.tour import Tour, tour

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module", name="unmade")
def _unmade(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tour]:
    """A server on which nobody ran ``alembic upgrade head``."""
    with tour(tmp_path_factory.mktemp("tour")) as shell:
        yield shell


@pytest.mark.parametrize("command", ["start", "reconcile", "status", "audit", "place", "halt"])
def test_before_a_schema_every_command_names_alembic_and_not_a_password(
    unmade: Tour, command: str
) -> None:
    arguments = {
        "place": "--market m --outcome Up --side BUY --price 0.5 --size 10 --key k",
        "halt": "global --why x",
    }
    done = unmade.run(f"ledger-worker --json {command} {arguments.get(command, '')}")
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"]) == (2, "SCHEMA_MISSING"), done
    assert error["next"] == "run: alembic upgrade head"
    assert "password" not in done.stdout + done.stderr


def test_before_a_schema_the_doctor_names_alembic_and_not_a_password(unmade: Tour) -> None:
    done = unmade.run("ledger-worker --json doctor")
    checks = json.loads(done.stdout)["checks"]
    failed = [one["detail"] for one in checks if one["result"] == "fail"]
    assert done.returncode == 1
    assert any("alembic upgrade head" in detail for detail in failed), failed
    assert not any("password" in detail for detail in failed), failed


def test_another_prefix_than_the_schemas_is_named_and_not_a_password(unmade: Tour) -> None:
    assert unmade.run("alembic upgrade head").returncode == 0
    for command in ("status", "start"):
        done = unmade.run(f"LEDGER_ROLE_PREFIX=other_ ledger-worker --json {command}")
        error = json.loads(done.stdout)["error"]
        assert (done.returncode, error["code"]) == (2, "BAD_SETTING"), done
        assert "LEDGER_ROLE_PREFIX" in error["wrong"]


@pytest.mark.parametrize("command", ["ledger-worker status", "alembic upgrade head"])
def test_a_setting_that_is_not_text_is_named_without_its_value(unmade: Tour, command: str) -> None:
    done = unmade.run(f"LEDGER_DATABASE_URL=$(printf 'postgresql://u:s3cr3t\\377@h/d') {command}")
    assert done.returncode == 2
    assert done.stderr.startswith("BAD_SETTING: LEDGER_DATABASE_URL is not UTF-8 text"), done
    assert "s3cr3t" not in done.stderr


def test_a_file_of_settings_that_is_not_text_is_named(unmade: Tour) -> None:
    done = unmade.run(
        f"cd {unmade.folder} && printf 'LEDGER_ACCOUNT=\\377' > .env && ledger-worker status"
    )
    (unmade.folder / ".env").unlink()
    assert done.returncode == 2
    assert done.stderr.startswith("BAD_SETTING: the file .env is not UTF-8 text"), done

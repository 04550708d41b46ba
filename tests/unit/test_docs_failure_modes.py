"""The page that is read at night: every event, code, condition and command that it names exists."""

from __future__ import annotations

import contextlib
import re
import shlex

import pytest
import typer
from typer.main import get_command

from app.errors import Code
from app.markets.changes import ChangeKind
from app.venue.polymarket.answers.rules import RULES
from app.venue.polymarket.answers.verdicts import Mode
from workers.cli.main import app
from workers.docs.events import journal_events, log_calls
from workers.docs.pages import ROOT
from workers.docs.sources import modules, sql_functions
from workers.worker.polymarket_host import LASTS_MS

PAGES = ("docs/failure-modes.md", "docs/running.md")
CODE_OF = {page: (ROOT / page).read_text("utf-8") for page in PAGES}
FAILURES = CODE_OF["docs/failure-modes.md"]


def in_backticks(page: str) -> list[str]:
    text = re.sub(r"^```.*?^```", "", CODE_OF[page], flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", text)


def known_words() -> set[str]:
    """Log events, journal events, codes, conditions, and the words before the colon of a halt's reason."""
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "app/ledger/sql").rglob("*.sql"))
    source += "\n".join(path.read_text("utf-8") for path in (ROOT / "workers").rglob("*.py"))
    events = {call.event for name, tree in modules(ROOT) for call in log_calls(name, tree)}
    outcomes = set(
        re.findall(r"`([A-Z][A-Z_0-9]+)`", (ROOT / "docs/outcomes.md").read_text("utf-8"))
    )
    halts = set(re.findall(r"'([A-Z][A-Z_]+): ", source)) | {
        f"{kind}_DIFFERS" for kind in ("COLLATERAL", "POSITION")
    }
    states = set(re.findall(r"'([A-Z][A-Z_]+)'", source))
    codes = {code.value for code in Code} | {rule.code for rule in RULES}
    kinds = {kind.value for kind in ChangeKind} | {mode.value for mode in Mode}
    return events | set(journal_events(ROOT)) | outcomes | halts | states | codes | kinds


@pytest.mark.parametrize("page", PAGES)
def test_every_event_code_and_condition_that_is_named_exists(page: str) -> None:
    named = {one for one in in_backticks(page) if re.fullmatch(r"[A-Z][A-Z0-9_]{3,}", one)}
    known = known_words() | {"SIGHUP", "SIGTERM", "SIGKILL"}
    assert {one for one in named - known if not one.startswith(("LEDGER_", "HTTP_"))} == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_is_named_can_be_typed(page: str) -> None:
    lines = [one for one in in_backticks(page) if one.startswith("ledger-worker ")]
    blocks = "\n".join(re.findall(r"^```.*?\n(.*?)^```", CODE_OF[page], re.DOTALL | re.MULTILINE))
    lines += re.findall(r"^\$ (ledger-worker [^\n#]*)", blocks, re.MULTILINE)
    assert len(lines) > 5
    for line in lines:
        words = ["1" if word == "N" else word for word in shlex.split(line)[1:]]
        command = get_command(app)
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
        assert not getattr(command, "commands", {}) or command.invoke_without_command, line  # type: ignore[attr-defined]
        if not words:
            continue  # the name alone, in a sentence
        # Parses, and so has each option with a value that fits; nothing is carried out.
        with contextlib.suppress(typer.Exit):
            command.make_context("ledger-worker", list(words))


def test_every_function_by_which_an_outcome_is_recorded_exists() -> None:
    recorded = set(re.findall(r"`((?:mark|acknowledge|reject|hold)[a-z_]*)`", FAILURES))
    assert recorded >= {"mark_unknown", "mark_seen", "reject"}
    known = {name.removeprefix("ledger.") for name, _ in sql_functions(ROOT)}
    assert recorded - known == set()


def test_every_condition_of_the_venue_has_its_row_and_its_end() -> None:
    rows = set(re.findall(r"^\| `([A-Z_]+)` \|", FAILURES, re.MULTILINE))
    assert {mode.value for mode in Mode} | {"BLIND_STREAM", "HEARTBEAT_LOST"} == rows
    # A rate limit is a pause of its bucket, which ends by the bucket's own time.
    conditions = set(Mode) - {Mode.RATE_LIMITED}
    looked_at = {Mode.GEOBLOCKED, Mode.CLOSED_ONLY, Mode.BAD_CREDENTIALS, Mode.ORDER_VERSION}
    assert set(LASTS_MS) | looked_at == conditions


def test_every_error_in_the_log_has_its_place_on_the_page() -> None:
    """What is logged as an error is for a person, who looks here."""
    errors = {
        call.event
        for name, tree in modules(ROOT)
        for call in log_calls(name, tree)
        if call.level == "error" and not name.startswith("workers.demo")
    }
    assert len(errors) > 10
    assert {one for one in errors if f"`{one}`" not in FAILURES} == set()


def test_a_word_that_nothing_knows_would_be_noticed() -> None:
    assert "NO_SUCH_EVENT" not in known_words()
    assert {"FATE_UNKNOWN", "FOREIGN_ORDER", "DUPLICATED", "NEG_RISK_ON"} <= known_words()

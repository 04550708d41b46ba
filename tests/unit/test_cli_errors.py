"""Errors of the command line: what they say, where they say it, and what they never say."""

from __future__ import annotations

import json

import pytest

from app.db.revisions import head
from app.errors import BadInput, Code, DatabaseProblem, Refused
from workers.cli import errors, main, state
from workers.cli.connect import newest_revision
from workers.cli.output import age, clean, text


@pytest.fixture(autouse=True)
def _invocation() -> None:
    state.begin(state.State())


def test_a_refusal_of_the_ledger_is_told_in_decimals() -> None:
    answer = {"code": "CAP_MARKET", "detail": "2500000 share micros are left under the cap"}
    error = errors.refusal(answer, "nothing was reserved")
    assert isinstance(error, Refused)
    assert error.wrong == "2.5 shares are left under the cap"
    tick = {"code": "OFF_TICK", "detail": "price_micros must be a multiple of the tick 2500"}
    assert errors.refusal(tick, "").wrong == "the price must be a multiple of the tick 0.0025"


def test_numbers_that_are_no_amounts_stay_as_they_are() -> None:
    detail = "the last order was admitted less than 2000 ms ago"
    assert errors.in_decimals(Code.BURST_GAP, detail) == detail


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused(Code.HALTED, "x"), 1),
        (BadInput(Code.STALE_VERSION, "x"), 1),
        (BadInput(Code.BAD_PRICE, "x"), 2),
        (DatabaseProblem(Code.DATABASE_UNREACHABLE, "x"), 2),
    ],
)
def test_the_exit_code_tells_an_answer_from_a_failure(
    error: Refused | BadInput | DatabaseProblem, code: int
) -> None:
    assert errors.show_error(error) == code


def test_one_sentence_of_the_ledger_is_parted_into_what_was_wrong_and_not_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    errors.show_error(BadInput(Code.BAD_REQUEST, "a halt needs a reason; nothing was halted"))
    assert capsys.readouterr().err.splitlines() == [
        "BAD_REQUEST: a halt needs a reason",
        "  not done: nothing was halted",
        "  next: correct it; ledger-worker COMMAND --help shows what it takes",
    ]


@pytest.mark.parametrize("code", list(Code))
def test_an_error_of_every_code_has_a_next_step(
    code: Code, capsys: pytest.CaptureFixture[str]
) -> None:
    errors.show_error(Refused(code, "x"))
    assert "\n  next: " in capsys.readouterr().err


def test_an_unexpected_error_shows_an_id_and_a_place_and_none_of_its_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("s3cr3t-word")

    monkeypatch.setattr("workers.cli.main.app", fail)
    assert main.run(["status", "--json"]) == 2
    said = capsys.readouterr()
    error = json.loads(said.out)["error"]
    assert error["code"] == "UNEXPECTED"
    assert error["id"] in error["wrong"]
    assert "KeyError" in error["wrong"]
    assert "s3cr3t" not in said.out + said.err
    assert main.run(["status", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_has_its_own_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("workers.cli.main.app", interrupt)
    assert main.run(["status"]) == 130


def test_the_quick_look_at_the_newest_revision_agrees_with_alembic() -> None:
    assert newest_revision() == head()


def test_text_of_others_cannot_move_the_cursor() -> None:
    assert clean("a\x1b[2Jb\rc\u202ed") == "a?[2Jb?c?d"


def test_values_are_shown_as_a_person_reads_them() -> None:
    assert [text(one) for one in (None, True, ["a", None], 5)] == ["", "yes", "a, ", "5"]
    assert [age(s) for s in (None, 0, 59, 61, 3_600, 90_000)] == [
        *("", "0s", "59s", "1m01s", "1h00m", "1d01h")
    ]

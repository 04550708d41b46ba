"""Exit codes, and errors in the two forms a reader may want: a line for people, JSON for programs."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Mapping
from typing import Any, Final

import typer

from app.errors import BadInput, Code, LedgerError, Refused
from app.money import format_micros
from workers.cli.next_steps import NEXT
from workers.cli.output import note, write_json
from workers.cli.state import state
from workers.cli.values import NOTHING

DONE: Final = 0
REFUSED: Final = 1
"""Well understood and answered with no: a refusal, drift found, an audit that is red."""
COULD_NOT: Final = 2
"""Bad input, misuse, or something around us failed; the answer is not known or was never sought."""
INTERRUPTED: Final = 130

CLICK_ERROR: Final[type[Exception]] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)
"""What Typer raises for a command line it cannot read. Newer releases carry Click inside, so the
class has no public address of its own.
"""

_BAD_INPUT: Final = frozenset(
    {
        *(Code.BAD_REQUEST, Code.BAD_NUMBER, Code.BAD_PRICE, Code.OFF_TICK, Code.BAD_SIZE),
        *(Code.BELOW_MINIMUM, Code.BAD_KEY, Code.BAD_VALIDITY, Code.UNKNOWN_ACCOUNT),
        *(Code.UNKNOWN_MARKET, Code.UNKNOWN_OUTCOME, Code.UNKNOWN_ORDER, Code.UNKNOWN_ROLE),
        *(Code.NOT_TRADABLE, Code.NOT_GRANTED, Code.OVER_ALLOCATED),
    }
)
"""Answers of the ledger that the same command will get again: exit code 2 and not 1."""

_IN_MICROS: Final = frozenset(
    {
        *(Code.BAD_PRICE, Code.OFF_TICK, Code.BAD_SIZE, Code.BELOW_MINIMUM, Code.CAP_OUTCOME),
        *(Code.CAP_MARKET, Code.INSUFFICIENT_COLLATERAL, Code.INSUFFICIENT_TOKENS),
        *(Code.ORDER_SIZE, Code.ORDER_COST, Code.IMBALANCE, Code.COLLAR, Code.WOULD_CROSS),
        *(Code.CAP_MARKET_COST, Code.CAP_ACCOUNT, Code.OVER_ALLOCATED),
    }
)
"""Refusals whose only numbers are micros."""


def refusal(answer: Mapping[str, Any], not_done: str) -> LedgerError:
    """The error behind an answer ``{"status": "refused", "code", "detail"}`` of the ledger."""
    code = Code(answer["code"])
    kind = BadInput if code in _BAD_INPUT else Refused
    wrong = in_decimals(code, str(answer["detail"]))
    return kind(code, wrong, not_done=not_done, next_step=NEXT[code])


def in_decimals(code: Code, detail: str) -> str:
    """The ledger speaks in micros, a person in decimals."""
    if code not in _IN_MICROS:
        return detail
    detail = detail.replace("share micros", "shares").replace("collateral micros", "collateral")
    detail = detail.replace("price_micros", "the price").replace("size_micros", "the size")
    detail = re.sub(r"\d+", lambda number: format_micros(int(number[0])), detail)
    detail = detail.replace("must be a whole number between", "must lie between")
    return re.sub(r"a positive whole number of .*", "positive, with at most two decimals", detail)


NOTHING_DONE: Final = "nothing was read or changed"


def show_error(error: LedgerError) -> int:
    """Tell it, and return the exit code."""
    wrong, not_done = _parted(error)
    if error.code in _NAMES and " " not in wrong:  # the ledger says the name alone
        wrong = f"there is no {_NAMES[error.code]} {wrong}"
    if not not_done:  # bad input is refused before anything is written
        not_done = NOTHING if isinstance(error, BadInput) else "how far it came is not known"
    _show(str(error.code), wrong, not_done, error.next_step or NEXT[error.code])
    return REFUSED if isinstance(error, Refused) or error.code == Code.STALE_VERSION else COULD_NOT


_NAMES: Final = {
    Code.UNKNOWN_ACCOUNT: "account",
    Code.UNKNOWN_MARKET: "market",
    Code.UNKNOWN_OUTCOME: "outcome",
    Code.UNKNOWN_ROLE: "role",
}


def _parted(error: LedgerError) -> tuple[str, str]:
    """What was wrong and what was not done; functions of the ledger say both in one sentence."""
    wrong = error.wrong.partition("\nHINT:")[0].partition("\nDETAIL:")[0]
    match = re.fullmatch(r"(.+)[;.] (nothing was [a-z]+)", wrong, re.DOTALL | re.IGNORECASE)
    if match is None:
        return wrong, error.not_done
    return match[1], error.not_done or match[2].lower()


def show_usage(error: Exception) -> int:
    """A command line that Typer could not read."""
    said = str(getattr(error, "format_message", error.__str__)())
    if type(error).__name__ == "NoArgsIsHelpError":  # then what it says is the whole help
        if not state().as_json:
            sys.stderr.write(said + "\n")
            return COULD_NOT
        said = "no command was given"
    said = said.replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "ledger-worker"
    _show(str(Code.BAD_REQUEST), said, NOTHING_DONE, f"see {path} --help")
    return COULD_NOT


def show_interrupted(
    not_done: str = "how far it came is not known; what was committed stands",
    next_step: str = "see ledger-worker status and orders; what has a key can be repeated with the "
    "same key",
) -> int:
    """Ctrl-C before the answer was there. What was asked for may be done all the same."""
    state().interrupt_told = True
    _show("INTERRUPTED", "interrupted before the answer was there", not_done, next_step)
    return INTERRUPTED


def show_unexpected(error: Exception) -> int:
    """One line with an id and a place. No text of the error: it may quote what must stay secret."""
    from app.clock import SystemRng

    error_id = f"{SystemRng().bits(48):012x}"
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else ""
    if state().debug:
        traceback.print_exception(error, file=sys.stderr)
    _show(
        "UNEXPECTED",
        f"an error of the program itself: {type(error).__name__}{place} (error id {error_id})",
        "how far it came is not known; what was committed stands",
        "see ledger-worker status, then repeat with --debug for the traceback",
        id=error_id,
    )
    return COULD_NOT


def _as_clause(said: str) -> str:
    """Some parts of the project speak in sentences; behind "not done:" a clause reads better."""
    said = said.removesuffix(".")
    return said[:1].lower() + said[1:] if said[1:2].islower() else said


def _show(code: str, wrong: str, not_done: str, next_step: str, **more: str) -> None:
    not_done, next_step = _as_clause(not_done), _as_clause(next_step)
    if state().as_json:
        parts = {"code": code, "wrong": wrong, "not_done": not_done, "next": next_step, **more}
        write_json({"error": parts})
        return
    lines = [f"{code}: {wrong}"]
    lines += [f"  not done: {not_done}"] if not_done else []
    lines += [f"  next: {next_step}"] if next_step else []
    for line in lines:
        note(line)

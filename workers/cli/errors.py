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
        *(Code.UNKNOWN_MARKET, Code.UNKNOWN_OUTCOME, Code.UNKNOWN_ORDER, Code.NOT_TRADABLE),
        Code.NOT_GRANTED,
    }
)
"""Answers of the ledger that the same command will get again: exit code 2 and not 1."""

_IN_MICROS: Final = frozenset(
    {
        *(Code.BAD_PRICE, Code.OFF_TICK, Code.BAD_SIZE, Code.BELOW_MINIMUM, Code.CAP_OUTCOME),
        *(Code.CAP_MARKET, Code.INSUFFICIENT_COLLATERAL, Code.INSUFFICIENT_TOKENS),
    }
)
"""Refusals whose only numbers are micros."""

_NEXT: Final[dict[Code, str]] = {
    Code.OFF_TICK: "round the price to the tick; ledger-worker markets list shows it",
    Code.BAD_PRICE: "give a price above 0 and below 1 on the market's tick",
    Code.BAD_SIZE: "give a size in shares above 0 with at most two decimals",
    Code.BELOW_MINIMUM: "give a larger size; ledger-worker markets list shows the minimum",
    Code.BAD_KEY: "give a key of 1 to 200 bytes, the same whenever this intent is repeated",
    Code.BAD_VALIDITY: "give --valid-for from 1ms to 24h, and --expires-at with --type GTD alone",
    Code.UNKNOWN_MARKET: "import it first: ledger-worker markets import FILE",
    Code.UNKNOWN_OUTCOME: "name one of the outcomes that ledger-worker markets list shows",
    Code.UNKNOWN_ORDER: "ledger-worker orders shows the numbers",
    Code.NOT_TRADABLE: "ledger-worker markets list shows why; choose another market",
    Code.NOT_GRANTED: "let an operator run: ledger-worker account grant ACCOUNT ROLE",
    Code.KEY_REUSED: "use a new key for a new intent",
    Code.HALTED: "see ledger-worker status; an operator ends it with ledger-worker resume",
    Code.SUSPENDED: "wait until it ends; ledger-worker status shows when and why",
    Code.CAP_OUTCOME: "ask for less, give --clamp, or see ledger-worker limits",
    Code.CAP_MARKET: "ask for less, give --clamp, or see ledger-worker limits",
    Code.BURST_GAP: "wait for the gap of ledger-worker limits, then repeat with the same key",
    Code.BURST_MINUTE: "wait until a minute has passed, then repeat with the same key",
    Code.INSUFFICIENT_COLLATERAL: "ask for less; ledger-worker balances shows what is available",
    Code.INSUFFICIENT_TOKENS: "ask for less; only confirmed tokens can be sold",
    Code.LOCKED: "repeat with the same key once the evaluation has ended",
    Code.BUSY: "repeat with the same key",
    Code.UNKNOWN_ACCOUNT: "ledger-worker account list shows the names",
    Code.ILLEGAL_TRANSITION: "ledger-worker order show tells what became of it",
    Code.NOT_PROVEN: "give it the evidence it lacks, or resolve it as another state",
    Code.ALREADY_ENDED: "place a new order",
}


def refusal(answer: Mapping[str, Any], not_done: str) -> LedgerError:
    """The error behind an answer ``{"status": "refused", "code", "detail"}`` of the ledger."""
    code = Code(answer["code"])
    kind = BadInput if code in _BAD_INPUT else Refused
    wrong = in_decimals(code, str(answer["detail"]))
    return kind(code, wrong, not_done=not_done, next_step=_NEXT.get(code, ""))


def in_decimals(code: Code, detail: str) -> str:
    """The ledger speaks in micros, a person in decimals."""
    if code not in _IN_MICROS:
        return detail
    detail = detail.replace("share micros", "shares")
    detail = detail.replace("price_micros", "the price").replace("size_micros", "the size")
    detail = re.sub(r"\d+", lambda number: format_micros(int(number[0])), detail)
    detail = detail.replace("must be a whole number between", "must lie between")
    return re.sub(r"a positive whole number of .*", "positive, with at most two decimals", detail)


def not_in_this_release(what: str, comes_with: str) -> LedgerError:
    """For a command that exists so that scripts find the same words later."""
    return LedgerError(
        Code.BAD_REQUEST,
        f"{what} is not part of this release: it comes with {comes_with}",
        not_done=NOTHING_DONE,
        next_step="see CHANGELOG.md for what this release holds",
    )


NOTHING_DONE: Final = "nothing was read or changed"


def show_error(error: LedgerError) -> int:
    """Tell it, and return the exit code."""
    wrong, not_done = _parted(error)
    if error.code in _NAMES and " " not in wrong:  # the ledger says the name alone
        wrong = f"there is no {_NAMES[error.code]} {wrong}"
    if isinstance(error, BadInput) and not not_done:
        not_done = NOTHING  # it is refused before anything is written
    _show(str(error.code), wrong, not_done, error.next_step or _NEXT.get(error.code, ""))
    return REFUSED if isinstance(error, Refused) or error.code == Code.STALE_VERSION else COULD_NOT


_NAMES: Final = {
    Code.UNKNOWN_ACCOUNT: "account",
    Code.UNKNOWN_MARKET: "market",
    Code.UNKNOWN_OUTCOME: "outcome",
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


def _show(code: str, wrong: str, not_done: str, next_step: str, **more: str) -> None:
    if state().as_json:
        parts = {"code": code, "wrong": wrong, "not_done": not_done, "next": next_step, **more}
        write_json({"error": parts})
        return
    lines = [f"{code}: {wrong}"]
    lines += [f"  not done: {not_done}"] if not_done else []
    lines += [f"  next: {next_step}"] if next_step else []
    for line in lines:
        note(line)

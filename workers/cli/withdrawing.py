"""``withdraw``: collateral leaves an account as a durable saga, which a running worker carries on.

Starting asks for it under a key, so that it can be repeated; everything else looks, or is the word of a
person where the saga waits for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from app.errors import BadInput, Code, DatabaseProblem, LedgerError
from workers.cli.asking import Person
from workers.cli.connect import check_filters, read, with_ledger
from workers.cli.errors import COULD_NOT, DONE, INTERRUPTED, REFUSED, refusal
from workers.cli.output import (
    Column,
    age,
    counted,
    decimal,
    emit,
    field,
    micros,
    note,
    pairs,
    say,
    table,
)
from workers.cli.people import Operator, operator_name
from workers.cli.state import Json, state
from workers.cli.values import parse_duration_ms
from workers.cli.waiting import until_withdrawn

if TYPE_CHECKING:
    from app.ledger.calls import LedgerCalls

_NOT_STARTED: Final = "nothing was started and no money moves"
_UNCHANGED: Final = "nothing was changed"


class Word(StrEnum):
    """What a person may say of a withdrawal that waits."""

    DONE = "done"
    FAILED = "failed"
    CONTINUE = "continue"


Number = Annotated[int, typer.Argument(metavar="NUMBER", min=1, max=2**62)]
Why = Annotated[str, typer.Option("--why", help="The reason, for the journal.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
    group.callback()(withdrawals)
    group.command("start")(start)
    group.command("list")(list_withdrawals)
    group.command("show")(show)
    group.command("cancel")(cancel)
    group.command("resolve")(resolve)
    app.add_typer(
        group, name="withdraw", help="Move collateral out: start, list, show, cancel, resolve."
    )


def withdrawals(context: typer.Context, as_json: Json = False) -> None:
    """List withdrawals under way."""
    if context.invoked_subcommand is None:
        _list(None, everything=False)


def start(
    amount: Annotated[str, typer.Option("--amount", help="Collateral, such as 100 or 12.5.")],
    to: Annotated[str, typer.Option("--to", help="Address of the wallet it goes to (0x...).")],
    key: Annotated[
        str, typer.Option("--key", help="Idempotency key: the same key gets the same withdrawal.")
    ],
    why: Why,
    account: Annotated[
        str | None, typer.Option("--account", help="Default: LEDGER_ACCOUNT.")
    ] = None,
    drain_within: Annotated[
        str, typer.Option("--drain-within", help="A person is called if orders stay open longer.")
    ] = "2m",
    alarm_after: Annotated[
        str, typer.Option("--alarm-after", help="A person is called if the rest takes longer.")
    ] = "10m",
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask, also where the money is real.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until it has ended or waits for a person.")
    ] = False,
    timeout: Annotated[
        str, typer.Option("--timeout", help="How long --wait waits; then exit 2.")
    ] = "10m",
    operator: Operator = None,
    as_json: Json = False,
) -> None:
    """Pause an account, cancel its orders, and transfer collateral. Safe to repeat with the same key.

    Exit code 0 also for a replay; 1 if it was refused, or with --wait if the money did not leave; 2 if the
    command cannot be right or the time ran out.
    """
    name = account or state().settings.account
    wish = _wish(amount, to, key, why)
    drain_ms = _patience(drain_within, "--drain-within")
    alarm_ms = _patience(alarm_after, "--alarm-after")
    timeout_ms = parse_duration_ms(timeout, what="--timeout")
    if not yes:
        _ask(name, wish)

    async def work(calls: LedgerCalls) -> dict[str, Any]:
        answer: dict[str, Any] = await calls.value(
            "start_withdrawal",
            name,
            wish["amount_micros"],
            wish["destination"],
            key,
            why,
            operator_name(operator),
            drain_ms,
            alarm_ms,
        )
        if answer["status"] == "refused":
            raise _refused(answer, _NOT_STARTED)
        return {**answer, **wish, "account": name}

    answer = with_ledger("risk", work)
    if not wait:
        answer["workers_running"] = _workers_running()
    else:
        try:
            answer = {**answer, **_wait(answer["withdrawal_id"], timeout_ms)}
        except KeyboardInterrupt:
            raise typer.Exit(_interrupted(answer)) from None
    emit(answer, lambda: _show_started(answer))
    raise typer.Exit(_code_after(answer) if wait else DONE)


def _wish(amount: str, to: str, key: str, why: str) -> dict[str, Any]:
    from app.money import parse_micros
    from app.venue.polymarket.encoding import parse_address

    micros_ = parse_micros(amount, what="--amount")
    code, wrong = Code.BAD_REQUEST, ""
    if micros_ <= 0:
        wrong = "--amount is not above zero"
    elif not why.strip():
        wrong = "--why is empty"
    elif not 1 <= len(key.encode()) <= 200:
        code, wrong = Code.BAD_KEY, "--key is not 1 to 200 bytes"
    if wrong:
        raise BadInput(
            code,
            wrong,
            not_done=_NOT_STARTED,
            next_step="correct it; ledger-worker withdraw start --help shows what it takes",
        )
    # Mixed case that fails its checksum is a mistyped address: the money would be nobody's.
    address = parse_address(to, what="--to")
    return {"amount_micros": micros_, "destination": f"0x{address:040x}"}


def _patience(text: str, what: str) -> int:
    patience_ms = parse_duration_ms(text, what=what)
    if not 1_000 <= patience_ms <= 86_400_000:
        raise BadInput(
            Code.BAD_VALIDITY,
            f"{what} is {text.strip()}, and a person is called after 1 s to 24 h",
            not_done=_NOT_STARTED,
            next_step=f"give {what} from 1s to 24h",
        )
    return patience_ms


def _workers_running() -> int | None:
    """None where the login may not look."""

    async def work(calls: LedgerCalls) -> int | None:
        try:
            return sum(bool(row["alive"]) for row in await read(calls, "status_workers"))
        except DatabaseProblem as problem:
            if problem.code != Code.DATABASE_PRIVILEGE:
                raise
            return None

    return with_ledger("worker", work)


def _ask(name: str, wish: Mapping[str, Any]) -> None:
    async def work(calls: LedgerCalls) -> bool:
        try:
            found = await read(calls, "account_venue", name)
        except DatabaseProblem as problem:
            if problem.code != Code.DATABASE_PRIVILEGE:
                raise
            return True  # a login of risk alone may not look: then it might be real
        # An account that is not there is refused in a moment, and nothing moves.
        return any(row["venue"] != "paper" for row in found)

    if not with_ledger("worker", work):
        return
    asked = (
        f"{decimal(wish['amount_micros'])} of collateral leave {name} for {wish['destination']}."
    )
    if not Person().agrees(asked + " All of its orders are cancelled before."):
        raise BadInput(
            Code.BAD_REQUEST,
            "nobody agreed",
            not_done=_NOT_STARTED,
            next_step="type yes, or give --yes",
        )


def _wait(number: int, timeout_ms: int) -> dict[str, Any]:
    def tell(row: Mapping[str, Any]) -> None:
        note(f"withdrawal {number}: {row['state']}{_open(row)}")

    async def work(calls: LedgerCalls) -> dict[str, Any]:
        row, waited = await until_withdrawn(calls, number, timeout_ms, tell)
        return {"state": row["state"], "waited": waited, "withdrawal": row}

    return with_ledger("worker", work, patience_s=timeout_ms / 1000 + 30)


def _interrupted(answer: Mapping[str, Any]) -> int:
    number = answer["withdrawal_id"]
    not_done = f"nothing was cancelled: withdrawal {number} goes on"
    next_step = (
        f"ledger-worker withdraw show {number}; withdraw cancel {number} while nothing was sent"
    )
    told = {**answer, "waited": "interrupted", "not_done": not_done, "next": next_step}

    def tell() -> None:
        _show_started(answer)
        note(f"interrupted; {not_done}")

    emit(told, tell)
    state().interrupt_told = True
    return INTERRUPTED


def _open(row: Mapping[str, Any]) -> str:
    return f", {counted(row['open_orders'], 'order')} open" if row["open_orders"] else ""


def _code_after(answer: Mapping[str, Any]) -> int:
    if answer["waited"] == "timed_out":
        return COULD_NOT
    return DONE if answer["state"] == "DONE" else REFUSED


def _show_started(answer: Mapping[str, Any]) -> None:
    number = answer["withdrawal_id"]
    again = ", as it was asked before" if answer["replay"] else ""
    say(f"withdrawal {number} of {decimal(answer['amount_micros'])}: {answer['state']}{again}")
    row = answer.get("withdrawal")
    if row is None:
        _show_carrier(answer)
    elif row["needs_person"]:
        _show_waits(row)
    elif row["unattended"]:
        say(_UNATTENDED)
    note(f"  next: ledger-worker withdraw show {number}")


_CARRIER: Final = "a worker that serves the account and has what a transfer needs"
"""docs/withdrawals.md says what that is."""
_UNATTENDED: Final = f"no worker takes it up: it waits for {_CARRIER}"


def _show_carrier(answer: Mapping[str, Any]) -> None:
    """Who carries it on, as far as it is known: which worker can is seen only when one does."""
    if "waited" in answer or answer["state"] in ("DONE", "COMPENSATED", "CANCELLED"):
        return
    running = answer["workers_running"]
    if running == 0:
        say(f"no worker is running: it stays {answer['state']} until one is started")
    else:
        say(f"it is carried on by {_CARRIER}")
        if running is not None:
            say(
                f"{counted(running, 'worker')} running; whether one takes it up is seen in a moment"
            )


def _show_waits(row: Mapping[str, Any]) -> None:
    say(f"it waits for a person: {row['needs_person_why']}; the account stays paused")
    note(f"  next: {_after(row)}")


def _after(row: Mapping[str, Any]) -> str:
    number = row["withdrawal_id"]
    if row["state"] in ("UNKNOWN", "SENDING"):
        return (
            f"look at the wallet, then: ledger-worker withdraw resolve {number} --as done|failed"
            ' --why "..."'
        )
    if row["state"] == "FAILED":
        return f'ledger-worker withdraw resolve {number} --as failed --why "..."'
    return f"ledger-worker withdraw resolve {number} --as continue, or withdraw cancel {number}"


def list_withdrawals(
    everything: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
    account: Annotated[str | None, typer.Option("--account", help="Only of this one.")] = None,
    as_json: Json = False,
) -> None:
    """List withdrawals, newest first."""
    _list(account, everything=everything)


def _list(account: str | None, *, everything: bool) -> None:
    async def work(calls: LedgerCalls) -> list[dict[str, Any]]:
        await check_filters(calls, account, None)
        return await read(calls, "withdrawals", None, account, everything)

    rows = with_ledger("worker", work)
    empty = "no withdrawals" if everything else "no withdrawal is under way"
    emit(rows, lambda: table(WITHDRAWALS, rows, empty=empty))


def _waits_for(row: Mapping[str, Any]) -> str:
    if row["needs_person"]:
        return f"a person: {row['needs_person_why']}"
    return "a worker that can carry it on" if row["unattended"] else ""


WITHDRAWALS: Final[list[Column]] = [
    ("no", field("withdrawal_id")),
    ("account", field("account")),
    ("amount", micros("amount_micros")),
    ("to", field("destination")),
    ("state", field("state")),
    ("for", lambda row: age(row["age_s"])),
    ("waits for", _waits_for),
]


def show(number: Number, as_json: Json = False) -> None:
    """Show one withdrawal with everything that happened to it."""

    async def work(calls: LedgerCalls) -> dict[str, Any]:
        found = await read(calls, "withdrawals", number, None, True)
        if not found:
            raise BadInput(
                Code.BAD_REQUEST,
                f"there is no withdrawal {number}",
                not_done="nothing was read",
                next_step="ledger-worker withdraw list --all shows all of them",
            )
        return found[0] | {"history": await read(calls, "withdrawal_history", number)}

    row = with_ledger("worker", work)
    emit(row, lambda: _show(row))


def _show(row: Mapping[str, Any]) -> None:
    pairs(
        ("amount", decimal(row[name])) if name == "amount_micros" else (name, row[name])
        for name in row
        if name not in ("history", "age_s")
    )
    say()
    table(_HISTORY, row["history"], empty="nothing happened yet")
    if row["needs_person"]:
        _show_waits(row)
    elif row["unattended"]:
        say(_UNATTENDED)


_HISTORY = [("at", field("at")), ("what", field("what")), ("detail", field("detail"))]


def cancel(number: Number, why: Why, operator: Operator = None, as_json: Json = False) -> None:
    """End a withdrawal before its transfer. A debit is given back, the account trades again."""
    _check_why(why, "a reason for the journal")

    async def work(calls: LedgerCalls) -> dict[str, Any]:
        return _answered(
            await calls.value("cancel_withdrawal", number, why, operator_name(operator))
        )

    answer = with_ledger("risk", work)
    emit(answer, lambda: say(f"withdrawal {number}: {answer['state']}"))


def resolve(
    number: Number,
    word: Annotated[
        Word,
        typer.Option("--as", help="done: the money left; failed: it did not; continue: go on."),
    ],
    why: Annotated[str, typer.Option("--why", help="What you have seen, for the journal.")],
    operator: Operator = None,
    as_json: Json = False,
) -> None:
    """Say what became of a withdrawal that waits. Look at the wallet first: failed gives the money back, and done
    is final (what was wrong about it can only be set right with balances book).
    """
    _check_why(why, "what you have seen")

    async def work(calls: LedgerCalls) -> dict[str, Any]:
        return _answered(
            await calls.value(
                "resolve_withdrawal", number, word.value, why, operator_name(operator)
            )
        )

    answer = with_ledger("risk", work)
    emit(answer, lambda: say(f"withdrawal {number}: {answer['state']}"))


def _check_why(why: str, what: str) -> None:
    if not why.strip():
        raise BadInput(
            Code.BAD_REQUEST,
            "--why is empty",
            not_done=_UNCHANGED,
            next_step=f"give {what} with --why",
        )


def _answered(answer: dict[str, Any]) -> dict[str, Any]:
    if answer["status"] == "refused":
        raise _refused(answer, _UNCHANGED)
    return answer


_NEXT: Final = {
    Code.KEY_REUSED: "use a new key for another withdrawal",
    Code.BUSY: "wait for its end, or cancel it; ledger-worker withdraw shows it",
    Code.ILLEGAL_TRANSITION: "ledger-worker withdraw show tells where it stands",
    Code.NOT_PROVEN: "wait until no copy can arrive any more; ledger-worker withdraw show says when",
    Code.ALREADY_ENDED: "ledger-worker withdraw show tells how it ended; if that is wrong, balances book corrects it",
}
"""What helps with a withdrawal, where the same code speaks of orders elsewhere."""


def _refused(answer: Mapping[str, Any], not_done: str) -> LedgerError:
    error = refusal(answer, not_done)
    error.next_step = _NEXT.get(error.code, error.next_step)
    return error

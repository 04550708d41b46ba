"""Intents from the shell: ``place``, ``cancel``, ``replace``.

The ledger decides in one commit; what is printed is its answer. The key makes repeating safe: the
same command again is answered with the first order, so a script may retry whatever it did not see.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from app.errors import BadInput, Code
from workers.cli.connect import read, with_ledger
from workers.cli.errors import REFUSED, refusal
from workers.cli.output import decimal, emit, note, say
from workers.cli.references import order_numbers
from workers.cli.state import Json, state
from workers.cli.values import parse_duration_ms, parse_instant_s
from workers.cli.waiting import (
    exit_code_after,
    nobody_sends,
    show_interrupted_wait,
    until_known,
    until_replaced,
)

if TYPE_CHECKING:
    from app.ledger.calls import LedgerCalls


class Side(StrEnum):
    """Of an order."""

    BUY = "BUY"
    SELL = "SELL"


class OrderType(StrEnum):
    """How long an order stands."""

    GTC = "GTC"
    GTD = "GTD"
    FOK = "FOK"
    FAK = "FAK"


class OrderClass(StrEnum):
    """What an order is for. All but entries pass a blocked lane."""

    ENTRY = "entry"
    HEDGE = "hedge"
    MICRO_HEDGE = "micro_hedge"
    UNWIND = "unwind"
    EMERGENCY = "emergency"


_NOT_RESERVED: Final = "nothing was reserved and nothing will be sent"

Account = Annotated[str | None, typer.Option("--account", help="Default: LEDGER_ACCOUNT.")]
Price = Annotated[str, typer.Option("--price", help="Limit price, such as 0.45.")]
Size = Annotated[str, typer.Option("--size", help="Shares, such as 10 or 12.5.")]
Key = Annotated[
    str, typer.Option("--key", help="Idempotency key: the same key gets the same order.")
]
PostOnly = Annotated[bool, typer.Option("--post-only", help="Refuse to take liquidity.")]
ValidFor = Annotated[str, typer.Option("--valid-for", help="Not sent later than this from now.")]
ExpiresAt = Annotated[
    str | None,
    typer.Option("--expires-at", help="With --type GTD: Unix seconds, or 2030-01-31T12:00:00Z."),
]
Wait = Annotated[
    bool, typer.Option("--wait", help="Until it stands at the venue or has ended (exit 1 if not).")
]
Timeout = Annotated[str, typer.Option("--timeout", help="How long --wait waits; then exit 2.")]
Why = Annotated[str, typer.Option("--why", help="The reason, for the journal.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("place")(place)
    app.command("cancel")(cancel)
    app.command("replace")(replace)


def place(
    market: Annotated[str, typer.Option("--market", help="Condition id or slug.")],
    outcome: Annotated[str, typer.Option("--outcome", help="Label, index or token id.")],
    side: Annotated[Side, typer.Option("--side", case_sensitive=False)],
    price: Price,
    size: Size,
    key: Key,
    order_type: Annotated[OrderType, typer.Option("--type", case_sensitive=False)] = OrderType.GTC,
    post_only: PostOnly = False,
    valid_for: ValidFor = "30s",
    expires_at: ExpiresAt = None,
    clamp: Annotated[
        bool,
        typer.Option(
            "--clamp",
            help="Take less where a cap leaves less; post-only: move a price that crosses.",
        ),
    ] = False,
    account: Account = None,
    order_class: Annotated[OrderClass, typer.Option("--class")] = OrderClass.ENTRY,
    wait: Wait = False,
    timeout: Timeout = "30s",
    as_json: Json = False,
) -> None:
    """Reserve an order; a running worker sends it. Repeating with the same key is safe.

    Exit code 0 also for a replay, 1 if the ledger refused it, 2 if the command cannot be right.
    """
    request = {
        "account": account or state().settings.account,
        "market": market,
        "outcome": outcome,
        "side": side.value,
        "post_only": post_only,
        "class": order_class.value,
        "clamp": clamp,
        "key": key,
        **_terms(price, size, order_type, valid_for, expires_at),
    }
    timeout_ms = parse_duration_ms(timeout, what="--timeout")
    reserved: dict[str, Any] = {}

    async def work(calls: LedgerCalls) -> dict[str, Any]:
        (answer,) = await calls.items("reserve_pending", [request])
        if answer["status"] == "refused":
            raise _placing_refused(answer, str(request["account"]))
        answer.pop("item")
        answer = {**answer, "account": request["account"], "key": key}
        if answer["status"] == "asked":  # the key of a replacement
            return answer
        answer["asked_price_micros"] = request["price_micros"]
        answer["not_sent_why"] = await nobody_sends(calls, answer)
        if answer["not_sent_why"] and not state().as_json:
            # Before any waiting: with nobody to send it, waiting is all that would happen.
            note(f"{answer['not_sent_why']} It waits, at most as long as it is valid.")
        reserved.update(answer)
        await read(calls, "wake")
        if wait:
            answer["order"], answer["waited"] = await until_known(
                calls, answer["order_id"], timeout_ms
            )
        return answer

    try:
        answer = with_ledger("worker", work)
    except KeyboardInterrupt:
        if not reserved:
            raise
        number = reserved["order_id"]
        code = show_interrupted_wait(reserved, number, f"order {number}", _show_placed)
        raise typer.Exit(code) from None
    emit(answer, lambda: _show_placed(answer))
    raise typer.Exit(exit_code_after(answer))


def cancel(
    orders: Annotated[
        list[str] | None, typer.Argument(metavar="[ORDER]...", help="Numbers or venue ids.")
    ] = None,
    market: Annotated[str | None, typer.Option("--market", help="All orders of a market.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All orders of the account.")] = False,
    account: Account = None,
    why: Why = "operator",
    as_json: Json = False,
) -> None:
    """Cancel orders: what was never sent ends at once, the rest is asked of the venue until a
    read proves its end.
    """
    if sum((bool(orders), market is not None, everything)) != 1:
        raise BadInput(
            Code.BAD_REQUEST,
            "name orders, or --market, or --all: one of them",
            not_done="nothing was cancelled",
            next_step="see ledger-worker cancel --help",
        )

    async def work(calls: LedgerCalls) -> list[dict[str, Any]]:
        if orders:
            numbers = await order_numbers(calls, orders)
            items = [{"order_id": number, "reason": why} for number in numbers]
            return await calls.items("request_cancel", items)
        return await _cancel_all(calls, account or state().settings.account, market, why)

    answers = with_ledger("worker", work)
    for answer in answers:
        answer.pop("item")
    refused = [answer for answer in answers if answer["status"] == "refused"]
    if refused and len(answers) == 1:
        raise refusal(refused[0], "nothing was cancelled")
    emit(answers, lambda: _show_cancelled(answers))
    if refused:
        raise typer.Exit(REFUSED)


async def _cancel_all(
    calls: LedgerCalls, account: str, market: str | None, why: str
) -> list[dict[str, Any]]:
    """Ask again until nothing is left: one call takes at most 500."""
    found: dict[int, dict[str, Any]] = {}
    while True:
        answers = await calls.value("request_cancel_all", account, market, why)
        new = {a["order_id"]: a for a in answers if a["status"] == "ok"}
        if not new.keys() - found.keys():
            return list(found.values())
        found |= new


def replace(
    order: Annotated[str, typer.Argument(metavar="ORDER", help="Number or venue id.")],
    price: Price,
    size: Size,
    key: Key,
    order_type: Annotated[
        OrderType | None,
        typer.Option("--type", case_sensitive=False, help="Default: the old one's."),
    ] = None,
    post_only: Annotated[
        bool | None, typer.Option("--post-only/--no-post-only", help="Default: the old one's.")
    ] = None,
    valid_for: ValidFor = "30s",
    expires_at: ExpiresAt = None,
    wait: Wait = False,
    timeout: Timeout = "30s",
    as_json: Json = False,
) -> None:
    """Cancel an order and reserve another in its place, once the old one's end is proven.

    The new size is reduced by what the old order fills meanwhile. There are never two at once.
    """
    timeout_ms = parse_duration_ms(timeout, what="--timeout")
    parsed = _terms(price, size, order_type or OrderType.GTC, valid_for, expires_at)
    asked: dict[str, Any] = {}

    async def work(calls: LedgerCalls) -> dict[str, Any]:
        (number,) = await order_numbers(calls, [order])
        old = await _order(calls, number)
        request = {
            **{name: old[name] for name in ("account", "market", "side", "class")},
            **parsed,
            "outcome": str(old["outcome"]),
            "order_type": order_type.value if order_type else old["order_type"],
            "post_only": old["post_only"] if post_only is None else post_only,
            "key": key,
        }
        answer = await calls.value("replace_order", number, request)
        if answer["status"] == "refused":
            raise refusal(answer, "nothing was changed")
        answer.pop("item", None)
        asked.update(answer, key=key, old_order_id=number)
        known, waited = await until_replaced(calls, old["account"], key, timeout_ms if wait else 0)
        answer = {**answer, **known, "key": key}
        asked.update(known)
        if wait:
            answer["waited"] = waited
        if known.get("state") == "refused":
            raise _replacement_refused(known)
        if wait and known.get("new_order_id"):
            answer["order"], answer["waited"] = await until_known(
                calls, known["new_order_id"], timeout_ms
            )
        return answer

    try:
        answer = with_ledger("worker", work)
    except KeyboardInterrupt:
        if not asked:
            raise
        shown = asked.get("new_order_id") or asked["old_order_id"]
        code = show_interrupted_wait(asked, shown, "the replacement", _show_replaced)
        raise typer.Exit(code) from None
    emit(answer, lambda: _show_replaced(answer))
    raise typer.Exit(exit_code_after(answer))


async def _order(calls: LedgerCalls, number: int) -> dict[str, Any]:
    found = await calls.value("get_orders", (number,))
    if not found:
        answer = {"code": Code.UNKNOWN_ORDER, "detail": f"there is no order {number}"}
        raise refusal(answer, "nothing was changed")
    order: dict[str, Any] = found[0]
    return order


def _terms(
    price: str, size: str, order_type: OrderType, valid_for: str, expires_at: str | None
) -> dict[str, Any]:
    """The numbers of a request, exact. What they may be is for the ledger to say."""
    from app.money import parse_micros

    try:
        terms = {
            "price_micros": parse_micros(price, what="--price"),
            "size_micros": parse_micros(size, what="--size"),
            "order_type": order_type.value,
            "valid_for_ms": parse_duration_ms(valid_for, what="--valid-for"),
        }
        if expires_at is not None:
            terms["expires_at_s"] = parse_instant_s(expires_at, what="--expires-at")
    except BadInput as error:
        error.not_done = _NOT_RESERVED
        raise
    return terms


def _placing_refused(answer: Mapping[str, Any], account: str) -> Exception:
    error = refusal(answer, _NOT_RESERVED)
    if error.code == Code.UNKNOWN_ACCOUNT:
        venue = state().settings.venue
        error.wrong = f"there is no account {account!r}"
        error.next_step = f"open it: ledger-worker account open {account} --venue {venue}"
    return error


def _replacement_refused(known: Mapping[str, Any]) -> Exception:
    error = refusal({"code": known["code"], "detail": ""}, "no new order was reserved")
    old = known["old_order_id"]
    error.wrong = f"the old order {old} was ended, and the new one was not admitted"
    return error


def _show_placed(answer: Mapping[str, Any]) -> None:
    if answer["status"] == "asked":
        say(f"replay: the key belongs to replacement {answer['replacement_id']}")
        return
    notes = ["replay: this key was admitted before"] if answer["replay"] else []
    notes += ["clamped to what the cap leaves"] if answer["clamped"] else []
    if answer.get("asked_price_micros", answer["price_micros"]) != answer["price_micros"]:
        notes.append(f"moved to {decimal(answer['price_micros'])}, where it does not cross")
    if answer.get("duplicate_of"):
        notes.append(f"the same as order {answer['duplicate_of']} of a moment ago")
    said = f"order {answer['order_id']}: {decimal(answer['size_micros'])} shares reserved"
    say(said + (f" ({'; '.join(notes)})" if notes else ""))
    _show_waited(answer)


def _show_waited(answer: Mapping[str, Any]) -> None:
    if "order" in answer:
        order = answer["order"]
        told = order["cause"].upper() in ("", order["state"])
        cause = "" if told else f" ({order['cause']})"
        say(f"{order['state']}{cause}, {decimal(order['matched_micros'])} matched")
    if answer.get("waited") == "timed_out":
        note("Its fate is not known yet. It stays reserved; see ledger-worker order show.")


def _show_cancelled(answers: list[dict[str, Any]]) -> None:
    if not answers:
        say("no order stands there")
    for answer in answers:
        if answer["status"] == "refused":
            say(str(refusal(answer, "not cancelled")))
        else:
            say(f"order {answer['order_id']}: {_cancel_words(answer['state'])}")


def _cancel_words(order_state: str) -> str:
    if order_state == "NOT_PLACED":
        return "NOT_PLACED, nothing of it is at the venue"
    if order_state in ("FILLED", "CANCELLED", "EXPIRED", "REJECTED"):
        return f"{order_state}, it has ended already"
    return f"{order_state}, its cancel is queued"


def _show_replaced(answer: Mapping[str, Any]) -> None:
    replay = " (replay: this key was used before)" if answer.get("replay") else ""
    say(f"replacement {answer['replacement_id']}: {answer.get('state', 'waiting')}{replay}")
    if answer.get("new_order_id"):
        say(f"new order {answer['new_order_id']}")
    _show_waited(answer)

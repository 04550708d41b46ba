"""``--wait``: looks again until it is known what became of an order, or the patience ends, or a person
interrupts. None of these touches the order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from app.clock import Ports
from app.errors import Code, DatabaseProblem
from workers.cli.connect import read
from workers.cli.errors import COULD_NOT, DONE, INTERRUPTED, REFUSED
from workers.cli.output import emit, note
from workers.cli.state import state

if TYPE_CHECKING:
    from app.ledger.calls import LedgerCalls

T = TypeVar("T")

_PAUSE_S: Final = 0.05
_AT_THE_VENUE: Final = ("LIVE", "DELAYED")
_NEVER_PLACED: Final = ("REJECTED", "NOT_PLACED")


async def nobody_sends(calls: LedgerCalls, answer: Mapping[str, Any]) -> str:
    """Why a fresh intent will not leave now as far as workers go, or empty. A login that may not look at
    workers (a bot's) is not told.
    """
    if answer.get("replay"):
        return ""
    try:
        workers = await read(calls, "status_workers")
    except DatabaseProblem as problem:
        if problem.code != Code.DATABASE_PRIVILEGE:
            raise
        return ""
    if any(one["ready"] for one in workers):
        return ""
    alive = [one for one in workers if one["alive"]]
    if not workers:
        return "No worker has been seen for a day: nothing is sent until ledger-worker start."
    if not alive:
        return "No worker is running: nothing is sent until ledger-worker start."
    return f"No worker is ready ({alive[0]['not_ready_why']}): nothing is sent until one is."


async def until_known(
    calls: LedgerCalls, order_id: int, timeout_ms: int
) -> tuple[dict[str, Any], str]:
    """The order once it stands at the venue or has ended, with ``known`` or ``timed_out``."""

    async def look() -> dict[str, Any]:
        found: list[dict[str, Any]] = await calls.value("get_orders", (order_id,))
        return found[0]

    return await _poll(look, lambda o: o["ended"] or o["state"] in _AT_THE_VENUE, timeout_ms)


async def until_replaced(
    calls: LedgerCalls, account: str, key: str, timeout_ms: int
) -> tuple[dict[str, Any], str]:
    """The replacement behind a key once it has ended, with ``known`` or ``timed_out``."""

    async def look() -> dict[str, Any]:
        found: dict[str, Any] = await calls.value("find_by_key", account, key)
        return found

    return await _poll(look, lambda found: found["state"] != "waiting", timeout_ms)


async def until_withdrawn(
    calls: LedgerCalls,
    number: int,
    timeout_ms: int,
    tell: Callable[[Mapping[str, Any]], None],
) -> tuple[dict[str, Any], str]:
    """The withdrawal once it has ended or waits for a person, with ``known`` or ``timed_out``; each state is told."""
    told: list[str] = []

    async def look() -> dict[str, Any]:
        (found,) = await read(calls, "withdrawals", number, None, True)
        if found["state"] not in told[-1:]:
            told.append(found["state"])
            tell(found)
        return found

    return await _poll(look, lambda found: found["ended"] or found["needs_person"], timeout_ms)


async def _poll(
    look: Callable[[], Awaitable[T]], known: Callable[[T], bool], timeout_ms: int
) -> tuple[T, str]:
    clock = Ports.system().clock
    deadline = clock.monotonic_ns() + timeout_ms * 1_000_000
    while True:
        found = await look()
        if known(found):
            return found, "known"
        if clock.monotonic_ns() >= deadline:
            return found, "timed_out"
        await clock.sleep(_PAUSE_S)


def show_interrupted_wait(
    answer: Mapping[str, Any], order_id: int, what: str, show: Callable[[Mapping[str, Any]], None]
) -> int:
    """The answer that was already there, and what an interrupt did not do. Returns the exit code."""
    not_done = f"nothing was cancelled: {what} stands"
    next_step = f"ledger-worker order show {order_id}; ledger-worker cancel {order_id} ends it"
    told = {**answer, "waited": "interrupted", "not_done": not_done, "next": next_step}

    def tell() -> None:
        show(answer)
        note(f"interrupted; {not_done}")
        note(f"  next: {next_step}")

    emit(told, tell)
    state().interrupt_told = True
    return INTERRUPTED


def exit_code_after(answer: Mapping[str, Any]) -> int:
    """Of a command that may have waited."""
    if answer.get("waited") == "timed_out":
        return COULD_NOT
    order = answer.get("order")
    return REFUSED if order is not None and order["state"] in _NEVER_PLACED else DONE

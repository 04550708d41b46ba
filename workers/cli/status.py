"""``status``: everything a person must know before trusting the rest, on one page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from workers.cli.breakers import BREAKERS
from workers.cli.connect import read, with_ledger
from workers.cli.mending import FOREIGN, LANES
from workers.cli.output import Column, age, counted, decimal, emit, field, say, table
from workers.cli.state import Json
from workers.cli.withdrawing import WITHDRAWALS

if TYPE_CHECKING:
    from app.ledger.calls import LedgerCalls

_READS: Final = {
    "halts": "status_halts",
    "suspensions": "status_suspended",
    "unresolved": "status_unresolved",
    "lanes": "lanes",
    "workers": "status_workers",
    "reconcile": "status_reconcile",
    "venue": "status_venue",
    "oldest_snapshot": "status_horizon",
}


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("status")(status)


def status(
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=10_000, help="Exposure rows shown.")
    ] = 20,
    as_json: Json = False,
) -> None:
    """Halts, unknown orders, withdrawals under way, blocked lanes, what waits, workers, exposure against caps."""

    async def work(calls: LedgerCalls) -> dict[str, Any]:
        found: dict[str, Any] = {key: await read(calls, name) for key, name in _READS.items()}
        (found["counts"],) = await read(calls, "status_counts")
        found["foreign_orders"] = await read(calls, "foreign_orders", None)
        found["exposure"] = await read(calls, "exposure", limit)
        breakers = await read(calls, "breakers", None, False)
        found["withdrawals"] = await read(calls, "withdrawals", None, None, False)
        found["breakers"] = [row for row in breakers if row["state"] != "closed"]
        return found

    found = with_ledger("worker", work)
    emit(found, lambda: _show(found))


def _show(found: dict[str, Any]) -> None:
    counts = found["counts"]
    say(_trading(found))
    standing = counts["orders_standing"]
    say(
        f"{standing} {'order stands' if standing == 1 else 'orders stand'}; outbox: "
        f"{counts['outbox_ready']} ready, {counts['outbox_claimed']} in hand, "
        f"{counts['outbox_blocked']} blocked, {counts['outbox_dead']} dead"
    )
    say(
        f"{counted(counts['cancels_due'], 'cancel')} due, "
        f"{counted(counts['events_waiting'], 'venue event')} waiting, "
        f"{counted(counts['dead_letters'], 'dead letter')}, "
        f"{counted(counts['foreign_orders'], 'foreign order')}"
    )
    # Somebody's snapshot is always the oldest: on the page only where it is too old.
    old = [row for row in found["oldest_snapshot"] if row["too_old"]]
    for title, columns in _SECTIONS.items():
        rows = old if title == "oldest_snapshot" else found[title]
        if rows or title in _ALWAYS:
            say()
            say(title.replace("_", " "))
            table(columns, rows, empty="  none")


def _trading(found: dict[str, Any]) -> str:
    ready = sum(row["ready"] and row["alive"] for row in found["workers"])
    if any(row["scope"] == "global" for row in found["halts"]):
        return "trading is halted everywhere"
    count = len(found["halts"])
    halted = f", {count} {'halt stands' if count == 1 else 'halts stand'}" if count else ""
    if not ready:
        return f"no worker is ready: nothing is sent{halted}"
    return f"{ready} {'worker is' if ready == 1 else 'workers are'} ready{halted}"


def _market(row: Any) -> object:
    return row["slug"] or row["market"]


def _scope(row: Any) -> str:
    if row["scope"] == "global":
        return "global"
    empty = " (no market known)" if row["group_markets"] == 0 else ""
    return f"{row['scope']}:{row['name']}{empty}"


def _of_cap(used: int, cap: int | None) -> str:
    return f"{decimal(used)} of {decimal(cap)}" if cap is not None else decimal(used)


_ALWAYS: Final = ("halts", "unresolved", "workers")
_SECTIONS: Final[dict[str, list[Column]]] = {
    "halts": [
        ("scope", _scope),
        ("version", field("version")),
        ("age", lambda row: age(row["age_s"])),
        ("by", lambda row: row["set_as"] or row["set_by"]),
        ("why", field("why")),
    ],
    "suspensions": [
        ("account", field("account")),
        ("market", _market),
        ("ends in", lambda row: age(row["ends_in_s"])),
        ("why", field("why")),
    ],
    "breakers": BREAKERS,
    "withdrawals": WITHDRAWALS,
    "unresolved": [
        ("order", field("order_id")),
        ("account", field("account")),
        ("market", _market),
        ("state", field("state")),
        ("age", lambda row: age(row["age_s"])),
        ("attempts", field("attempts")),
        ("cause", field("cause")),
    ],
    "lanes": LANES,
    "foreign_orders": FOREIGN,
    "workers": [
        ("worker", field("name")),
        ("incarnation", lambda row: str(row["incarnation"])[:8]),
        ("version", field("version")),
        ("ready", field("ready")),
        ("seen", lambda row: f"{age(row['seen_s_ago'])} ago"),
        ("why not", field("not_ready_why")),
    ],
    "reconcile": [
        ("account", field("account")),
        ("last run", lambda row: row["result"] or "never"),
        ("kind", field("kind")),
        ("age", lambda row: age(row["age_s"])),
        ("drift", lambda row: row["drift"] or ""),
    ],
    "venue": [
        ("account", field("account")),
        ("condition", field("mode")),
        ("stands", field("standing")),
        ("gates", lambda row: row["gates"] if row["standing"] else ""),
        ("until", field("until")),
        ("seen", lambda row: f"{age(row['seen_s_ago'])} ago" if row["seen_at"] else "never"),
        ("detail", field("detail")),
    ],
    "oldest_snapshot": [
        ("kind", field("kind")),
        ("whose", field("subject")),
        ("login", field("login")),
        ("application", field("application")),
        ("state", field("state")),
        ("age", lambda row: age(None if row["age_ms"] is None else row["age_ms"] // 1000)),
        ("transactions since", field("transactions")),
    ],
    "exposure": [
        ("account", field("account")),
        ("market", _market),
        ("outcome 0", lambda row: _of_cap(row["outcome_0_micros"], row["max_outcome_micros"])),
        ("outcome 1", lambda row: _of_cap(row["outcome_1_micros"], row["max_outcome_micros"])),
        ("market total", lambda row: _of_cap(row["market_micros"], row["max_market_micros"])),
    ],
}

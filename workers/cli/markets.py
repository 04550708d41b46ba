"""Markets: from a file into the ledger, and what the ledger knows of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.errors import BadInput, Code
from workers.cli import connect
from workers.cli.book import book
from workers.cli.connect import check_filters, read, with_ledger
from workers.cli.errors import DONE, REFUSED
from workers.cli.output import Row, emit, field, micros, note, progress, say, table
from workers.cli.state import Json, state

if TYPE_CHECKING:
    from app.ledger.calls import LedgerCalls
    from app.markets.files import ImportReport
    from app.markets.sync import Wanted


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    group.command("import")(import_file)
    group.command("list")(list_markets)
    group.command("sync")(sync)
    group.command("book")(book)
    app.add_typer(group, name="markets", help="Import from a file, sync with the venue, list.")


def import_file(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="What Gamma's API returned; gzip too.")
    ] = None,
    sample: Annotated[bool, typer.Option("--sample", help="The sample that is shipped.")] = False,
    as_json: Json = False,
) -> None:
    """Read markets from Gamma JSON: one object, an array, JSON lines, an envelope.

    What can be read goes in with one commit; what cannot is named and left out.

    A market that lacks what trading needs is stored as not tradable, with the reason.
    """
    from app.markets.files import read_markets, sample_path
    from app.markets.model import rows_of

    if (file is None) != sample:
        raise BadInput(
            Code.BAD_REQUEST,
            "name a file, or --sample: one of them",
            not_done="no market was taken",
            next_step="see ledger-worker markets import --help",
        )
    path = file or sample_path()
    with progress(f"reading {path.name}"):
        report = read_markets(path)
    stored = {"created": 0, "updated": 0, "tradable": 0, "ended": 0}
    if report.markets:

        async def work(calls: LedgerCalls) -> dict[str, int]:
            with progress(f"storing {len(report.markets)} markets"):
                done: dict[str, int] = await calls.value("import_markets", rows_of(report.markets))
            ids = [one.condition_id for one in report.markets]
            (count,) = await read(calls, "import_count", ids)
            return done | count

        stored = with_ledger("worker", work, patience_s=connect.LONG_PATIENCE_S)
    summary = _summary(path, report, stored)
    emit(summary, lambda: _show_import(summary))


def _summary(path: Path, report: ImportReport, stored: dict[str, int]) -> dict[str, Any]:
    reasons = Counter(reason for one in report.markets for reason in one.untradable_reasons)
    return {
        "file": str(path),
        "markets": len(report.markets),
        "tradable": stored["tradable"],
        "ended": stored["ended"],
        "created": stored["created"],
        "updated": stored["updated"],
        "objects_seen": report.objects_seen,
        "duplicates": report.duplicates,
        "other_objects": report.other_objects,
        "unreadable": [{"where": one.where, "reason": one.reason} for one in report.unreadable],
        "untradable_reasons": dict(reasons.most_common()),
    }


def _show_import(done: dict[str, Any]) -> None:
    if not done["objects_seen"]:
        say(f"{done['file']} holds no markets ({done['other_objects']} other objects)")
        return
    say(
        f"{done['markets']} markets from {done['file']}: {done['created']} new, "
        f"{done['updated']} updated, {done['tradable']} tradable now"
        + (f", {done['ended']} ended" if done["ended"] else "")
    )
    for reason, count in done["untradable_reasons"].items():
        say(f"  not tradable: {reason} ({count})")
    for one in done["unreadable"][:20]:
        note(f"  not read: {one['where']}: {one['reason']}")
    if len(done["unreadable"]) > 20:
        note(f"  and {len(done['unreadable']) - 20} more that could not be read")


def list_markets(
    market: Annotated[str | None, typer.Option("--market", help="Condition id or slug.")] = None,
    tradable: Annotated[
        bool, typer.Option("--tradable", help="Only those that trade now.")
    ] = False,
    search: Annotated[
        str | None, typer.Option("--search", help="Part of slug or question.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000)] = 100,
    as_json: Json = False,
) -> None:
    """List markets with their tick, minimum size and outcomes."""

    async def work(calls: LedgerCalls) -> list[dict[str, Any]]:
        await check_filters(calls, None, market)
        return await read(calls, "markets", market, tradable, search, limit)

    rows = with_ledger("worker", work)
    emit(rows, lambda: table(_COLUMNS, rows, empty="no markets; see ledger-worker markets import"))


def _trades(row: Row) -> str:
    if not row["tradable"]:
        return "no: " + ", ".join(row["untradable_reasons"])
    return "no: its window ended" if row["window_ended"] else "yes"


_COLUMNS = [
    ("market", lambda row: row["slug"] or row["market"]),
    ("outcomes", field("outcomes")),
    ("tick", micros("tick_micros")),
    ("minimum", micros("min_size_micros")),
    ("fee rate", micros("fee_rate_micros")),
    ("neg risk", field("neg_risk")),
    ("ends", field("window_end")),
    ("tradable", _trades),
    ("question", field("question")),
]


def sync(
    tag: Annotated[str, typer.Option("--tag", help="Id or slug of a tag.")] = "",
    event: Annotated[
        list[str] | None, typer.Option("--event", help="Id or slug of an event; repeat for more.")
    ] = None,
    slug: Annotated[
        list[str] | None,
        typer.Option("--slug", help="Slug or condition id of a market; repeat for more."),
    ] = None,
    closed: Annotated[bool, typer.Option("--closed", help="Closed ones as well.")] = False,
    active: Annotated[bool, typer.Option("--active", help="Only those said to be active.")] = False,
    as_json: Json = False,
) -> None:
    """Fetch markets from the venue; without a filter all that are open, which takes minutes.

    What turned neg-risk is halted, as the worker's refresher does. Exit code 1 if the listing was not
    read to its end; what was read is stored all the same.
    """
    from app.clock import Ports
    from app.observe import logs
    from workers.markets_sync import sync_from_venue

    settings, ports = state().settings, Ports.system()
    wanted = _wanted(tag, event or (), slug or (), closed=closed, active=active)
    logs.configure(ports.clock, level="warning", style=settings.log_format)

    async def work(calls: LedgerCalls) -> dict[str, Any]:
        return await sync_from_venue(calls, settings, ports, wanted)

    with progress(f"reading markets from {settings.polymarket_gamma_url}"):
        summary = with_ledger("worker", work, patience_s=connect.LONG_PATIENCE_S)
    emit(summary, lambda: _show_sync(summary))
    raise typer.Exit(DONE if summary["ok"] else REFUSED)


def _wanted(
    tag: str, events: Sequence[str], markets: Sequence[str], *, closed: bool, active: bool
) -> Wanted:
    from app.markets.gamma import normal_condition
    from app.markets.sync import Wanted

    if "" in (*events, *markets):
        raise BadInput(
            Code.BAD_REQUEST,
            "an empty name is no event and no market",
            not_done="nothing was read",
            next_step="leave the option away to read everything",
        )
    ids = {one for one in events if one.isascii() and one.isdigit()}
    conditions = {one: found for one in markets if (found := normal_condition(one)) is not None}
    wanted = Wanted(
        tag=tag,
        event_ids=tuple(one for one in events if one in ids),
        event_slugs=tuple(one for one in events if one not in ids),
        market_slugs=tuple(one for one in markets if one not in conditions),
        condition_ids=tuple(conditions.values()),
        closed=None if closed else False,
        active=True if active else None,
    )
    wanted.queries()  # says what does not go together, before anything is connected
    return wanted


def _show_sync(done: dict[str, Any]) -> None:
    say(
        f"{done['markets']} markets: {done['created']} new, {done['updated']} updated, "
        f"{done['unchanged']} as they were, {done['tradable']} tradable"
    )
    for reason, count in done["untradable_reasons"].items():
        say(f"  not tradable: {reason} ({count})")
    if done["halted"]:
        say(f"  halted: {done['halted']} that turned neg-risk; {done['cancels']} cancels asked for")
    for one in done["unreadable"][:20]:
        note(f"  not read: {one['where']}: {one['reason']}")
    for why in done["why"]:
        note(f"{done['state']}: {why}")

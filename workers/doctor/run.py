"""Puts the doctor together from the settings: real transports, real sockets, the real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from app.clock import Ports
from app.config import Settings
from app.db.connect import open_pool
from app.errors import DatabaseProblem, LedgerError
from app.ledger.calls import LedgerCalls
from app.secrets import SecretSet, open_source
from app.venue.polymarket.asking import Asker, Host
from app.venue.polymarket.official import OfficialApprovals
from app.venue.polymarket.sockets import connector
from app.venue.polymarket.transport import Identity, Timeouts, Transport
from workers.doctor import own
from workers.doctor.examine import Subject, examine
from workers.doctor.findings import Finding, fail
from workers.doctor.live import Consent, LiveTest, Report
from workers.doctor.live_desk import find_order, working
from workers.doctor.live_plan import Unsuitable


def look_around(settings: Settings, database_url: str | None) -> list[Finding]:
    """Every check. ``database_url``: a login of the worker or the auditor, None where there is no database.

    Blocks, runs an event loop of its own, and changes nothing anywhere.
    """
    keys, held = _keys(settings)
    return asyncio.run(_look(settings, database_url, keys, held))


def live_test(
    settings: Settings,
    database_url: str,
    *,
    market: str | None,
    cancel_first: bool,
    consent: Consent,
    tell: Callable[[str], None],
) -> Report | Unsuitable:
    """The live test, with a worker of its own. Blocks, and runs an event loop of its own.

    Raises `BadInput` for keys that are not there, `Refused` with ``BUSY`` if a worker is alive, and
    `DatabaseProblem`.
    """
    held = open_source(settings).read()
    held.current.credentials  # noqa: B018 - raises where there is no API key
    return asyncio.run(_live(settings, database_url, held, market, cancel_first, consent, tell))


def _keys(settings: Settings) -> tuple[Finding, SecretSet | None]:
    if settings.venue == "paper":
        return own.not_asked("keys"), None
    try:
        source = open_source(settings)
    except LedgerError as error:
        return fail("keys", error.wrong, error.next_step), None
    return own.check_secrets(source.place, source.read)


async def _look(
    settings: Settings, database_url: str | None, keys: Finding, held: SecretSet | None
) -> list[Finding]:
    ports = Ports.system()
    pool = None
    try:
        if database_url is not None:
            # Why not, if not, is what the command itself finds out before.
            with suppress(DatabaseProblem):
                pool = await open_pool(database_url, role_hint="doctor", min_size=1, max_size=1)
        async with asking(settings, ports, held) as asker:
            subject = Subject(
                settings,
                ports,
                asker,
                connector(ca_file=settings.polymarket_ca_file),
                approvals=OfficialApprovals(),
                reader=None if pool is None else LedgerCalls(pool),
            )
            return await examine(subject, held, keys)
    finally:
        if pool is not None:
            pool.terminate()


async def _live(
    settings: Settings,
    database_url: str,
    held: SecretSet,
    market: str | None,
    cancel_first: bool,
    consent: Consent,
    tell: Callable[[str], None],
) -> Report | Unsuitable:
    ports = Ports.system()
    async with (
        asking(settings, ports, held) as asker,
        working(settings, ports, database_url) as (context, desk),
    ):
        now_s = ports.clock.now_ms() // 1000
        order = await find_order(context.calls, asker, market, now_s)
        if isinstance(order, Unsuitable):
            return order
        test = LiveTest(
            desk, asker, ports, consent, signature_type=settings.signature_type, tell=tell
        )
        return await test.run(order, cancel_first=cancel_first)


@asynccontextmanager
async def asking(settings: Settings, ports: Ports, held: SecretSet | None) -> AsyncIterator[Asker]:
    """The HTTP port for the hosts of the settings and the keys of ``held``."""
    urls = {
        Host.CLOB: settings.polymarket_clob_url,
        Host.GAMMA: settings.polymarket_gamma_url,
        Host.DATA: settings.polymarket_data_url,
        Host.SITE: settings.polymarket_site_url,
    }
    timeouts = Timeouts(total=settings.request_timeout_ms)
    transports = {
        host: Transport(url, ports, timeouts=timeouts, ca_file=settings.polymarket_ca_file)
        for host, url in urls.items()
    }

    def identity() -> Identity | None:
        if held is None or not held.current.has_api_key:
            return None
        now = held.current
        return Identity(settings.account, now.signer.address, now.credentials)

    asker = Asker(transports, ports, identity, timeout_ms=settings.request_timeout_ms + 1_000)
    try:
        yield asker
    finally:
        await asker.aclose()

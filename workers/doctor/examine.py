"""Runs the checks in order, and leaves out what cannot be asked because something before it failed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.clock import Ports
from app.config import Settings
from app.errors import LedgerError
from app.secrets import SecretSet
from app.venue.polymarket.official import Approvals
from app.venue.polymarket.signing import SignatureType
from app.venue.polymarket.sockets import Connect
from app.venue.polymarket.wallet import Ask
from workers.doctor import books, database, own, stream, venue
from workers.doctor.findings import Finding, fail, skipped

_REST = ("order version", "clock, venue", "geoblock")
_SIGNED = ("API key", "closed only", "rate limit tier", "collateral", "allowances")
_OTHERS = ("books", "user channel", "market channel", "approvals", "venue mode")
_KEYLESS = "there is no API key to ask with"


@dataclass(frozen=True, slots=True)
class Subject:
    """What is examined, and through what. Everything that reaches outside is a port."""

    settings: Settings
    ports: Ports
    ask: Ask
    connect: Connect
    approvals: Approvals | None = None
    """None where the official client would ask another venue than ours."""
    reader: database.Reader | None = None
    """None where the database cannot be asked; the command says why."""


async def examine(subject: Subject, held: SecretSet | None, keys: Finding) -> list[Finding]:
    """All findings. ``keys`` and ``held`` come from `own.check_secrets`, which blocks and so ran before."""
    settings = subject.settings
    found = [own.check_venue(settings)]
    facts = await _facts(subject, found)
    if settings.venue == "paper":
        names = ("addresses", "keys", "wallet", "account", "order book", *_REST, *_SIGNED, *_OTHERS)
        return [*found, *(own.not_asked(name) for name in names)]
    found += [own.check_addresses(settings), keys]
    found += _of_keys(settings, held, facts)
    ask = subject.ask
    tokens: Sequence[str] = facts.tokens if facts is not None else ()
    rest = await venue.check_rest(ask)
    found.append(rest)
    if rest.result == "fail":
        why = "the order book does not answer"
        found += [skipped(name, why) for name in (*_REST, *_SIGNED, "books")]
    else:
        found.append(await venue.check_version(ask))
        found.append(await venue.check_clock(ask, subject.ports.clock))
        found.append(await venue.check_geoblock(ask))
        found += await _signed(settings, held, ask)
        found.append(await books.check_books(ask, subject.ports.clock, tokens))
    found += await _streams(subject, held, tokens)
    found.append(await _approvals(subject, held))
    modes = skipped("venue mode", "the database cannot be asked")
    found.append(modes if facts is None else database.check_modes(facts.modes))
    return found


async def _facts(subject: Subject, found: list[Finding]) -> database.Facts | None:
    if subject.reader is None:
        found.append(skipped("clock, database", "the database cannot be asked"))
        return None
    clock = subject.ports.clock
    try:
        facts = await database.look(subject.reader, subject.settings.account, clock)
    except LedgerError as error:
        found.append(fail("clock, database", error.wrong, error.next_step))
        return None
    found.append(facts.clock)
    return facts


def _of_keys(
    settings: Settings, held: SecretSet | None, facts: database.Facts | None
) -> Iterator[Finding]:
    if held is None:
        yield skipped("wallet", "there are no keys")
        yield skipped("account", "there are no keys")
        return
    signer = held.current.signer.address
    yield own.check_wallet(settings, signer)
    if facts is None:
        yield skipped("account", "the database cannot be asked")
    else:
        yield own.check_account(settings, signer, facts.account)


async def _signed(settings: Settings, held: SecretSet | None, ask: Ask) -> list[Finding]:
    if held is None or not held.current.has_api_key:
        return [skipped(name, _KEYLESS) for name in _SIGNED]
    key_id, signer = held.current.credentials.key_id, held.current.signer.address
    first = await venue.check_credentials(ask, key_id, signer)
    if first.result == "fail":
        return [first, *(skipped(name, "the API key is refused") for name in _SIGNED[1:])]
    return [
        first,
        await venue.check_closed_only(ask),
        await venue.check_tier(ask),
        *await venue.check_collateral(ask, SignatureType(settings.signature_type)),
    ]


async def _streams(
    subject: Subject, held: SecretSet | None, tokens: Sequence[str]
) -> list[Finding]:
    settings, ports = subject.settings, subject.ports
    user = skipped("user channel", _KEYLESS)
    if held is not None and held.current.has_api_key:
        user = await stream.check_user_stream(
            subject.connect, settings.polymarket_ws_url, held.current.credentials, ports
        )
    market = await stream.check_market_stream(
        subject.connect, settings.polymarket_market_ws_url, tokens, ports
    )
    return [user, market]


async def _approvals(subject: Subject, held: SecretSet | None) -> Finding:
    if subject.approvals is None or not venue.official_addresses(subject.settings):
        return skipped("approvals", "the official client can only ask the venue itself")
    wallet = subject.settings.funder or (held.current.signer.address if held else "")
    if not wallet:
        return skipped("approvals", "no wallet is known")
    return await venue.check_approvals(subject.approvals, wallet)

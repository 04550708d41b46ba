"""The demo's stage: a throw-away database, markets that can be traded on it, accounts and limits.

Nothing here reads the user's settings: the demo must not find their database, their keys or their
``.env``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from app.clock import Clock
from app.config import Settings
from app.db import embedded
from app.db.access import LOGIN_ROLES
from app.db.connect import open_connection, open_pool
from app.db.embedded import Server
from app.db.migrate import upgrade
from app.errors import BadInput, Code
from app.ledger.calls import LedgerCalls
from app.markets.files import read_markets, sample_path
from app.markets.model import MarketRecord, rows_of
from app.roles import RolePrefix

MOST_MARKETS: Final = 20
PREFIX: Final = RolePrefix()

MAIN: Final = "main"
SMALL: Final = "small"
"""Has hardly any collateral, so that it meets INSUFFICIENT_COLLATERAL."""
STRANGE: Final = "strange"
"""Was not granted to the writers' login."""

QUARANTINE_MS: Final = 2_500
SETTLE_MS: Final = 400
WINDOW_MS: Final = 15 * 60_000
CLOSES_AFTER_MS: Final = 33_000
"""The window of one market ends in the middle of the demo."""


@dataclass(frozen=True, slots=True)
class Limits:
    """In force for one market, in every account. Caps in share micros; None: no limit."""

    outcome_micros: int
    market_micros: int
    per_minute: int | None
    gap_ms: int


@dataclass(frozen=True, slots=True)
class DemoMarket:
    """A market as the demo trades it."""

    record: MarketRecord
    limits: Limits
    closes: bool = False
    """Whether its window ends in the middle of the demo."""

    @property
    def condition_id(self) -> str:
        return self.record.condition_id

    @property
    def tokens(self) -> tuple[str, str]:
        first, second = self.record.outcomes
        return first.token_id, second.token_id

    @property
    def tick_micros(self) -> int:
        return self.record.tick_micros or 0

    @property
    def min_size_micros(self) -> int:
        return self.record.min_size_micros or 0


@dataclass(frozen=True, slots=True)
class Cast:
    """The markets that were chosen, and what had to be changed to trade them here."""

    markets: tuple[DemoMarket, ...]
    source: str
    made_tradable: Mapping[str, int]
    """Reasons for which a market of the file is not tradable, and of how many."""
    shifted: int
    """Markets whose recorded window was shifted to now."""


@dataclass(frozen=True)
class Stage:
    """What the acts of the demo are played on."""

    server: Server
    cast: Cast
    seed: int
    venue: str = "paper"

    def url(self, role: str) -> str:
        return self.server.url(PREFIX.role(role))

    @property
    def owner_url(self) -> str:
        return self.server.url()

    @cached_property
    def settings(self) -> Settings:
        """The settings of the demo's workers. ``model_construct``: the environment is not read."""
        return Settings.model_construct(
            database_url=SecretStr(self.url("worker")),
            venue="paper",
            account=MAIN,
            accounts="",
            paper_collateral=self.collateral,
            paper_seed=self.seed,
            paper_settle_ms=SETTLE_MS,
            quarantine_ms=QUARANTINE_MS,
            request_timeout_ms=1_000,
            claim_lease_ms=1_000,
            poll_ms=50,
            reconcile_every_s=5,
            log_level="info",
            log_format="json",
        )

    @property
    def collateral(self) -> str:
        """Enough for every cap at once, in whole pUSD."""
        caps = sum(market.limits.market_micros for market in self.cast.markets)
        return str(caps // 1_000_000 + 100)

    def worker_env(self) -> dict[str, str]:
        """Every setting as the environment of a child process says it."""
        given = self.settings.model_dump(exclude_unset=True, exclude={"database_url"})
        env = {f"LEDGER_{name.upper()}": str(value) for name, value in given.items()}
        return env | {"LEDGER_DATABASE_URL": self.url("worker")}


@contextmanager
def set_up(cast: Cast, seed: int, venue: str = "paper") -> Iterator[Stage]:
    """A server of the demo's own with schema, roles, markets, accounts and limits."""
    with embedded.throwaway() as server:
        upgrade(server.url(), prefix=PREFIX)
        stage = Stage(server, cast, seed, venue)
        asyncio.run(_furnish(stage))
        yield stage


# --- markets ------------------------------------------------------------------------------------


def choose_markets(file: Path | None, clock: Clock) -> Cast:
    """Up to 20 markets of the file (or of the sample) that have tokens, a tick and a minimum size.

    Those that trade as they are come first. Raises `BadInput` with ``BAD_FILE`` if there is none.
    """
    path = file or sample_path()
    found = read_markets(path).markets
    usable = [one for one in found if one.outcomes and one.tick_micros and one.min_size_micros]
    usable.sort(key=lambda one: not one.tradable)
    chosen = usable[:MOST_MARKETS]
    if not chosen:
        raise BadInput(
            Code.BAD_FILE,
            f"{str(path)!r} holds {len(found)} markets, and none with tokens, tick and minimum size",
            not_done="the demo was not started",
            next_step="give a file with open markets, or leave --markets out for the sample",
        )
    reasons: dict[str, int] = {}
    for one in chosen:
        for reason in one.untradable_reasons:
            reasons[str(reason)] = reasons.get(str(reason), 0) + 1
    now_ms = clock.now_ms()
    markets = tuple(_playable(one, i, len(chosen), now_ms) for i, one in enumerate(chosen))
    return Cast(markets, "the sample" if file is None else str(file), reasons, len(chosen))


def _playable(record: MarketRecord, place: int, count: int, now_ms: int) -> DemoMarket:
    closes = count >= 8 and place == count - 1
    end_ms = now_ms + (CLOSES_AFTER_MS if closes else WINDOW_MS)
    open_record = replace(
        record,
        window_start_ms=end_ms - WINDOW_MS,
        window_end_ms=end_ms,
        closed=False,
        active=True,
        accepting_orders=True,
        neg_risk=bool(record.neg_risk),
        fee_rate_micros=record.fee_rate_micros or 0,
        fee_exponent=1 if record.fee_exponent is None else record.fee_exponent,
        untradable_reasons=(),
    )
    unit = (record.min_size_micros or 0) * max(1, MOST_MARKETS // count)
    return DemoMarket(open_record, _limits(unit, place), closes)


def _limits(unit: int, place: int) -> Limits:
    """Different in each market, so that every limit is met. ``unit``: its smallest order, or more
    where fewer markets share the intents.
    """
    return (
        Limits(20 * unit, 40 * unit, None, 0),
        Limits(20 * unit, 30 * unit, None, 0),
        Limits(20 * unit, 40 * unit, 6, 2_000),
        Limits(5 * unit, 9 * unit, None, 0),
        Limits(20 * unit, 40 * unit, 60, 150),
    )[place % 5]


# --- accounts and limits --------------------------------------------------------------------------


async def _furnish(stage: Stage) -> None:
    owner = await open_connection(stage.owner_url, role_hint="demo")
    try:
        for role in LOGIN_ROLES:
            await stage.server.ensure_login_role(owner, PREFIX.role(role))
    finally:
        await owner.close()
    pool = await open_pool(stage.owner_url, role_hint="demo", max_size=2)
    try:
        await _import(LedgerCalls(pool), stage)
    finally:
        pool.terminate()


async def _import(calls: LedgerCalls, stage: Stage) -> None:
    markets = stage.cast.markets
    await calls.value("import_markets", rows_of([market.record for market in markets]))
    collateral = int(stage.collateral) * 1_000_000
    # A worker on Polymarket holds one account's key, so what is not MAIN must never be sent there.
    little = 3_000_000 if stage.venue == "paper" else 1_000
    for name, amount in ((MAIN, collateral), (SMALL, little), (STRANGE, collateral)):
        await calls.value("open_account", name, stage.venue, None, None, 0, QUARANTINE_MS)
        await calls.value(
            "book_movement", name, "collateral", amount, "opening", "opening", "for the demo"
        )
    for name in (MAIN, SMALL):
        await calls.value("grant_account", name, PREFIX.role("trader"))
    for market in markets:
        for name, value in _named(market.limits):
            await calls.value(
                "set_limit", None, market.condition_id, name, value, "set for the demo"
            )


def _named(limits: Limits) -> Sequence[tuple[str, str]]:
    """As ``ledger.set_limit`` takes them. A limiter that is open is set to the most it can say."""
    return (
        ("max_outcome_micros", str(limits.outcome_micros)),
        ("max_market_micros", str(limits.market_micros)),
        ("burst_per_minute", str(600 if limits.per_minute is None else limits.per_minute)),
        ("burst_gap_ms", str(limits.gap_ms)),
    )

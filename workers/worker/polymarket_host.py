"""Looks after Polymarket for a worker: the key, the transport, the stream, and what must be alive or watched."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

from app.circuit import Trip
from app.clock import Ports
from app.config import Settings
from app.errors import BadInput, Code, DatabaseProblem
from app.ledger.calls import LedgerCalls
from app.observe.logs import Logger
from app.secrets import Keeper, open_source
from app.venue.interface import Found, Unread
from app.venue.polymarket.answers import (
    Beat,
    FeeTerms,
    Mode,
    ModeSign,
    WrongBeat,
    mode_of,
    read_closed_only,
    read_geoblock,
    read_heartbeat,
    read_tier,
    read_time_ms,
    read_version,
)
from app.venue.polymarket.asking import Asker
from app.venue.polymarket.asking import Host as Service
from app.venue.polymarket.limits import tier_named
from app.venue.polymarket.order import ORDER_VERSION
from app.venue.polymarket.positions import listed_tokens
from app.venue.polymarket.signing import SignatureType
from app.venue.polymarket.sockets import connector
from app.venue.polymarket.transport import Timeouts, Transport
from app.venue.polymarket.venue import PolymarketVenue
from app.venue.polymarket.wire import Endpoint, Exchange
from app.withdrawal.official import OfficialTreasury, connecting
from app.withdrawal.treasury import Treasury
from workers.worker.context import AccountKey, Context, ExtraPass, ExtraRun
from workers.worker.heart import GRACE_MS as HEART_GRACE_MS
from workers.worker.heart import Beaten, Heart
from workers.worker.market_watch import MarketWatch
from workers.worker.stream import GRACE_MS as STREAM_GRACE_MS
from workers.worker.venue_state import ExchangeLog, SharedBudget

CLOCK_OFF_MS: Final = 5_000
"""Level-2 headers carry our clock; how far it may be off is not published, so a worker starts only near."""

PRODUCTION: Final = "https://clob.polymarket.com"

WATCH_EVERY_MS: Final = 60_000
WATCH_SOON_MS: Final = 5_000
"""While a condition stands of which only these reads show the end."""

FLUSH_EVERY_MS: Final = 250
MODES_EVERY_MS: Final = 100

WATCHED: Final = frozenset({Mode.CLOSED_ONLY, Mode.GEOBLOCKED, Mode.ORDER_VERSION})

LASTS_MS: Final[Mapping[Mode, int | None]] = {
    Mode.RESTARTING: 10_000,
    Mode.POST_ONLY: 120_000,
    Mode.CANCEL_ONLY: 30_000,
    Mode.DISABLED: 30_000,
    Mode.BANNED: 3_600_000,
}
"""Where the answer states no time. What is not here stands until a clean answer shows its end."""


class PolymarketHost:
    """A `Host` over Polymarket. Serves the one account of the settings, whose key this process holds."""

    def __init__(
        self, calls: LedgerCalls, ports: Ports, settings: Settings, log: Logger, incarnation: str
    ) -> None:
        self._calls = calls
        self._ports = ports
        self._settings = settings
        self._log = log
        self._account = settings.account
        self._keeper = Keeper(
            open_source(settings),
            ports,
            log,
            refresh_s=settings.secrets_refresh_s,
            rotated=lambda _new: self._add_account(frozenset()),
        )
        self._exchanges = ExchangeLog(calls, ports.clock, log, incarnation, settings.account)
        self._transport = self._connections(settings.polymarket_clob_url)
        self._urgent = self._connections(settings.polymarket_clob_url)
        self._site = self._connections(settings.polymarket_site_url)
        self._data = Asker(
            {Service.DATA: self._connections(settings.polymarket_data_url)},
            ports,
            lambda: None,
            # The transport says better than a bound around it how far a request got.
            timeout_ms=settings.request_timeout_ms + 1_000,
            # A start waits for it: it must not be left alone for long after it is back.
            trip=Trip(most_ms=5_000),
        )
        self._markets: MarketWatch | None = None
        self._signs: deque[tuple[str, ModeSign]] = deque()
        self._ended: deque[str] = deque()
        self._writing = asyncio.Lock()
        self._to_end: set[str] = set()
        """Modes of `WATCHED` that this process saw and did not see the end of."""
        self._watched_ns = 0
        self.venue = PolymarketVenue(
            self._transport,
            self._urgent,
            ports,
            budget=SharedBudget(calls),
            lookup=LedgerLookup(calls),
            connect=connector(ca_file=settings.polymarket_ca_file),
            user_channel_url=settings.polymarket_ws_url,
            noticed=lambda account, sign: self._signs.append((account, sign)),
        )
        self._add_account(frozenset())
        self._treasury = open_treasury(settings, self._keeper.signer.address, ports)

    def _connections(self, url: str) -> Transport:
        return Transport(
            url,
            self._ports,
            timeouts=Timeouts(total=self._settings.request_timeout_ms),
            ca_file=self._settings.polymarket_ca_file,
            record=self._exchanges.note,
        )

    # --- the key ------------------------------------------------------------------------------------

    def key(self, account: str) -> AccountKey | None:
        """The settings' key for the settings' account; None for any other."""
        if account != self._account:
            return None
        signer, kind = self._keeper.signer, SignatureType(self._settings.signature_type)
        maker = self._maker()
        signs_as = maker if kind is SignatureType.POLY_1271 else signer.address
        return AccountKey(signer, maker, signs_as, kind, owner=self._keeper.credentials.key_id)

    def treasury(self, account: str) -> Treasury | None:
        """Who carries withdrawals out: the official client, where its key is given and all of it is the real thing."""
        return self._treasury if account == self._account else None

    def refresh_keys(self) -> None:
        """Read the keys anew now: what SIGHUP asks for. Never waits."""
        self._keeper.refresh_soon()

    def note_market(self, token_id: str, *, neg_risk: bool) -> None:
        """Nothing: the venue knows its own markets."""

    def _maker(self) -> str:
        if self._settings.signature_type == SignatureType.EOA:
            return self._keeper.signer.address
        if not self._settings.funder:
            raise BadInput(
                Code.BAD_SETTING,
                f"signature type {self._settings.signature_type} needs the wallet that holds the funds",
                not_done="the worker was not started",
                next_step="set LEDGER_FUNDER to its address; docs/going-live.md says where to find it",
            )
        return self._settings.funder

    def _add_account(self, owners: frozenset[str]) -> None:
        self.venue.add_account(
            self._account,
            self._keeper.signer.address,
            self._keeper.credentials,
            maker=self._maker(),
            signature_type=self._settings.signature_type,
            owners=owners,
            older=self._keeper.credentials_of,
        )

    # --- the worker's life --------------------------------------------------------------------------

    async def prepare(self, *, to_trade: bool) -> None:
        """Before anything else: what an order needs to be alive, and which keys our orders may bear."""
        rows = await self._calls.rows(
            "SELECT DISTINCT t.owner FROM ledger.attempt t JOIN ledger.account a USING (account_id) "
            "WHERE a.name = $1 AND t.owner <> ''",
            self._account,
        )
        self._add_account(frozenset(row["owner"].lower() for row in rows))
        known = await self._calls.rows(
            "SELECT 1 FROM ledger.account WHERE name = $1 AND venue = 'polymarket'", self._account
        )
        if not known:
            raise BadInput(
                Code.UNKNOWN_ACCOUNT,
                f"there is no account {self._account} on polymarket",
                not_done="the worker was not started",
                next_step=f"ledger-worker account open {self._account} --venue polymarket",
            )
        if not to_trade:
            return
        for kind, required, grace_ms in (
            ("stream", True, STREAM_GRACE_MS),
            ("heartbeat", self._settings.heartbeat, HEART_GRACE_MS),
        ):
            await self._calls.value("require_pulse", self._account, kind, required, grace_ms)

    def passes(self, context: Context) -> Sequence[ExtraPass]:
        """Loops beside the worker's own."""

        async def modes() -> bool:
            return await self._tell_modes(context)

        async def watch() -> bool:
            return await self._watch()

        return (
            ("exchanges", self._exchanges.one_pass, FLUSH_EVERY_MS),
            ("modes", modes, MODES_EVERY_MS),
            ("watch", watch, min(WATCH_EVERY_MS, WATCH_SOON_MS)),
            *self._watch_over(context).passes(),
        )

    def runs(self, context: Context) -> Sequence[ExtraRun]:
        """Tasks beside the worker's own that end by themselves when it stops."""
        runs: list[ExtraRun] = [
            ("secrets", self._keeper.run(context.shared.stopping)),
            ("books", self._watch_over(context).follow_books()),
        ]
        if self._settings.heartbeat:
            runs.append(("heartbeat", Heart(context, self._account, self).run()))
        return runs

    def _watch_over(self, context: Context) -> MarketWatch:
        """Made with the first task of a worker: a comparison by hand needs none."""
        if self._markets is None:
            self._markets = MarketWatch(context, self._account)
        return self._markets

    async def aclose(self) -> None:
        """Close the connections, and write down what they carried last."""
        try:
            while await self._exchanges.one_pass():
                pass
        except DatabaseProblem as problem:
            self._log.warning("EXCHANGES_NOT_WRITTEN", code=problem.code, problem=problem.wrong)
        if self._markets is not None:
            await self._markets.aclose()
        if self._treasury is not None:
            await self._treasury.aclose()
        await self._transport.aclose()
        await self._urgent.aclose()
        await self._site.aclose()
        await self._data.aclose()

    async def listed_tokens(self, account: str) -> Found[Sequence[str]] | Unread:
        """See `Host.listed_tokens`: the positions of the wallet, which belong to the maker's address."""
        return await listed_tokens(self._data, self._maker())

    # --- what the start must have read --------------------------------------------------------------

    async def preflight(self, account: str) -> str:
        """Why nothing may be placed yet, or nothing. Each read is clean or names itself."""
        why = await self._preflight(account)
        if not why:
            await self._ask_site(account)
        # What these answers showed is in force before the account is ready, not a moment later.
        await self._write_signs()
        return why

    async def _preflight(self, account: str) -> str:
        now_ms = self._ports.clock.now_ms()
        exchange = await self._transport.request(Endpoint.GET_TIME)
        told = read_time_ms(exchange)
        if not isinstance(told, Found):
            return f"the venue's time: {told.reason}"
        # The venue tells whole seconds, and the answer took its time.
        off_ms = abs(told.value - now_ms) - exchange.took_ms - 1_000
        if off_ms > CLOCK_OFF_MS:
            return f"our clock is {off_ms} ms off the venue's; set it (NTP)"
        return await self._ask_version(account) or await self._ask_account(account)

    async def _ask_version(self, account: str) -> str:
        """Which orders the venue takes: it may change while a worker runs, and then each would be refused."""
        version = read_version(await self._transport.request(Endpoint.GET_VERSION))
        if not isinstance(version, Found):
            return f"the venue's order version: {version.reason}"
        if version.value == ORDER_VERSION:
            await self._end(account, Mode.ORDER_VERSION)
            return ""
        sign = ModeSign(Mode.ORDER_VERSION, f"VERSION_{version.value}", None, None)
        self._signs.append((account, sign))
        return (
            f"the venue takes orders of version {version.value}, this release signs {ORDER_VERSION}"
        )

    async def _ask_account(self, account: str) -> str:
        """Tier and closed-only status. The first clean answer that shows the end of a mode ends it."""
        closed = read_closed_only(await self._signed(account, Endpoint.GET_CLOSED_ONLY))
        if not isinstance(closed, Found):
            return f"closed-only status: {closed.reason}"
        await self._end(account, Mode.BAD_CREDENTIALS)
        if not closed.value:
            await self._end(account, Mode.CLOSED_ONLY)
        tier = read_tier(await self._signed(account, Endpoint.GET_TIER))
        if not isinstance(tier, Found):
            return f"rate limit tier: {tier.reason}"
        self.venue.set_tier(account, tier_named(tier.value))
        return ""

    async def _signed(self, account: str, endpoint: Endpoint) -> Exchange:
        exchange = await self.venue.ask(account, endpoint)
        self._note_mode(account, exchange)
        return exchange

    def _note_mode(self, account: str, exchange: Exchange) -> None:
        if (sign := mode_of(exchange)) is not None:
            self._signs.append((account, sign))

    # --- modes --------------------------------------------------------------------------------------

    async def _tell_modes(self, context: Context) -> bool:
        """Write the signs that came in, and what is over. After an episode the account is compared anew."""
        await self._write_signs()
        self._ended.extend(await self._calls.value("end_lapsed_modes", self._account))
        while self._ended:
            self._over(context, self._ended.popleft())
        return False

    async def _write_signs(self) -> None:
        async with self._writing:
            while self._signs:
                account, sign = self._signs[0]
                lasts_ms = sign.for_ms if sign.for_ms is not None else LASTS_MS.get(sign.mode)
                told = (account, sign.mode.value, lasts_ms, sign.code)
                if await self._calls.value("note_mode", *told):
                    self._log.warning(
                        "VENUE_MODE_BEGAN", account=account, mode=sign.mode.value, lasts_ms=lasts_ms
                    )
                if sign.mode in WATCHED:
                    self._to_end.add(sign.mode.value)
                self._signs.popleft()

    def _over(self, context: Context, mode: str) -> None:
        self._log.info("VENUE_MODE_ENDED", account=self._account, mode=mode)
        context.shared.compare_soon.add(self._account)

    async def _watch(self) -> bool:
        """Conditions that no answer to an order will show the end of, since none is sent while they stand."""
        since_ms = (self._ports.clock.monotonic_ns() - self._watched_ns) // 1_000_000
        if self._watched_ns and since_ms < WATCH_EVERY_MS and not self._to_end:
            return False
        self._watched_ns = self._ports.clock.monotonic_ns()
        await self._ask_version(self._account)
        await self._ask_account(self._account)
        await self._ask_site(self._account)
        return False

    async def _ask_site(self, account: str) -> None:
        """Whether we are blocked where we are. That it cannot be asked blocks nothing: an order's answer tells, too."""
        site = await self._site.request(Endpoint.GET_GEOBLOCK)
        self._note_mode(account, site)
        blocked = read_geoblock(site)
        if isinstance(blocked, Found) and not blocked.value:
            await self._end(account, Mode.GEOBLOCKED)

    async def _end(self, account: str, mode: Mode) -> None:
        self._to_end.discard(mode.value)
        if await self._calls.value("end_mode", account, mode.value, "a clean answer"):
            # Told with those that lapsed: this end too is followed by a comparison.
            self._ended.append(mode.value)

    # --- heartbeat ----------------------------------------------------------------------------------

    async def beat(self, account: str, chain_id: str) -> Beaten:
        """See `Heartbeats.beat`."""
        body = json.dumps({"heartbeat_id": chain_id}, separators=(",", ":")).encode()
        answer = read_heartbeat(
            await self.venue.ask(account, Endpoint.POST_HEARTBEAT, body=body, total_ms=2_500)
        )
        if isinstance(answer, Beat):
            return Beaten(True, answer.next_id)
        if isinstance(answer, WrongBeat):
            return Beaten(False, answer.expected_id, "another id is due")
        return Beaten(False, None, answer.reason)


def open_treasury(settings: Settings, signer: str, ports: Ports) -> OfficialTreasury | None:
    """The treasury of these settings, or None.

    The official client asks production whatever the settings say, so it is there only for production. It wants
    the text of the private key, which no other source than the settings hands out.
    """
    key, relayer, wallet = settings.private_key, settings.relayer_api_key, settings.funder
    if (
        key is None
        or relayer is None
        or not wallet
        or settings.secrets != "env"
        or settings.signature_type != SignatureType.POLY_1271
        or settings.polymarket_clob_url.rstrip("/") != PRODUCTION
        or not settings.live
    ):
        return None
    connect = connecting(
        private_key=key.get_secret_value(),
        wallet=wallet,
        relayer_key=relayer.get_secret_value(),
        relayer_address=signer,
    )
    return OfficialTreasury(connect, ports.clock, wallet=wallet)


class LedgerLookup:
    """`Lookup` over the ledger's tables."""

    def __init__(self, calls: LedgerCalls) -> None:
        self._calls = calls

    async def signed_sizes(self, account: str, venue_order_ids: Sequence[str]) -> Mapping[str, int]:
        rows = await self._calls.rows(
            "SELECT o.venue_order_id, o.size_micros FROM ledger.orders o "
            "JOIN ledger.account a USING (account_id) "
            "WHERE a.name = $1 AND o.venue_order_id = ANY ($2)",
            account,
            list(venue_order_ids),
        )
        return {row["venue_order_id"]: row["size_micros"] for row in rows}

    async def fee_terms(self, token_ids: Sequence[str]) -> Mapping[str, FeeTerms]:
        rows: list[dict[str, Any]] = await self._calls.rows(
            "SELECT c.token_id, m.fee_rate_micros, m.fee_exponent FROM ledger.outcome c "
            "JOIN ledger.market m USING (market_id) WHERE c.token_id = ANY ($1)",
            list(token_ids),
        )
        return {
            row["token_id"]: FeeTerms(row["fee_rate_micros"], row["fee_exponent"]) for row in rows
        }

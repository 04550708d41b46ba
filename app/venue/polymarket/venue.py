"""Polymarket as the send path sees it: the `Venue` interface over our own transport.

What an answer means is decided by the pure functions of `answers`; how fast may be asked by `limits`; whether
anything may be sent at all by the ledger. This module only carries: stored bytes out, outcomes and facts back.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from app.clock import Ports
from app.errors import BadInput, Code
from app.venue.interface import (
    COLLATERAL,
    Absent,
    CancelNotSent,
    CancelOutcome,
    Found,
    Holdings,
    NotPlaced,
    PlaceOutcome,
    PlaceRequest,
    StreamLost,
    StreamOpened,
    Unread,
    VenueEvent,
    VenueOrder,
    VenueTrade,
)
from app.venue.polymarket.answers import (
    Mode,
    ModeSign,
    OrderRow,
    Page,
    TradeRow,
    Unreadable,
    cancel_outcomes,
    frame_events,
    mode_of,
    own_fills,
    place_outcomes,
    read_balance,
    read_event,
    read_order,
    read_orders_page,
    read_trades_page,
    wide_cost,
)
from app.venue.polymarket.auth import ApiCredentials
from app.venue.polymarket.body import with_owner
from app.venue.polymarket.domain import is_protocol_v2
from app.venue.polymarket.known import Known, Lookup
from app.venue.polymarket.limits import STANDARD, Budget, EdgeWindows, Kind, Tier
from app.venue.polymarket.paging import read_all
from app.venue.polymarket.sockets import Connect, SocketLost
from app.venue.polymarket.transport import Identity, Transport
from app.venue.polymarket.user_channel import Opened, follow
from app.venue.polymarket.wire import Endpoint, Exchange

MAX_BATCH: Final = 15
"""docs/venue.md 3.3."""

MAX_CANCELS: Final = 1_000
"""Ids in one request: the lower of two published numbers (docs/venue.md 4)."""

_UNSTATED_PAUSE_MS: Final = 1_000
"""After a 429 that names no time."""

_URGENT: Final = frozenset(
    {
        Endpoint.DELETE_ORDER,
        Endpoint.DELETE_ORDERS,
        Endpoint.DELETE_ALL,
        Endpoint.DELETE_MARKET,
        Endpoint.POST_HEARTBEAT,
    }
)

Noticed = Callable[[str, ModeSign], None]
OlderKey = Callable[[str], ApiCredentials | None]
"""An API key from before by its id, where somebody still knows it."""

_NO_KEY: Final = "the API key {} is not known any more (LEDGER_PREVIOUS_API_KEY)"


@dataclass(slots=True)
class Wallet:
    """One account at the venue: who asks, whose funds, which keys its orders may bear."""

    identity: Identity
    credentials: ApiCredentials
    maker: str
    signature_type: int
    owners: frozenset[str]
    """API key ids, in lower case: the present one and those that orders in flight were sent with."""
    known: Known
    tier: Tier = field(default=STANDARD)
    keys: dict[str, ApiCredentials] = field(default_factory=dict)
    """Every key of this process's life by its id: an attempt is sent under the one it was opened with."""
    older: OlderKey = lambda _key_id: None

    def under(self, key_id: str) -> Identity | None:
        """Who asks with that key, the present one where it is empty; None if it is not known."""
        if not key_id or key_id == self.credentials.key_id:
            return self.identity
        credentials = self.keys.get(key_id) or self.older(key_id)
        if credentials is None:
            return None
        return Identity(self.identity.account, self.identity.address, credentials)


class PolymarketVenue:
    """The venue for the accounts of one worker. ``noticed`` is told of each sign of a mode, and must not wait.

    ``urgent``: connections of their own for what may not stand behind a read or a placement of ours.
    """

    name = "polymarket"

    def __init__(
        self,
        transport: Transport,
        urgent: Transport,
        ports: Ports,
        *,
        budget: Budget,
        lookup: Lookup,
        connect: Connect,
        user_channel_url: str,
        noticed: Noticed,
    ) -> None:
        self._transport = transport
        self._urgent = urgent
        self._ports = ports
        self._budget = budget
        self._lookup = lookup
        self._connect = connect
        self._user_channel_url = user_channel_url
        self._noticed = noticed
        self._edge = EdgeWindows(ports.clock)
        self._wallets: dict[str, Wallet] = {}

    def add_account(
        self,
        account: str,
        address: str,
        credentials: ApiCredentials,
        *,
        maker: str,
        signature_type: int,
        owners: frozenset[str],
        older: OlderKey | None = None,
    ) -> Wallet:
        """Serve this account from now on; again: with a new key, the old ids still being its own."""
        before = self._wallets.get(account)
        known = before.known if before else Known(account, self._lookup)
        keys = (before.keys if before else {}) | {credentials.key_id: credentials}
        kept = owners | {credentials.key_id.lower()} | (before.owners if before else frozenset())
        identity = Identity(account, address, credentials)
        tier = before.tier if before else STANDARD
        wallet = Wallet(
            identity, credentials, maker.lower(), signature_type, kept, known, tier, keys
        )
        if found := older or (before.older if before else None):
            wallet.older = found
        self._wallets[account] = wallet
        return wallet

    def set_tier(self, account: str, tier: Tier) -> None:
        """The venue counts by this tier from now on."""
        self._wallets[account].tier = tier

    # --- sending ----------------------------------------------------------------------------------

    async def place(self, account: str, orders: Sequence[PlaceRequest]) -> Sequence[PlaceOutcome]:
        """See `Venue.place`. One request; nothing is sent twice and nothing is waited for."""
        if not 1 <= len(orders) <= MAX_BATCH:
            wrong = f"{len(orders)} orders in one request, 1 to {MAX_BATCH} are allowed"
            raise BadInput(Code.BAD_REQUEST, wrong, not_done="nothing was sent")
        single = len(orders) == 1
        endpoint = Endpoint.POST_ORDER if single else Endpoint.POST_ORDERS
        wallet = self._wallets[account]
        # The body names its key, so the headers must be that key's too: another one is refused for good.
        identity = wallet.under(orders[0].owner)
        if identity is None or any(one.owner != orders[0].owner for one in orders):
            return [NotPlaced("KEY_ROTATED", _UNSTATED_PAUSE_MS, "")] * len(orders)
        bodies = [with_owner(one.body, one.owner) for one in orders]
        if wait_ms := await self._wait_ms(wallet, endpoint, "orders", len(orders)):
            return [NotPlaced("BUDGET", wait_ms, "")] * len(orders)
        body = bodies[0] if single else b"[" + b",".join(bodies) + b"]"
        bounds = [one.send_by_ns for one in orders if one.send_by_ns]
        exchange = await self._transport.request(
            endpoint, body=body, identity=identity, send_by_ns=min(bounds, default=0)
        )
        await self._pause(wallet, exchange, "orders", identity)
        return place_outcomes(exchange, [one.venue_order_id for one in orders])

    async def cancel(self, account: str, venue_order_ids: Sequence[str]) -> Sequence[CancelOutcome]:
        """See `Venue.cancel`. Split to what the tier's bucket can hold at all (docs/venue.md 9.4)."""
        wallet = self._wallets[account]
        most = min(MAX_CANCELS, wallet.tier.cancels_burst)
        outcomes: list[CancelOutcome] = []
        for start in range(0, len(venue_order_ids), most):
            outcomes += await self._cancel(wallet, venue_order_ids[start : start + most])
        return outcomes

    async def _cancel(self, wallet: Wallet, ids: Sequence[str]) -> Sequence[CancelOutcome]:
        single = len(ids) == 1
        endpoint = Endpoint.DELETE_ORDER if single else Endpoint.DELETE_ORDERS
        if wait_ms := await self._wait_ms(wallet, endpoint, "cancels", len(ids)):
            return [CancelNotSent("BUDGET", wait_ms, "")] * len(ids)
        body = _json({"orderID": ids[0]} if single else list(ids))
        exchange = await self._ask(wallet, endpoint, body=body)
        await self._pause(wallet, exchange, "cancels")
        return cancel_outcomes(exchange, ids)

    async def cancel_market(
        self, account: str, condition_id: str, venue_order_ids: Sequence[str]
    ) -> Sequence[CancelOutcome]:
        """All orders of a market in one request; what it says of these ids. When cancels by id keep failing."""
        body = _json({"market": condition_id})
        return await self._cancel_wide(account, Endpoint.DELETE_MARKET, body, venue_order_ids)

    async def cancel_all(
        self, account: str, venue_order_ids: Sequence[str]
    ) -> Sequence[CancelOutcome]:
        """All orders of the account's key in one request; what it says of these ids. The last resort."""
        return await self._cancel_wide(account, Endpoint.DELETE_ALL, b"", venue_order_ids)

    async def _cancel_wide(
        self, account: str, endpoint: Endpoint, body: bytes, ids: Sequence[str]
    ) -> Sequence[CancelOutcome]:
        wallet = self._wallets[account]
        if wait_ms := await self._wait_ms(wallet, endpoint, "cancels", 1):
            return [CancelNotSent("BUDGET", wait_ms, "")] * len(ids)
        exchange = await self._ask(wallet, endpoint, body=body)
        await self._pause(wallet, exchange, "cancels")
        if count := wide_cost(exchange, len(ids)):
            await self._budget.owe(wallet.identity.address, "cancels", count)
        return cancel_outcomes(exchange, ids)

    async def _wait_ms(self, wallet: Wallet, endpoint: Endpoint, kind: Kind, count: int) -> int:
        """In how long to ask again, or 0 and counted. The edge first: its room costs nobody else anything."""
        edge_ms = self._edge.wait_ms(endpoint)
        if edge_ms:
            return edge_ms
        return await self._budget.spend(wallet.identity.address, kind, count, wallet.tier)

    async def _pause(
        self, wallet: Wallet, exchange: Exchange, kind: Kind, identity: Identity | None = None
    ) -> None:
        """A 429 is the signer's, so every worker of the signer must hear of it."""
        sign = mode_of(exchange)
        if sign is not None and sign.mode is Mode.RATE_LIMITED:
            for_ms = _UNSTATED_PAUSE_MS if sign.for_ms is None else sign.for_ms
            await self._budget.pause(wallet.identity.address, kind, for_ms)
        else:
            self._notice(wallet, exchange, identity or wallet.identity)

    def _notice(self, wallet: Wallet, exchange: Exchange, identity: Identity) -> None:
        """What an answer shows of the account's condition. That a key from before is refused, says nothing of the
        one in use.
        """
        sign = mode_of(exchange)
        current = self._wallets[wallet.identity.account].credentials
        if sign is None or (
            sign.mode is Mode.BAD_CREDENTIALS and identity.credentials is not current
        ):
            return
        self._noticed(wallet.identity.account, sign)

    # --- reading ----------------------------------------------------------------------------------

    async def order(
        self, account: str, venue_order_id: str, *, owner: str = ""
    ) -> Found[VenueOrder] | Absent | Unread:
        """See `Venue.order`. Two look-ups: the first is ``null`` for orders that are filled or not yet indexed,
        the second can show ended ones too (docs/venue.md 2.6). Absent only if both say so.
        """
        wallet = self._wallets[account]
        if (identity := wallet.under(owner)) is None:
            return Unread(_NO_KEY.format(owner))
        path = Endpoint.GET_ORDER.path.replace("{id}", venue_order_id)
        exchange = await self._read(wallet, Endpoint.GET_ORDER, identity, path=path)
        await wallet.known.meet(exchange.text, [venue_order_id])
        answer = read_order(exchange, venue_order_id, wallet.known.size_of)
        if isinstance(answer, Found):
            return Found(answer.value.order)
        if isinstance(answer, Unread):
            return answer
        listed = await self._orders(wallet, identity, {"id": venue_order_id})
        if isinstance(listed, Unread):
            return listed
        for row in listed.value:
            if row.order.venue_order_id == venue_order_id.lower():
                return Found(row.order)
        return answer

    async def open_orders(self, account: str) -> Found[Sequence[VenueOrder]] | Unread:
        """See `Venue.open_orders`."""
        wallet = self._wallets[account]
        rows = await self._orders(wallet, wallet.identity, {})
        return rows if isinstance(rows, Unread) else Found([row.order for row in rows.value])

    async def _orders(
        self, wallet: Wallet, identity: Identity, query: dict[str, str]
    ) -> Found[Sequence[OrderRow]] | Unread:
        async def page(cursor: str) -> Page[OrderRow] | Unread:
            exchange = await self._read(
                wallet, Endpoint.GET_ORDERS, identity, query=query | {"next_cursor": cursor}
            )
            await wallet.known.meet(exchange.text)
            return read_orders_page(exchange, wallet.known.size_of)

        return await read_all(page, lambda row: row.order.venue_order_id)

    async def trades(
        self, account: str, since_ms: int, *, owner: str = ""
    ) -> Found[Sequence[VenueTrade]] | Unread:
        """See `Venue.trades`. The filter counts in seconds of the match time."""
        wallet = self._wallets[account]
        if (identity := wallet.under(owner)) is None:
            return Unread(_NO_KEY.format(owner))
        query = {"after": str(max(0, since_ms // 1000 - 1))}

        async def page(cursor: str) -> Page[TradeRow] | Unread:
            exchange = await self._read(
                wallet, Endpoint.GET_TRADES, identity, query=query | {"next_cursor": cursor}
            )
            await wallet.known.meet(exchange.text)
            return read_trades_page(exchange)

        rows = await read_all(page, _trade_row)
        if isinstance(rows, Unread):
            return rows
        ours = wallet.known.ours(wallet.owners, wallet.maker)
        parts: dict[tuple[str, str], VenueTrade] = {}
        try:
            for fill in (one for row in rows.value for one in own_fills(row, ours).values()):
                other = parts.setdefault((fill.trade_id, fill.venue_order_id), fill)
                if (other.size_micros, other.price_micros) != (fill.size_micros, fill.price_micros):
                    # Whether that is still done is not known (docs/venue.md 6.3); dropped, a part would be lost.
                    return Unread(f"trade {fill.trade_id} is told in several parts")
        except Unreadable as error:
            return Unread(str(error))
        return Found(list(parts.values()))

    async def holdings(
        self, account: str, token_ids: Sequence[str]
    ) -> Found[Holdings] | Unread | None:
        """See `Venue.holdings`. The venue's own cache, asset by asset."""
        collateral = await self._balance(account, COLLATERAL)
        if isinstance(collateral, Unread):
            return Unread(f"collateral: {collateral.reason}")
        tokens: dict[str, int] = {}
        for token_id in token_ids:
            balance = await self._balance(account, token_id)
            if isinstance(balance, Unread):
                return Unread(f"token {token_id}: {balance.reason}")
            tokens[token_id] = balance.value
        return Found(Holdings(collateral.value, tokens))

    async def look_anew(self, account: str, assets: Sequence[str]) -> None:
        """See `Venue.look_anew`. One that fails leaves the cache as it was, and the balance says so."""
        wallet = self._wallets[account]
        for asset in assets:
            query = _asset(asset, wallet)
            await self._read(wallet, Endpoint.UPDATE_BALANCE, wallet.identity, query=query)

    async def _balance(self, account: str, asset: str) -> Found[int] | Unread:
        wallet = self._wallets[account]
        query = _asset(asset, wallet)
        exchange = await self._read(wallet, Endpoint.GET_BALANCE, wallet.identity, query=query)
        answer = read_balance(exchange)
        return answer if isinstance(answer, Unread) else Found(answer.value.balance_micros)

    # --- the stream -------------------------------------------------------------------------------

    async def events(
        self, account: str, *, after: int = 0
    ) -> AsyncIterator[StreamOpened | VenueEvent]:
        """See `Venue.events`. One connection; the channel replays nothing, so ``after`` means nothing to it."""
        wallet = self._wallets[account]
        credentials = wallet.credentials
        try:
            async for frame in follow(
                self._connect,
                self._user_channel_url,
                credentials,
                self._ports,
                retired=lambda: self._wallets[account].credentials.key_id != credentials.key_id,
            ):
                if isinstance(frame, Opened):
                    yield StreamOpened()
                    continue
                await wallet.known.meet(frame)
                ours = wallet.known.ours(wallet.owners, wallet.maker)
                for event in frame_events(frame, ours):
                    yield event
        except SocketLost as lost:
            raise StreamLost(str(lost)) from lost

    async def read_event(self, account: str, event_id: str, raw: str) -> VenueEvent:
        """See `Venue.read_event`."""
        wallet = self._wallets[account]
        await wallet.known.meet(raw)
        return read_event(event_id, raw, wallet.known.ours(wallet.owners, wallet.maker))

    # --- one request ------------------------------------------------------------------------------

    async def ask(self, account: str, endpoint: Endpoint, **options: object) -> Exchange:
        """A signed request of this account, for what is not orders: heartbeat, tier, closed-only."""
        return await self._ask(self._wallets[account], endpoint, **options)

    async def _read(
        self, wallet: Wallet, endpoint: Endpoint, identity: Identity, **options: object
    ) -> Exchange:
        """A read waits for its window: nobody is hurt by a late one."""
        while wait_ms := self._edge.wait_ms(endpoint):
            await self._ports.clock.sleep(wait_ms / 1000)
        exchange = await self._ask(wallet, endpoint, identity=identity, **options)
        self._notice(wallet, exchange, identity)
        return exchange

    async def _ask(self, wallet: Wallet, endpoint: Endpoint, **options: object) -> Exchange:
        transport = self._urgent if endpoint in _URGENT else self._transport
        return await transport.request(endpoint, **({"identity": wallet.identity} | options))  # type: ignore[arg-type]


def _asset(asset: str, wallet: Wallet) -> dict[str, str]:
    """How a balance is asked for."""
    kind = {"signature_type": str(wallet.signature_type)}
    if asset == COLLATERAL:
        return kind | {"asset_type": "COLLATERAL"}
    asset_type = "CONDITIONAL-V2" if is_protocol_v2(int(asset)) else "CONDITIONAL"
    return kind | {"asset_type": asset_type, "token_id": asset}


def _trade_row(row: TradeRow) -> str:
    """One logical trade may be told in buckets; its status may change between two pages."""
    fields = (
        row.fields.optional("bucket_index"),
        row.fields.get("bucket_index"),
        row.fields.get("size"),
    )
    return f"{row.trade_id}/{fields}"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()

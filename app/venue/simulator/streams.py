"""The websocket channels' memory: who listens to what, and what each is told when something happens.

Knows no sockets: a listener is something that takes text and can be dropped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from app.clock import Ports
from app.money import format_micros
from app.venue.interface import Side
from app.venue.matching import Book, resting
from app.venue.simulator.faults import Facts, Stage, Strike
from app.venue.simulator.public_reads import shown_book
from app.venue.simulator.records import BookTouched, Happening, MarketFrame, UserFrame
from app.venue.simulator.views import best, book_view

if TYPE_CHECKING:
    from app.venue.simulator.venue import Venue

Shown = dict[tuple[Side, int], int]
_STREAM: Final = frozenset({Stage.STREAM})


@dataclass(eq=False, slots=True)
class Listener:
    """One websocket connection after its first frame."""

    channel: str
    send: Callable[[str], None]
    drop: Callable[[], None]
    account: str = ""
    markets: set[str] = field(default_factory=set)
    """Of the user channel; empty: all."""
    tokens: set[str] = field(default_factory=set)
    custom: bool = False
    silent_until_ms: int = 0
    held: list[str] = field(default_factory=list)
    told: int = 0


class Hub:
    """All listeners. ``count_hits``: how a strike becomes a durable command."""

    def __init__(
        self, venue: Venue, ports: Ports, count_hits: Callable[[list[list[int]]], None]
    ) -> None:
        self._venue = venue
        self._ports = ports
        self._count = count_hits
        self.listeners: list[Listener] = []
        self._shown: dict[str, Shown] = {}

    # --- coming and going ----------------------------------------------------------------------

    def join(self, listener: Listener) -> None:
        self.listeners.append(listener)

    def leave(self, listener: Listener) -> None:
        if listener in self.listeners:
            self.listeners.remove(listener)

    def subscribe(self, listener: Listener, tokens: Iterable[str]) -> None:
        """More tokens for a market listener: it gets their books, in one array."""
        fresh = [t for t in tokens if t in self._venue.exchange.books and t not in listener.tokens]
        listener.tokens.update(fresh)
        frames = []
        for token in fresh:
            book = self._venue.exchange.books[token]
            self._shown.setdefault(token, _totals(book))
            frames.append({**shown_book(self._venue, book), "event_type": "book"})
        if frames:
            self._tell(listener, json.dumps(frames, separators=(",", ":")))

    # --- telling -------------------------------------------------------------------------------

    def publish(self, happenings: Iterable[Happening]) -> None:
        """Tell everybody concerned, in order. Books are compared once, at the end."""
        touched: dict[str, None] = {}
        for one in happenings:
            if isinstance(one, BookTouched):
                touched[one.token_id] = None
            elif isinstance(one, UserFrame):
                self._tell_user(one)
            else:
                self._tell_market(one)
        self._tell_books(touched)

    def _tell_user(self, frame: UserFrame) -> None:
        text = ""
        for listener in list(self.listeners):
            wanted = not listener.markets or frame.condition_id in listener.markets
            if listener.channel == "user" and listener.account == frame.account and wanted:
                text = text or json.dumps(frame.payload, separators=(",", ":"), ensure_ascii=False)
                self._tell(listener, text)

    def _tell_market(self, frame: MarketFrame) -> None:
        market = self._venue.exchange.markets[frame.condition_id]
        tokens = {frame.token_id} if frame.token_id else set(market.tokens)
        for listener in list(self.listeners):
            wanted = bool(listener.tokens & tokens) and (listener.custom or not frame.custom)
            if listener.channel == "market" and wanted:
                self._tell(listener, json.dumps(frame.payload, separators=(",", ":")))

    def _tell_books(self, touched: Iterable[str]) -> None:
        watched = {token for one in self.listeners for token in one.tokens}
        for token in touched:
            if token not in watched:
                self._shown.pop(token, None)
                continue
            book = self._venue.exchange.books[token]
            before, now = self._shown.get(token, {}), _totals(book)
            self._shown[token] = now
            changes = [key for key in {**before, **now} if before.get(key) != now.get(key)]
            if changes:
                self._tell_changes(book, sorted(changes), now)

    def _tell_changes(self, book: Book, changes: list[tuple[Side, int]], now: Shown) -> None:
        exchange = self._venue.exchange
        at_ms = exchange.touched_ms[book.token_id]
        market = exchange.markets[book.condition_id]
        view = book_view(book, market, at_ms, exchange.last_price.get(book.token_id, ""))
        bid, ask = best(book)
        edges = {
            "best_bid": format_micros(bid) if bid is not None else "",
            "best_ask": format_micros(ask) if ask is not None else "",
        }
        rows = [
            {
                "asset_id": book.token_id,
                "price": format_micros(price),
                "size": format_micros(now.get((side, price), 0)),
                "side": side.value,
                "hash": view["hash"],
                **edges,
            }
            for side, price in changes
        ]
        common = {"market": book.condition_id, "timestamp": str(at_ms)}
        frame: dict[str, Any] = {**common, "price_changes": rows, "event_type": "price_change"}
        spread = format_micros(ask - bid) if bid is not None and ask is not None else ""
        quote = {**common, "asset_id": book.token_id, **edges, "spread": spread}
        quote["event_type"] = "best_bid_ask"
        for listener in list(self.listeners):
            if book.token_id in listener.tokens:
                self._tell(listener, json.dumps(frame, separators=(",", ":")))
                if listener.custom:
                    self._tell(listener, json.dumps(quote, separators=(",", ":")))

    def _tell(self, listener: Listener, text: str) -> None:
        """One frame to one listener, through the faults of its channel."""
        now = self._venue.at_ms
        facts = Facts(f"WS {listener.channel}", listener.account, text)
        strikes, hits = self._venue.faults.decide(facts, _STREAM)
        if hits:
            self._count(hits)
        frames = [text]
        for strike in strikes:
            frames = self._befall(listener, strike, frames, now)
        if now < listener.silent_until_ms:
            return
        if frames:
            frames += listener.held
            listener.held.clear()
        for one in frames:
            listener.told += 1
            listener.send(one)

    def _befall(self, listener: Listener, strike: Strike, frames: list[str], now: int) -> list[str]:
        if strike.name == "stream_silence":
            listener.silent_until_ms = now + strike.params["ms"]
        elif strike.name == "frames_twice":
            return frames * 2
        elif strike.name == "frames_swapped":
            listener.held += frames
            self._ports.tasks.spawn(
                self._release(listener, strike.params["ms"]), name="simulator held frame"
            )
            return []
        elif strike.name == "stream_drop":
            listener.drop()
            return []
        elif strike.name == "frames_lost":
            return []
        return frames

    async def _release(self, listener: Listener, ms: int) -> None:
        """A held frame that nothing followed goes out by itself."""
        await self._ports.clock.sleep(ms / 1000)
        held, listener.held = listener.held, []
        for one in held:
            listener.send(one)


def _totals(book: Book) -> Shown:
    if not book.open:
        return {}
    return {
        (side, price): size
        for side in (Side.BUY, Side.SELL)
        for price, size in resting(book, side).items()
    }

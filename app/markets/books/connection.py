"""One connection to the market channel: subscribe, keep alive, ask again, and start over.

The venue replays nothing, so a book is only believed from the whole book that follows a
subscription. What looks wrong is asked for anew; what is not answered costs the connection, but only
once per token, so that a token that is gone does not keep tearing down the others'.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.clock import Ports
from app.markets.books.desk import Desk
from app.markets.books.notices import Connect, Notice, NoticeKind, Rules, Socket

_TURN: Final = 50
"""Messages handled before others get their turn."""


class Dropped(Exception):
    """We end the connection ourselves; the text says why."""


@dataclass(slots=True)
class _Watch:
    """How it stands with asking for one token's book."""

    asked_ns: int | None = None
    tries: int = 0
    not_before_ns: int = 0
    good_since_ns: int = 0
    cost_a_connection: bool = False


class Connection:
    """Follows its tokens until it is cancelled."""

    def __init__(
        self,
        number: int,
        url: str,
        connect: Connect,
        ports: Ports,
        desk: Desk,
        rules: Rules,
        lost: tuple[type[Exception], ...],
    ) -> None:
        self.number = number
        self.tokens: set[str] = set()
        self._url = url
        self._connect = connect
        self._ports = ports
        self._desk = desk
        self._rules = rules
        self._lost: tuple[type[Exception], ...] = (*lost, Dropped)
        self._watches: dict[str, _Watch] = {}
        self._subscribed: set[str] = set()
        self._heard_ns = 0
        self._served = False

    def drop(self, tokens: Iterable[str]) -> None:
        """Follow these no longer. The venue is told at the next look."""
        self.tokens.difference_update(tokens)

    async def run(self) -> None:
        """Connect, serve, and after a pause again. Errors that nobody foresaw pass through."""
        failures = 0
        while True:
            self._served = False
            why = await self._one_connection()
            failures = 0 if self._served else failures + 1
            self._desk.counters.disconnections += 1
            self._desk.lost(self.tokens)
            self._desk.tell(
                Notice(NoticeKind.DISCONNECTED, self.number, detail=why, count=failures)
            )
            pause_s = self._backoff_s(failures, self._rules.most_pause_s)
            await self._ports.clock.sleep(pause_s)

    async def _one_connection(self) -> str:
        """What ended it."""
        try:
            link = await self._connect(self._url)
        except self._lost as error:
            return str(error)[:300] or type(error).__name__
        try:
            await self._serve(link)
        except self._lost as error:
            return str(error)[:300] or type(error).__name__
        finally:
            await link.close()
        return "ended"

    async def _serve(self, link: Socket) -> None:
        await self._open(link)
        queue: asyncio.Queue[str] = asyncio.Queue(self._rules.queue_frames)
        spawn = self._ports.tasks.spawn
        tasks: list[asyncio.Task[Any]] = [
            spawn(self._receive(link, queue), name=f"books receive {self.number}"),
            spawn(self._take(queue), name=f"books take {self.number}"),
            spawn(self._ping(link), name=f"books ping {self.number}"),
            spawn(self._mind(link), name=f"books mind {self.number}"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            # a fault of ours must not pass for a lost connection that ended in the same moment
            for task in sorted(done, key=lambda one: isinstance(one.exception(), self._lost)):
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _open(self, link: Socket) -> None:
        now_ns = self._now_ns()
        self._heard_ns = now_ns
        self._subscribed = set(self.tokens)
        self._watches = {token: self._watch(token) for token in self.tokens}
        for watch in self._watches.values():
            watch.asked_ns = now_ns
        first = {"type": "market", "assets_ids": sorted(self._subscribed)}
        await link.send(_json(first | _OPTIONS))
        self._desk.counters.connections += 1
        self._desk.tell(Notice(NoticeKind.CONNECTED, self.number, count=len(self._subscribed)))

    # --- what runs while it is open -----------------------------------------------------------

    async def _receive(self, link: Socket, queue: asyncio.Queue[str]) -> None:
        while True:
            text = await link.receive()
            self._heard_ns = self._now_ns()
            if text.strip().upper() in ("PONG", ""):
                continue
            try:
                queue.put_nowait(text)
            except asyncio.QueueFull:
                # a message dropped in the middle is a gap in every book; a new start has none
                self._desk.counters.overflows += 1
                raise Dropped(f"{queue.maxsize} messages waited to be read") from None

    async def _take(self, queue: asyncio.Queue[str]) -> None:
        handled = 0
        while True:
            self._desk.take(self.number, await queue.get())
            handled += 1
            if handled % _TURN == 0:
                await self._ports.clock.sleep(0)

    async def _ping(self, link: Socket) -> None:
        while True:
            await self._ports.clock.sleep(self._rules.ping_every_s)
            await link.send("PING")

    async def _mind(self, link: Socket) -> None:
        while True:
            await self._ports.clock.sleep(self._rules.look_every_s)
            if self._now_ns() - self._heard_ns > _ns(self._rules.silent_after_s):
                raise Dropped(f"no frame for {self._rules.silent_after_s:g} s")
            await self._follow_wishes(link)
            self._settle()
            await self._ask_again(link)

    async def _follow_wishes(self, link: Socket) -> None:
        """Tokens that came or went since the connection was opened."""
        wishes = set(self.tokens)
        gone, new = self._subscribed - wishes, wishes - self._subscribed
        self._subscribed = wishes
        for token in gone:
            self._watches.pop(token, None)
        for token in new:
            self._watch(token).asked_ns = self._now_ns()
        if gone:
            await link.send(_update("unsubscribe", gone))
        if new:
            await link.send(_update("subscribe", new))

    def _settle(self) -> None:
        quiet_since_ns = self._now_ns() - _ns(self._rules.settle_after_s)
        for token in self._live():
            book = self._desk.books[token]
            if book.claim is not None and book.seen_ns <= quiet_since_ns:
                self._desk.settle(self.number, token)

    def _live(self) -> list[str]:
        """Subscribed, still wanted, and in a market that still trades."""
        wanted = sorted(self._subscribed & self.tokens)
        return [token for token in wanted if not self._desk.books[token].resolved]

    # --- asking again -------------------------------------------------------------------------

    async def _ask_again(self, link: Socket) -> None:
        now_ns = self._now_ns()
        unanswered = [token for token in self._live() if self._is_late(token, now_ns)]
        if unanswered:
            self._give_up_on(unanswered, now_ns)
        wanted = [token for token in self._live() if self._is_due(token, now_ns)]
        if not wanted:
            return
        for token in wanted:
            self._note_asking(token, now_ns)
        why = self._desk.books[wanted[0]].suspect or "stale"
        # a token that is still subscribed would be refused as a duplicate
        await link.send(_update("unsubscribe", wanted))
        await link.send(_update("subscribe", wanted))
        self._desk.counters.resubscriptions += len(wanted)
        self._desk.tell(
            Notice(
                NoticeKind.RESUBSCRIBED,
                self.number,
                wanted[0],
                detail=why,
                count=len(wanted),
            )
        )

    def _note_asking(self, token: str, now_ns: int) -> None:
        """A book that keeps going wrong is asked for ever less often; a quiet one is not wrong."""
        watch = self._watch(token)
        watch.asked_ns = now_ns
        if self._desk.books[token].suspect:
            watch.tries += 1
            patience_s = self._backoff_s(watch.tries, self._rules.most_patience_s)
            watch.not_before_ns = now_ns + _ns(patience_s)

    def _is_late(self, token: str, now_ns: int) -> bool:
        """Asked for, and no whole book came in time. Notes the answer where there is one."""
        watch = self._watch(token)
        if watch.asked_ns is None:
            return False
        if self._desk.whole_ns.get(token, -1) < watch.asked_ns:
            return now_ns - watch.asked_ns > _ns(self._rules.answer_within_s)
        watch.asked_ns = None
        watch.good_since_ns = now_ns
        self._served = True
        if watch.tries or watch.cost_a_connection:
            self._desk.tell(Notice(NoticeKind.RESTORED, self.number, token, count=watch.tries))
        watch.cost_a_connection = False
        return False

    def _give_up_on(self, tokens: Sequence[str], now_ns: int) -> None:
        """Replace the connection for them, or, where that was tried, leave them be for a while."""
        fresh = [token for token in tokens if not self._watch(token).cost_a_connection]
        for token in tokens:
            watch = self._watch(token)
            watch.asked_ns = None
            watch.cost_a_connection = True
            watch.not_before_ns = now_ns + _ns(self._rules.most_patience_s)
        if fresh or len(tokens) == len(self._live()):
            raise Dropped(f"{len(tokens)} books did not come")
        for token in tokens:
            self._desk.tell(Notice(NoticeKind.SILENT, self.number, token))

    def _is_due(self, token: str, now_ns: int) -> bool:
        """Wrong, or without news for too long, and not asked for just now."""
        book, watch = self._desk.books[token], self._watch(token)
        if watch.asked_ns is not None:
            return False
        stale = now_ns - book.seen_ns > _ns(self._rules.stale_after_s)
        if book.suspect or stale or book.snapshot_ms is None:
            return now_ns >= watch.not_before_ns
        if watch.tries and now_ns - watch.good_since_ns > _ns(self._rules.good_after_s):
            watch.tries = 0
        return False

    def _watch(self, token: str) -> _Watch:
        return self._watches.setdefault(token, _Watch())

    def _backoff_s(self, failures: int, most_s: float) -> float:
        """Exponential with up to a half more: feeds that failed together must not come back so."""
        base_s = min(most_s, self._rules.first_pause_s * 2.0 ** min(failures, 16))
        return base_s + self._ports.rng.uniform(0, base_s / 2)

    def _now_ns(self) -> int:
        return self._ports.clock.monotonic_ns()


_OPTIONS: Final = {"initial_dump": True, "custom_feature_enabled": True}


def _update(operation: str, tokens: Iterable[str]) -> str:
    frame = {"operation": operation, "assets_ids": sorted(tokens)}
    return _json(frame | _OPTIONS if operation == "subscribe" else frame)


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _ns(seconds: float) -> int:
    return int(seconds * 1_000_000_000)

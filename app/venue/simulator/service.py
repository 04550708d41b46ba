"""The running venue: takes requests, lets the machine decide, makes it durable, then answers.

The order of things is the promise of this process: decide, journal, fsync, tell the streams, answer.
Whatever anybody has heard of is in the journal, so a kill loses nothing that was answered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from app.clock import Ports
from app.errors import LedgerError
from app.venue.simulator import private_reads
from app.venue.simulator.accounts import ApiKey
from app.venue.simulator.authentication import level1, level2
from app.venue.simulator.cursors import decode_cursor
from app.venue.simulator.faults import Facts, Stage, Strike
from app.venue.simulator.faults.bending import Delivery, after, bend_request, instead, later
from app.venue.simulator.journal import Command, Journal
from app.venue.simulator.messages import Request, Response, answer, refuse
from app.venue.simulator.records import Happening
from app.venue.simulator.routes import PRIVATE, PUBLIC, Route, find_route
from app.venue.simulator.settings import Settings
from app.venue.simulator.streams import Hub
from app.venue.simulator.texts import UNAUTHORIZED
from app.venue.simulator.trading import HANDLERS
from app.venue.simulator.venue import Venue

_HTTP: Final = frozenset({Stage.REQUEST, Stage.INSTEAD, Stage.LATER, Stage.DURING, Stage.AFTER})
_IDLE_S: Final = 0.05
_PLACING: Final = ("POST /order", "POST /orders")
_RENAMED: Final = {"settle_fail": "FAIL", "settle_retry": "RETRY"}


class Service:
    """One venue, its journal and its streams."""

    def __init__(self, journal: Journal, ports: Ports) -> None:
        self._journal = journal
        self._ports = ports
        self.venue = Venue(Settings())
        self.hub = Hub(self.venue, ports, self._count)
        self._outbox: list[tuple[int, int, list[Happening]]] = []
        self.requests = 0

    def start(self, settings: dict[str, Any], at_ms: int | None = None) -> int:
        """Replay the journal, then note the start. Returns how many commands were replayed.

        ``at_ms``: a fresh venue's clock stands there until it is moved.
        """
        commands = self._journal.read()
        for command in commands:
            self.venue.apply(command)
            self.venue.drain()
        if at_ms is not None and not commands:
            self.venue.manual, self.venue.at_ms = True, at_ms
            self.submit({"t": "started", "settings": settings, "manual": True})
        else:
            self.submit({"t": "started", "settings": settings})
        self._journal.write()
        return len(commands)

    # --- time ----------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """The venue's time: by hand, or this machine's with an offset; never backwards."""
        if self.venue.manual:
            return self.venue.at_ms
        return max(self.venue.at_ms, self._ports.clock.now_ms() + self.venue.offset_ms)

    def now_s(self) -> int:
        """This machine's time, which is what clients sign their headers with."""
        return self._ports.clock.now_ms() // 1000

    async def run(self) -> None:
        """Let time pass while nobody asks."""
        while True:
            await self._ports.clock.sleep(_IDLE_S)
            if self.catch_up():
                await self.settled()

    def catch_up(self) -> bool:
        """Let what is due happen. Whether there was anything."""
        due, now = self.venue.due_ms(), self.now_ms()
        if due is None or due > now:
            return False
        self.submit({"t": "tick"})
        return True

    # --- commands ------------------------------------------------------------------------------

    def submit(self, command: Command, *, late_ms: int = 0) -> Any:
        """Decide and remember. Nobody may hear of it before `settled` returns."""
        command["at"] = self.now_ms()
        try:
            result = self.venue.apply(command)
        except LedgerError:
            # refused with nothing changed, but for the time that passed on the way
            self._remember({"t": "tick", "at": command["at"]}, 0)
            raise
        self._remember(command, late_ms)
        return result

    def _remember(self, command: Command, late_ms: int) -> None:
        self._journal.append(command)
        happened = self.venue.drain()
        if happened:
            self._outbox.append((self._journal.appended, late_ms, happened))

    async def settled(self) -> None:
        """Wait until everything submitted so far is durable, and tell the streams."""
        await self._journal.flushed()
        ready = [one for one in self._outbox if one[0] <= self._journal.durable]
        self._outbox = self._outbox[len(ready) :]
        for _, late_ms, happened in ready:
            if late_ms:
                self._ports.tasks.spawn(
                    self._tell_later(late_ms, happened), name="simulator late frames"
                )
            else:
                self.hub.publish(happened)

    async def _tell_later(self, late_ms: int, happened: list[Happening]) -> None:
        await self._ports.clock.sleep(late_ms / 1000)
        self.hub.publish(happened)

    def _count(self, hits: list[list[int]]) -> None:
        self.submit({"t": "hits", "hits": hits})

    # --- requests ------------------------------------------------------------------------------

    async def handle(self, request: Request) -> Delivery:
        """One request of a client, from the edge to its answer."""
        self.requests += 1
        request = replace(request, at_ms=self.now_ms())
        if self.catch_up():
            await self.settled()
        route = find_route(request.method, request.path)
        if route is None:
            return Delivery(refuse(404, "not found"))
        key = level2(request, self.venue.accounts, self.venue.settings, self.now_s())
        strikes = self._strikes(request, route, key)
        request = bend_request(request, strikes)
        at_edge = [one for one in strikes if one.stage is Stage.INSTEAD]
        if at_edge:
            batch = request.body.count(b'"signature"') if route.endpoint == "POST /orders" else None
            return instead(at_edge[0], batch=batch)
        try:
            response = self._answer(request, route, key, strikes)
        except LedgerError as error:
            response = refuse(400, error.wrong)
        # a read too may have seen what is not durable yet
        await self.settled()
        if isinstance(response, Delivery):
            return response
        return after(Delivery(response), strikes)

    def _strikes(self, request: Request, route: Route, key: ApiKey | None) -> list[Strike]:
        if not self.venue.faults.rules:
            return []
        body = request.body.decode("utf-8", errors="replace")
        text = " ".join((request.path, str(dict(request.query)), body))
        facts = Facts(route.endpoint, key.address if key is not None else "", text)
        # what shifts pages waits for a page that can be shifted
        behind_first = bool(decode_cursor(request.query.get("next_cursor", "")))
        stages = _HTTP if behind_first else _HTTP - {Stage.REQUEST}
        strikes, hits = self.venue.faults.decide(facts, stages)
        if hits:
            self._count(hits)
        return strikes

    def _answer(
        self, request: Request, route: Route, key: ApiKey | None, strikes: list[Strike]
    ) -> Response | Delivery:
        if route.endpoint in PUBLIC:
            return PUBLIC[route.endpoint](self.venue, request, route.arg)
        if route.endpoint in ("POST /auth/api-key", "GET /auth/derive-api-key"):
            return self._api_key(request, route)
        if key is None:
            return refuse(401, UNAUTHORIZED)
        asked = private_reads.Asked(request, key, route.arg)
        if route.endpoint in PRIVATE:
            return PRIVATE[route.endpoint](self.venue, asked)
        if route.endpoint in HANDLERS:
            return self._call(request, route, key, strikes)
        return self._account_command(asked, route)

    def _api_key(self, request: Request, route: Route) -> Response:
        asked = level1(request, self.venue.settings, self.now_s())
        if asked is None:
            return refuse(401, "Invalid L1 Request headers")
        address, nonce = asked
        if route.endpoint == "POST /auth/api-key":
            made: Response = self.submit({"t": "key", "address": address, "nonce": nonce})
            return made
        key = self.venue.accounts.key_for(address, nonce)
        if key is None:
            return refuse(400, "Could not derive api key!")
        body = {"apiKey": key.key_id, "secret": key.secret, "passphrase": key.passphrase}
        return answer(body)

    def _account_command(self, asked: private_reads.Asked, route: Route) -> Response:
        if route.endpoint == "DELETE /auth/api-key":
            command: Command = {"t": "drop_key", "key": asked.key.key_id}
        else:
            asset = private_reads.asset_asked(asked.request)
            if asset is None:
                return refuse(400, "Invalid asset type")
            wallet = private_reads.wallet_asked(self.venue, asked)
            command = {"t": "refresh", "wallet": wallet, "asset": asset}
        response: Response = self.submit(command)
        return response

    def _call(
        self, request: Request, route: Route, key: ApiKey, strikes: list[Strike]
    ) -> Response | Delivery:
        if route.endpoint in _PLACING and self.venue.geoblock.get("blocked"):
            return refuse(403, "Trading restricted in your region")
        call: Command = {
            "ep": route.endpoint,
            "acct": key.address,
            "key": key.key_id,
            "body": request.body.decode("utf-8", errors="replace"),
        }
        effects = _effects(strikes)
        if effects:
            call["fx"] = effects
        late = [one for one in strikes if one.stage is Stage.LATER]
        if late:
            self.submit({"t": "late", "ms": late[0].params["ms"], "call": call})
            return later(late[0])
        late_ms = sum(one.params["ms"] for one in strikes if one.name == "frames_late")
        response: Response = self.submit({"t": "call", **call}, late_ms=late_ms)
        return response


def _effects(strikes: Iterable[Strike]) -> dict[str, dict[str, Any]]:
    """DURING faults as the engine takes them."""
    effects: dict[str, dict[str, Any]] = {}
    for one in strikes:
        if one.stage is not Stage.DURING:
            continue
        if one.name in _RENAMED:
            effects["settlement"] = {"fate": _RENAMED[one.name], **one.params}
        else:
            effects[one.name] = one.params
    return effects

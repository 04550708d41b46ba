"""The network between a process and the venue: the transport's own code above, a request in memory below.

What the real transport does stays as it is (headers, watch, time limits, records); only the connection is another one.
A request takes its time there and its answer takes its time back; the sender may be killed at either end of both.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from app.venue.polymarket.sockets import SocketLost
from app.venue.polymarket.transport import Identity, Sent, Transport, _Pool
from app.venue.polymarket.watch import MayNotLeave, Watch
from app.venue.polymarket.wire import Endpoint, Exchange, Phase
from app.venue.simulator.faults.bending import Delivery
from app.venue.simulator.messages import Request
from proof.simulation.loop import ACTOR
from proof.simulation.venue import SimVenue
from proof.simulation.world import AFTER, BEFORE, World

_HTTP: Final = "http11.send_request_{}"


class _NoClient:
    async def aclose(self) -> None:
        """Nothing is open."""


def transport_class(world: World, venue: SimVenue) -> type[Transport]:
    """What stands for `Transport` in this world."""

    class SimTransport(Transport):
        def _open(self) -> _Pool:
            return _Pool(_NoClient(), self._ports.clock.monotonic_ns())  # type: ignore[arg-type]

        async def _exchange(
            self,
            pool: _Pool,
            endpoint: Endpoint,
            sent: Sent,
            identity: Identity | None,
            watch: Watch,
        ) -> Exchange:
            headers = self._headers(identity, sent)
            path = urlsplit(self._base_url).path + sent.path
            step = _Step(world, venue, endpoint, path, sent, headers)
            try:
                async with watch.limit():
                    return await step.run(watch)
            except MayNotLeave as error:
                return Exchange(endpoint, watch.phase(has_head=False), problem=str(error))
            except TimeoutError:
                phase = watch.phase(has_head=False)
                world.trace.note(ACTOR.get().name, endpoint.value, "timeout")
                return Exchange(endpoint, phase, problem=watch.timed_out())

    return SimTransport


class _Step:
    """One request on its way."""

    def __init__(
        self,
        world: World,
        venue: SimVenue,
        endpoint: Endpoint,
        path: str,
        sent: Sent,
        headers: dict[str, str],
    ) -> None:
        self._world = world
        self._venue = venue
        self._endpoint = endpoint
        self._path = path
        self._sent = sent
        self._headers = headers
        self._sent_at = (0, 0, "")

    async def run(self, watch: Watch) -> Exchange:
        world, place = self._world, f"sent {_named(self._endpoint)}"
        await self._pass(2)
        if await world.meet(place, BEFORE) == "lose":
            self._note("no connection")
            return Exchange(self._endpoint, Phase.CONNECTING, problem="ConnectError: refused")
        await watch.saw(_HTTP.format("headers.started"), {})
        async for _ in watch.body(self._sent.body):
            pass
        await watch.saw(_HTTP.format("body.complete"), {})
        self._sent_at = (world.turn, world.now_us, ACTOR.get().name)
        arriving = world.loop.create_future()
        # On its way it is nobody's: the sender's death does not call it back.
        world.later(world.chance.random() * 5, lambda: self._arrive(arriving))
        lost = await world.meet(place, AFTER) == "lose"
        delivery: Delivery = await arriving
        if lost or delivery.response is None or delivery.drop_at == 0:
            await self._wait(delivery.head_ms)
            self._note("no answer")
            return Exchange(self._endpoint, Phase.SENDING, problem="ReadError: ")
        return await self._answered(delivery)

    def _arrive(self, arriving: asyncio.Future[Delivery]) -> None:
        pairs = parse_qsl(self._sent.query, keep_blank_values=True)
        lists: dict[str, tuple[str, ...]] = {}
        for name, value in pairs:
            lists[name] = (*lists.get(name, ()), value)
        request = Request(
            self._sent.method,
            self._path,
            {name: values[-1] for name, values in lists.items()},
            {name.lower(): value for name, value in self._headers.items()},
            self._sent.body,
            lists=lists,
        )
        venue = self._venue
        task = self._world.loop.spawn(
            venue.actor, venue.handle(request, self._sent_at), "venue handles"
        )
        task.add_done_callback(lambda done: _pass_on(done, arriving))

    async def _answered(self, delivery: Delivery) -> Exchange:
        world, response = self._world, delivery.response
        assert response is not None
        pieces = len(response.body) // delivery.chunk if delivery.chunk else 0
        await self._wait(delivery.head_ms + pieces * delivery.chunk_ms)
        await self._pass(5)
        place = f"answer to {_named(self._endpoint)}"
        await world.meet(place, BEFORE)
        headers = {"content-type": response.content_type} | {
            name.lower(): value for name, value in response.headers.items()
        }
        body, phase, problem = response.body, Phase.DONE, ""
        if delivery.drop_at is not None:
            body, phase, problem = body[: delivery.drop_at], Phase.READING, "RemoteProtocolError: "
        self._note(f"{response.status} {phase.value}")
        await world.meet(place, AFTER)
        return Exchange(self._endpoint, phase, response.status, headers, body, problem)

    def _note(self, outcome: str) -> None:
        if self._endpoint.method != "GET" or not outcome.startswith("200"):
            self._world.trace.note(ACTOR.get().name, self._endpoint.value, outcome)

    async def _pass(self, most_ms: float) -> None:
        await self._world.loop.nap(self._world.chance.random() * most_ms / 1000)

    async def _wait(self, ms: int) -> None:
        if ms:
            await self._world.loop.nap(ms / 1000)


def _named(endpoint: Endpoint) -> str:
    """One order or several leave from the same line of code: whether they share a request is chance."""
    one = {Endpoint.POST_ORDERS: Endpoint.POST_ORDER, Endpoint.DELETE_ORDERS: Endpoint.DELETE_ORDER}
    return one.get(endpoint, endpoint).value


def _pass_on(done: asyncio.Future[Delivery], arriving: asyncio.Future[Delivery]) -> None:
    if arriving.done():
        return
    if (error := done.exception()) is not None:
        arriving.set_exception(error)
    else:
        arriving.set_result(done.result())


class SimSocket:
    """The user channel in memory: frames arrive in order, each some milliseconds after it was sent."""

    def __init__(self, world: World, venue: SimVenue) -> None:
        self._world = world
        self._frames: deque[str] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._lost = False
        self._last_ns = 0
        self._owner = ACTOR.get()
        self._channel = venue.channel(self._send, self._drop)

    # the venue's side

    def _send(self, text: str) -> None:
        world = self._world
        due_ns = world.loop.now_ns + int(world.chance.random() * 20e6)
        self._last_ns = max(due_ns, self._last_ns + 1)
        world.later((self._last_ns - world.loop.now_ns) / 1e6, lambda: self._come(text))

    def _come(self, text: str) -> None:
        if not self._owner.alive:
            self._channel.close()
        elif not self._lost:
            self._frames.append(text)
            self._wake()

    def _drop(self) -> None:
        self._world.later(1, self.lose)

    def lose(self) -> None:
        self._lost = True
        self._channel.close()
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    # the client's side

    async def send(self, text: str) -> None:
        """See `Socket.send`."""
        if self._lost:
            raise SocketLost("closed: gone")
        if not self._channel.receive(text):
            self.lose()

    async def receive(self) -> str:
        """See `Socket.receive`."""
        while not self._frames:
            if self._lost:
                raise SocketLost("closed: gone")
            self._waiting = self._world.loop.create_future()
            await self._waiting
        return self._frames.popleft()

    async def close(self) -> None:
        """See `Socket.close`."""
        self.lose()


def connector_of(world: World, venue: SimVenue) -> Any:
    """What stands for `connector`."""

    def connector(**_options: Any) -> Any:
        async def connect(_url: str) -> SimSocket:
            await asyncio.sleep(world.chance.random() * 0.01)
            return SimSocket(world, venue)

        return connect

    return connector

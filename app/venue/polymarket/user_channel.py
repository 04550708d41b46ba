"""The user channel: subscribe, keep alive, and say so when it is lost or silent.

Source: docs/venue.md 6.1 and 6.5. The channel replays nothing, so whoever reads it must compare with REST
after each `Opened`. A socket that still answers PING may have stopped carrying data; that cannot be seen
here, where silence is normal, and is judged by the orders that should have been told of.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from app.clock import Ports
from app.venue.polymarket.auth import ApiCredentials
from app.venue.polymarket.sockets import Connect, Socket, SocketLost

PING_EVERY_S: Final = 10.0
WATCH_EVERY_S: Final = 1.0
SILENT_AFTER_S: Final = 30.0
"""Without any frame, PONG included, the connection is taken for dead."""

RECYCLE_AFTER_S: Final = 1_800.0


@dataclass(frozen=True, slots=True)
class Opened:
    """Subscribed: what is told from now on will be seen, what was told before may have been missed."""


async def follow(
    connect: Connect,
    url: str,
    credentials: ApiCredentials,
    ports: Ports,
    *,
    retired: Callable[[], bool] = lambda: False,
) -> AsyncIterator[Opened | str]:
    """One connection: `Opened`, then raw frames as they come. Raises `SocketLost` at its end, whatever ends it.

    ``retired``: whether the account has another key by now, of whose orders this connection would not tell.
    """
    channel = await connect(url)
    try:
        await channel.send(subscription(credentials))
        yield Opened()
        async for frame in _frames(channel, ports, retired):
            yield frame
    finally:
        await channel.close()


async def _frames(channel: Socket, ports: Ports, retired: Callable[[], bool]) -> AsyncIterator[str]:
    clock = ports.clock
    started_ns = heard_ns = clock.monotonic_ns()
    pinger = ports.tasks.spawn(_ping(channel, ports), name="user channel ping")
    receiving = ports.tasks.spawn(channel.receive(), name="user channel receive")
    tick: asyncio.Task[None] | None = None
    try:
        while True:
            tick = ports.tasks.spawn(clock.sleep(WATCH_EVERY_S), name="user channel watch")
            await asyncio.wait((receiving, pinger, tick), return_when=asyncio.FIRST_COMPLETED)
            tick.cancel()
            if receiving.done():
                frame = receiving.result()
                heard_ns = clock.monotonic_ns()
                receiving = ports.tasks.spawn(channel.receive(), name="user channel receive")
                if frame.strip().upper() != "PONG" and frame.strip():
                    yield frame
            if pinger.done():
                pinger.result()
            if retired():
                raise SocketLost("the account has another API key now")
            now_ns = clock.monotonic_ns()
            if now_ns - heard_ns > SILENT_AFTER_S * 1e9:
                raise SocketLost(f"no frame for {SILENT_AFTER_S:.0f} s")
            if now_ns - started_ns > RECYCLE_AFTER_S * 1e9:
                raise SocketLost("recycled: a connection is not trusted for ever")
    finally:
        tasks = [task for task in (pinger, receiving, tick) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ping(channel: Socket, ports: Ports) -> None:
    while True:
        await ports.clock.sleep(PING_EVERY_S)
        await channel.send("PING")


def subscription(credentials: ApiCredentials) -> str:
    """All markets: an order in a market nobody listed must be heard of too."""
    return json.dumps({"auth": credentials.stream_auth(), "type": "user"}, separators=(",", ":"))

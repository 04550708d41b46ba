"""Checks of the two web sockets: connect, subscribe, hear something, and not be shown the door."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Final

from app.circuit import Held
from app.clock import Ports
from app.external import External, Failed
from app.venue.polymarket.auth import ApiCredentials
from app.venue.polymarket.sockets import Connect, Socket, SocketLost
from app.venue.polymarket.user_channel import subscription
from workers.doctor.findings import Finding, fail, ok, skipped, warn

HEAR_MS: Final = 10_000
STAY_MS: Final = 1_500
"""After the first sign of life: a venue that refuses the key closes the connection, and not at once."""


async def check_user_stream(
    connect: Connect, url: str, credentials: ApiCredentials, ports: Ports
) -> Finding:
    """The user channel with our key. A PONG shows a connection, and staying shows that the key was taken."""
    return await _check("user channel", connect, url, subscription(credentials), ports)


async def check_market_stream(
    connect: Connect, url: str, tokens: Sequence[str], ports: Ports
) -> Finding:
    """The market channel with a few tokens: its first data is their books."""
    if not tokens:
        return skipped("market channel", "no market is tradable")
    frame = json.dumps({"type": "market", "assets_ids": list(tokens)})
    return await _check("market channel", connect, url, frame, ports)


async def _check(name: str, connect: Connect, url: str, frame: str, ports: Ports) -> Finding:
    external = External(name, ports, timeout_ms=HEAR_MS + STAY_MS + 5_000)
    answer = await external.call(
        lambda: _listen(connect, url, frame, ports), expect=(SocketLost, OSError)
    )
    step = "look at the address, the key and what stands between: a proxy may not carry web sockets"
    if isinstance(answer, Failed):
        return fail(name, answer.why, step)
    if isinstance(answer, Held):
        return fail(name, "its circuit is open", step)
    heard, took_ms = answer.value
    if heard == "nothing":
        return warn(name, f"connected, and nothing was heard for {HEAR_MS} ms, not even PONG", step)
    return ok(name, f"first {heard} after {took_ms} ms")


async def _listen(connect: Connect, url: str, frame: str, ports: Ports) -> tuple[str, int]:
    """What was heard first, and when. Raises `SocketLost` if the connection did not last."""
    started_ns = ports.clock.monotonic_ns()
    channel = await connect(url)
    try:
        await channel.send(frame)
        await channel.send("PING")
        heard = await _within(ports, HEAR_MS, channel)
        took_ms = (ports.clock.monotonic_ns() - started_ns) // 1_000_000
        if heard is None:
            return "nothing", took_ms
        await _within(ports, STAY_MS, channel, till_lost=True)
        return ("pong" if heard.strip().upper() == "PONG" else "data"), took_ms
    finally:
        await channel.close()


async def _within(ports: Ports, ms: int, channel: Socket, *, till_lost: bool = False) -> str | None:
    """The next frame within so long, or None. ``till_lost``: only a lost connection ends it early."""
    over = ports.tasks.spawn(ports.clock.sleep(ms / 1000), name="doctor waits")
    try:
        while True:
            frame = ports.tasks.spawn(channel.receive(), name="doctor listens")
            try:
                await asyncio.wait((frame, over), return_when=asyncio.FIRST_COMPLETED)
                if frame.done():
                    heard: str = frame.result()
                    if not till_lost:
                        return heard
                if over.done():
                    return None
            finally:
                frame.cancel()
                await asyncio.gather(frame, return_exceptions=True)
    finally:
        over.cancel()
        await asyncio.gather(over, return_exceptions=True)

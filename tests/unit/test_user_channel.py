"""The user channel keeps itself alive, and takes a connection that says nothing, or lives for long, for dead."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from app.venue.polymarket.auth import ApiCredentials
from app.venue.polymarket.sockets import SocketLost
from app.venue.polymarket.user_channel import Opened, follow
from tests.support.channel import FakeSocket
from tests.support.stepping import SteppingClock, ports_on

URL = "wss://example.test/ws/user"
KEY = ApiCredentials("key-id", "c2VjcmV0", "passphrase")


@dataclass
class Rig:
    """One connection in memory, followed, with time in the test's hand."""

    clock: SteppingClock = field(default_factory=SteppingClock)
    socket: FakeSocket = field(default_factory=lambda: FakeSocket(None))
    heard: list[Opened | str] = field(default_factory=list)
    retired: bool = False
    ended: str = ""
    refused: bool = False

    async def connect(self, url: str, /) -> FakeSocket:
        assert url == URL
        if self.refused:
            raise SocketLost("no connection")
        return self.socket

    async def follow(self) -> None:
        try:
            async for one in follow(
                self.connect, URL, KEY, ports_on(self.clock), retired=lambda: self.retired
            ):
                self.heard.append(one)
        except SocketLost as lost:
            self.ended = str(lost)

    def pings(self) -> int:
        return self.socket.sent.count("PING")

    async def wait(self, seconds: float, *, pong: bool = True) -> None:
        """Second by second; with ``pong`` the venue answers every ping."""
        for _ in range(round(seconds)):
            before = self.pings()
            await self.clock.advance(1)
            if pong and self.pings() > before:
                self.socket.put("PONG")
                await self.clock.settle()


@asynccontextmanager
async def following(rig: Rig | None = None) -> AsyncIterator[Rig]:
    rig = rig or Rig()
    task = asyncio.ensure_future(rig.follow())
    await rig.clock.settle()
    try:
        yield rig
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        left = [one for one in asyncio.all_tasks() if one.get_name().startswith("user channel")]
        assert left == []


async def test_a_connection_subscribes_to_all_markets_and_says_so_before_any_frame() -> None:
    async with following() as rig:
        [asked] = rig.socket.asked
        assert asked["type"] == "user"
        assert "markets" not in asked
        assert set(asked["auth"].values()) == {"key-id", "c2VjcmV0", "passphrase"}
        rig.socket.say({"event_type": "order"})
        await rig.clock.settle()
        assert rig.heard == [Opened(), json.dumps({"event_type": "order"})]


async def test_a_ping_goes_out_every_ten_seconds_whatever_is_heard_meanwhile() -> None:
    async with following() as rig:
        await rig.wait(9)
        assert rig.pings() == 0
        await rig.wait(1)
        assert rig.pings() == 1
        for _ in range(30):
            rig.socket.say({"event_type": "order"})
            await rig.wait(1)
        assert rig.pings() == 4
        assert rig.ended == ""


async def test_pongs_and_empty_frames_keep_a_connection_alive_and_are_not_told() -> None:
    async with following() as rig:
        await rig.wait(120)
        for text in ("PONG", " pong\n", "", "  "):
            rig.socket.put(text)
        await rig.wait(1)
        assert rig.heard == [Opened()]
        assert rig.ended == ""


async def test_a_connection_without_any_frame_for_thirty_seconds_is_lost_and_closed() -> None:
    async with following() as rig:
        await rig.wait(29, pong=False)
        assert rig.ended == ""
        await rig.wait(2, pong=False)
        assert rig.ended == "no frame for 30 s"
        assert rig.socket.closed


async def test_silence_counts_from_the_last_frame_not_from_the_begin() -> None:
    async with following() as rig:
        await rig.wait(25, pong=False)
        rig.socket.say({"event_type": "trade"})
        await rig.wait(29, pong=False)
        assert rig.ended == ""
        await rig.wait(3, pong=False)
        assert rig.ended == "no frame for 30 s"


async def test_a_connection_is_recycled_after_half_an_hour_however_well_it_works() -> None:
    async with following() as rig:
        await rig.wait(1_799)
        assert rig.ended == ""
        await rig.wait(3)
        assert rig.ended.startswith("recycled")
        assert rig.socket.closed


async def test_a_connection_of_a_key_that_was_replaced_is_given_up_within_a_second() -> None:
    async with following() as rig:
        await rig.wait(5)
        rig.retired = True
        await rig.wait(1)
        assert rig.ended == "the account has another API key now"
        assert rig.socket.closed


async def test_a_ping_that_cannot_be_sent_ends_the_connection() -> None:
    async with following() as rig:

        async def broken(text: str) -> None:
            raise SocketLost(f"{text}: broken pipe")

        rig.socket.send = broken  # type: ignore[method-assign]
        await rig.wait(11)
        assert rig.ended == "PING: broken pipe"
        assert rig.socket.closed


@pytest.mark.parametrize("ending", ["cut", "refused"])
async def test_a_connection_that_is_lost_or_never_made_says_so(ending: str) -> None:
    rig = Rig(refused=ending == "refused")
    async with following(rig):
        rig.socket.fail(SocketLost("reset by peer"))
        await rig.clock.settle()
        assert rig.ended == ("no connection" if rig.refused else "reset by peer")
        assert rig.socket.closed is not rig.refused

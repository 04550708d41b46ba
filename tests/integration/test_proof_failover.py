"""One real failover, where the programs are installed; and the lines that cut a node off."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proof.failover import packages, part
from proof.live.lines import Line
from proof.parts import Request

MISSING = packages.missing()

needs_programs = pytest.mark.skipif(
    bool(MISSING), reason=f"not installed: {' '.join(MISSING)} (apt-get install them)"
)


def asked(workdir: Path, only: str | None) -> Request:
    return Request(seed=1, seconds=1, short=True, workdir=workdir, only=only)


@pytest.mark.campaign
@needs_programs
def test_a_killed_primary_is_replaced_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    share = part.run(asked(tmp_path, "server"))
    assert [one.what for one in share.violations] == []
    assert share.figures["failovers"] == 1
    assert share.figures["orders_placed"] > 0
    assert share.figures["not_judged"] == 0


@pytest.mark.campaign
@needs_programs
def test_without_a_synchronous_standby_the_campaign_finds_lost_orders(tmp_path: Path) -> None:
    share = part.run(asked(tmp_path, part.PLANT))
    assert share.figures["planted_lost"] > 0
    assert not share.violations


async def test_a_line_that_is_cut_is_silent_and_closes_what_hung_when_it_is_healed() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
            await writer.drain()
        writer.close()

    target = await asyncio.start_server(echo, "127.0.0.1", 0)
    probe = await asyncio.start_server(echo, "127.0.0.1", 0)
    free = probe.sockets[0].getsockname()[:2]
    probe.close()
    await probe.wait_closed()
    line = Line("node1", free, target.sockets[0].getsockname()[:2])
    await line.serve()
    try:
        reader, writer = await asyncio.open_connection(*free)
        assert await asked_on(reader, writer, b"one") == b"one"
        line.cut()
        with pytest.raises(TimeoutError):
            await asked_on(reader, writer, b"two", within_s=0.3)
        line.heal()
        assert await ends(reader)
        writer.close()

        reader, writer = await asyncio.open_connection(*free)
        assert await asked_on(reader, writer, b"three") == b"three"
        writer.close()
    finally:
        await line.close()
        target.close()


async def asked_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, word: bytes, within_s: float = 10
) -> bytes:
    """What comes back for a word."""
    writer.write(word)
    async with asyncio.timeout(within_s):
        return await reader.read(10)


async def ends(reader: asyncio.StreamReader) -> bool:
    """Whether the other side closes the connection, with or without a word."""
    async with asyncio.timeout(10):
        try:
            return await reader.read(10) == b""
        except ConnectionError:
            return True

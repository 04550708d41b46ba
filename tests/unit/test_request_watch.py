"""One attempt is one copy, and it leaves in time, whatever the connection does or when it asks for the bytes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from app.venue.polymarket.watch import MayNotLeave, Watch
from app.venue.polymarket.wire import Phase

SEND_BY_NS = 2_000_000_000


@dataclass
class Clock:
    now_ns: int = 0

    def monotonic_ns(self) -> int:
        return self.now_ns


def watch(clock: Clock, *, send_by_ns: int = SEND_BY_NS) -> Watch:
    return Watch(clock, send_by_ns, 10_000)  # type: ignore[arg-type]


@pytest.mark.parametrize("protocol", ["http11", "http2"])
async def test_a_second_copy_behind_a_connection_that_went_away_is_not_sent(protocol: str) -> None:
    """The pool would send the whole request again by itself, on another connection."""
    one = watch(Clock())
    await one.saw(f"{protocol}.send_request_headers.started", {})
    await one.saw(f"{protocol}.send_request_body.started", {})
    with pytest.raises(MayNotLeave, match="second copy"):
        await one.saw(f"{protocol}.send_request_headers.started", {})
    # The first copy may have arrived.
    assert one.phase(has_head=False) is Phase.SENDING


@pytest.mark.parametrize("event", ["send_request_headers", "send_request_body"])
@pytest.mark.parametrize("protocol", ["http11", "http2"])
async def test_neither_head_nor_body_leaves_late(protocol: str, event: str) -> None:
    clock = Clock()
    one = watch(clock)
    if event == "send_request_body":
        await one.saw(f"{protocol}.send_request_headers.started", {})
    clock.now_ns = SEND_BY_NS + 1
    with pytest.raises(MayNotLeave, match="send_by passed"):
        await one.saw(f"{protocol}.{event}.started", {})


async def test_a_body_that_is_asked_for_late_is_not_handed_over() -> None:
    clock = Clock()
    one = watch(clock)
    clock.now_ns = SEND_BY_NS + 1
    with pytest.raises(MayNotLeave):
        await anext(one.body(b"bytes"))


async def test_nothing_was_sent_before_the_head_was() -> None:
    clock = Clock()
    one = watch(clock)
    await one.saw("connection.connect_tcp.started", {})
    assert one.phase(has_head=False) is Phase.CONNECTING
    clock.now_ns = SEND_BY_NS + 1
    with pytest.raises(MayNotLeave):
        await one.saw("http11.send_request_headers.started", {})
    assert one.phase(has_head=False) is Phase.CONNECTING


async def test_without_a_bound_nothing_is_late() -> None:
    clock = Clock(SEND_BY_NS * 100)
    one = watch(clock, send_by_ns=0)
    await one.saw("http2.send_request_headers.started", {})
    assert [part async for part in one.body(b"bytes")] == [b"bytes"]

"""Inputs that the fuzzer found, each as small as it can be: what broke once stays mended."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest

from app.clock import Ports, SystemClock
from app.db.url import masked, parse
from app.errors import BadInput
from app.markets.books.desk import Desk, Followed
from app.markets.books.notices import Rules, ignore
from app.venue.interface import NotPlaced, Rejected, UnreadEvent
from app.venue.polymarket import answers
from app.venue.polymarket.answers import FeeTerms, Ours
from app.venue.polymarket.transport import Transport
from app.venue.polymarket.wire import Endpoint
from tests.support.answers import OURS, batched, posted, taken

TOKEN = "7" * 70
MARKET = "0x" + "ab" * 32
DUPLICATED = f"order {OURS} is invalid. Duplicated."


@pytest.mark.parametrize("status", [425, 429])
@pytest.mark.parametrize(
    "body",
    [
        taken(),
        taken(status="matched"),
        {"error": DUPLICATED},
        {"error": f"order {OURS} already exists"},
    ],
)
def test_what_shows_our_order_is_never_taken_for_not_placed(status: int, body: Any) -> None:
    """Seeds 5000000492, 5000001499, 5000002122 of place-one; 5000000104, 5000000444 of place-batch."""
    for exchange in (posted(status, body), batched([body], status), batched(body, status)):
        (outcome,) = answers.place_outcomes(exchange, [OURS])
        assert not isinstance(outcome, NotPlaced | Rejected), outcome


def test_a_mode_in_a_code_does_not_hide_that_the_venue_has_the_order() -> None:
    """Seed 5000013589 of place-one, 5000012894 of place-batch."""
    body = {"error": DUPLICATED, "code": "post_only_mode"}
    (outcome,) = answers.place_outcomes(posted(503, body), [OURS])
    assert not isinstance(outcome, NotPlaced), outcome


@pytest.mark.parametrize("told", ["0.01 ", " 0.01", "0.01\n", "-0.01", "+0.01"])
def test_a_tick_with_spaces_or_a_sign_does_not_end_the_feed(told: str) -> None:
    """Seed 5000001082 of market-frame, 5000000304 of market-stream."""
    desk = Desk(SystemClock(), Rules(), ignore, None)
    desk.open(Followed(TOKEN, MARKET))
    book = {
        "event_type": "book",
        "market": MARKET,
        "asset_id": TOKEN,
        "timestamp": "1794909600000",
        "bids": [{"price": "0.45", "size": "10"}],
        "asks": [],
        "tick_size": told,
    }
    desk.take(1, json.dumps(book))
    assert desk.counters.unreadable == 1 or desk.books[TOKEN].tick_micros == 10_000
    if told.startswith("-"):
        assert desk.counters.unreadable == 1


def test_a_frame_nested_to_the_edge_of_the_stack_is_unread_and_ends_nothing() -> None:
    """A decoder that just manages is followed by a printer that does not."""
    ours = Ours(frozenset({"k"}), "0x1", lambda one: one == OURS, lambda _: FeeTerms(0))
    head = {
        "event_type": "trade",
        "id": "t",
        "taker_order_id": OURS,
        "size": "1",
        "asset_id": TOKEN,
    }
    for depth in range(sys.getrecursionlimit() - 200, sys.getrecursionlimit()):
        text = json.dumps(head)[:-1] + ',"price":' + "[" * depth + "]" * depth + "}"
        events = answers.frame_events(text, ours)
        assert isinstance(events[0], UnreadEvent)


async def test_what_one_answer_sets_does_not_travel_with_the_next_request() -> None:
    """Seed 5000000246 of wire: a cookie of 70,000 letters went with every request after it, whosever account it was."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(
            b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    transport = Transport(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", Ports.system())
    try:
        for _ in range(2):
            await transport.request(Endpoint.GET_OK)
    finally:
        await transport.aclose()
        server.close()
    assert len(heads) == 2
    assert b"cookie" not in heads[1].lower()


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:\ud800pass@h/d",
        "postgresql://u@h\ud800/d",
        "postgresql://u@h/d?options=\ud800",
        "postgres://u@h/d?host=a?host=b",
    ],
)
def test_an_address_that_cannot_be_written_again_is_refused(address: str) -> None:
    """Seeds 5000000218, 5000002976, 5000006150, 5000008399 of database-address."""
    with pytest.raises(BadInput):
        parse(address)


@pytest.mark.parametrize(
    "address",
    [
        "postgres://u:/%40?secretword@[::1]:1/a/b?passfile=/x&sslmode=require",
        "postgresql://u:/%40secretword@a null%ff?sslmode=require",
        "postgresql://u:/secretword@host?sslmode=require",
    ],
)
def test_a_password_with_a_slash_is_not_shown(address: str) -> None:
    """Seeds 5000021287 and 5000026624 of database-address: what stood behind the slash passed for a database's name."""
    assert "secretword" not in masked(address)
    with pytest.raises(BadInput) as refused:
        parse(address)
    assert "secretword" not in str(refused.value)

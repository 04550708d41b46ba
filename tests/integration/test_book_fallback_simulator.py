"""A market stream that says nothing, at the simulated venue: the books come by REST until it speaks again."""

from __future__ import annotations

import asyncio

from app.clock import Ports
from app.markets.books.book import Book
from app.markets.books.depth import Unfit
from app.markets.books.desk import Followed
from app.markets.books.fallback import Fallback, FallbackRules
from app.markets.books.feed import BookFeed
from app.markets.books.notices import Rules
from app.venue.polymarket.sockets import SocketLost, connector
from app.venue.polymarket.transport import Timeouts, Transport
from tests.support.simulator import Simulator, simulator_fixture  # noqa: F401
from tests.support.worker import until
from workers.markets_sync import venue_reader

RULES = FallbackRules(after_s=0.05, every_s=0.02, most_age_ms=2_000)


async def test_a_gapped_stream_is_stood_in_for_by_proved_snapshots_until_it_speaks_again(
    simulator: Simulator,
) -> None:
    market = simulator.market()
    number = simulator.fault("frames_lost", endpoint="WS market", times=0)
    ports = Ports.system()
    transport = Transport(simulator.url, ports, timeouts=Timeouts(total=2_000))
    feed = BookFeed(
        str(simulator.ready["market_ws_url"]),
        connector(),
        ports,
        lost=(SocketLost,),
        rules=Rules(
            first_pause_s=0.05, answer_within_s=0.5, look_every_s=0.05, most_patience_s=0.5
        ),
    )
    fallback = Fallback(
        lambda: feed,
        venue_reader(transport.request, transport.request, ports, tries=1),
        ports,
        rules=RULES,
    )
    feed.follow([Followed(market.yes, market.condition_id)])
    running = asyncio.ensure_future(feed.run())

    async def read(bid: int | None = None) -> Book | None:
        await fallback.one_pass()
        found = fallback.book(market.yes, max_age_ms=60_000)
        return found if isinstance(found, Book) and bid in (None, found.best_bid) else None

    try:
        assert feed.unfit(market.yes, max_age_ms=60_000) is Unfit.NO_SNAPSHOT
        found = await until(read, "a snapshot stands in")
        assert (found.best_bid, found.best_ask) == (400_000, 600_000)
        assert found.proven_ms == found.timestamp_ms
        simulator.do("liquidity", token_id=market.yes, side="BUY", price="0.45", size="7")
        await until(lambda: read(450_000), "the next snapshot shows what came")

        # REST fails too: nothing is concluded, and what was read grows old.
        broken = [
            simulator.fault("truncated_json", endpoint="GET /book", times=0),
            simulator.fault("http_error", endpoint="GET /book", times=0, skip=3),
        ]
        unread = fallback.counters.unread
        await until(lambda: _gone(fallback, market.yes), "the last snapshot is too old")
        assert fallback.counters.unread > unread
        for one in broken:
            simulator.do("no_fault", number=one)
        await until(lambda: read(450_000), "it is read again")

        simulator.do("no_fault", number=number)
        await until(
            lambda: feed.unfit(market.yes, max_age_ms=60_000) is None,
            "the stream has the book again",
        )
        taken = fallback.counters.taken
        await fallback.one_pass()
        assert fallback.counters.taken == taken
        assert fallback.book(market.yes, max_age_ms=60_000) is feed.book(market.yes)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await transport.aclose()


async def _gone(fallback: Fallback, token: str) -> bool:
    await fallback.one_pass()
    return not isinstance(fallback.book(token, max_age_ms=60_000), Book)

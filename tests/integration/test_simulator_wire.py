"""TLS, HTTP/2, GOAWAY and garbage: the simulator's connections."""

from __future__ import annotations

import itertools
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.simulator import Simulator, running_simulator
from tests.support.simulator_client import Trader

START_MS = 1_800_000_000_000
_numbers = itertools.count(1)


@pytest.fixture(scope="module", name="venue")
def venue_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    folder = tmp_path_factory.mktemp("simulator")
    with running_simulator(folder, at_ms=START_MS, rate_limits=False) as simulator:
        yield simulator
        assert simulator.log() == ""


def test_tls_speaks_http2_under_an_authority_of_its_own(tmp_path: Path) -> None:
    with running_simulator(tmp_path, tls=True, goaway_after=0) as venue:
        trusting = ssl.create_default_context(cafile=venue.ca_path)
        trusting.verify_flags |= ssl.VERIFY_X509_STRICT
        with httpx.Client(http2=True, verify=trusting, base_url=venue.tls_url) as http:
            versions = {http.get("/time").http_version for _ in range(3)}
            assert versions == {"HTTP/2"}
            assert http.post("/books", json=[]).json() == []
        with (
            httpx.Client(verify=ssl.create_default_context(), base_url=venue.tls_url) as stranger,
            pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
        ):
            stranger.get("/time")
        before = Path(venue.ca_path).read_bytes()
        venue.kill()
        venue.restart()
        assert Path(venue.ca_path).read_bytes() == before


def test_http2_says_goaway_after_so_many_requests(tmp_path: Path) -> None:
    """A connection ends behind its last request; a client that follows loses none."""
    with running_simulator(tmp_path, goaway_after=5, rate_limits=False) as venue:
        market, trader = venue.market(), Trader(venue, 1)
        trader.http.close()
        trader.http = httpx.Client(http1=False, http2=True, base_url=venue.url)
        answers = [trader.post(trader.sign(market.yes)) for _ in range(12)]
        assert {one.http_version for one in answers} == {"HTTP/2"}
        assert [one.status_code for one in answers] == [200] * 12
        assert len({one.extensions["network_stream"] for one in answers}) >= 3
        trader.close()


@pytest.mark.parametrize(("name", "there"), [("goaway_before", False), ("goaway_after", True)])
def test_goaway_may_meet_a_request_under_way(tmp_path: Path, name: str, there: bool) -> None:
    with running_simulator(tmp_path) as venue:
        market, trader = venue.market(), Trader(venue, 1)
        trader.http.close()
        trader.http = httpx.Client(http1=False, http2=True, base_url=venue.url)
        venue.fault(name, endpoint="POST /order")
        order = trader.sign(market.yes)
        with pytest.raises(httpx.TransportError):
            trader.post(order)
        assert (venue.order(order.venue_order_id) is not None) is there
        assert (trader.look(order) is not None) is there
        trader.close()


@pytest.mark.parametrize("garbage", [b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"P"])
def test_garbage_ends_a_connection_and_nothing_else(venue: Simulator, garbage: bytes) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", venue.ready["port"]), timeout=10) as raw:
        raw.sendall(garbage)
        raw.shutdown(socket.SHUT_WR)
        assert raw.recv(64)[:12] in (b"", b"HTTP/1.1 400")
    assert httpx.get(f"{venue.url}/ok").json() == "OK"

"""Whatever a connection ends with is an answer of the transport's, never an error of the program."""

from __future__ import annotations

from typing import Any

import anyio
import httpx
import pytest

from app.venue.polymarket.transport import Transport
from app.venue.polymarket.wire import Endpoint, Phase
from tests.support.stepping import SteppingClock, ports_on


@pytest.mark.parametrize(
    "ending",
    [anyio.EndOfStream(), anyio.BrokenResourceError(), anyio.ClosedResourceError(), OSError(9)],
    ids=lambda one: type(one).__name__,
)
async def test_an_ending_that_the_http_library_does_not_know_is_a_broken_exchange(
    monkeypatch: pytest.MonkeyPatch, ending: Exception
) -> None:
    async def end(*_arguments: Any) -> httpx.Response:
        raise ending

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", end)
    transport = Transport("http://127.0.0.1:9", ports_on(SteppingClock()))
    exchange = await transport.request(Endpoint.GET_TIME)
    assert exchange.phase is not Phase.DONE
    assert type(ending).__name__ in exchange.problem
    await transport.aclose()

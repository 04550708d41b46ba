"""The HTTP port over real transports: each request to its host, under that host's circuit, reads repeated.

For everything but the send path: what the doctor and the refreshers ask. Placements and cancels that reach
this class (the live test sends stored bytes again) pass it once, without circuit and without retry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

from app.circuit import ONCE, Held, Retry, Trip
from app.clock import Ports
from app.external import External, Got, Verdict
from app.venue.polymarket.answers.pacing import stated_wait_ms
from app.venue.polymarket.l1 import KeyProof
from app.venue.polymarket.transport import Identity, Transport
from app.venue.polymarket.wire import Endpoint, Exchange, Phase


class Host(StrEnum):
    """Who answers."""

    CLOB = "clob"
    GAMMA = "gamma"
    DATA = "data"
    SITE = "site"


_HOSTS: Final = {
    Endpoint.GET_POSITIONS: Host.DATA,
    Endpoint.GET_GAMMA_MARKETS: Host.GAMMA,
    Endpoint.GET_GAMMA_EVENTS: Host.GAMMA,
    Endpoint.GET_GEOBLOCK: Host.SITE,
}
_BUSY: Final = (425, 429)
"""Statuses below 500 that are no service."""


class Asker:
    """An `Ask` for one account. ``identity`` gives whoever asks now: keys rotate."""

    def __init__(
        self,
        transports: Mapping[Host, Transport],
        ports: Ports,
        identity: Callable[[], Identity | None],
        *,
        timeout_ms: int = 10_000,
        retry: Retry | None = None,
        trip: Trip | None = None,
    ) -> None:
        self._transports = transports
        self._identity = identity
        self._externals = {
            host: External(host.value, ports, timeout_ms=timeout_ms, retry=retry, trip=trip)
            for host in transports
        }

    async def __call__(
        self,
        endpoint: Endpoint,
        *,
        path: str | None = None,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        signed: bool = False,
        proof: KeyProof | None = None,
    ) -> Exchange:
        """See `app.venue.polymarket.wallet.Ask`. What was not asked is an exchange of phase CONNECTING that says so."""
        host = _HOSTS.get(endpoint, Host.CLOB)
        if host not in self._transports:
            return _unasked(endpoint, f"no address is known for the {host.value} host")
        identity = Identity("", proof.address, proof) if proof else None
        if signed and identity is None:
            identity = self._identity()
            if identity is None:
                return _unasked(endpoint, "there is no API key to ask with")
        last: list[Exchange] = []

        async def once() -> Exchange:
            last[:] = [
                await self._transports[host].request(
                    endpoint, path=path, query=query, body=body, identity=identity
                )
            ]
            return last[0]

        if endpoint.method in ("POST", "DELETE") and proof is None:
            return await once()
        external = self._externals[host]
        retry = None if endpoint.method == "GET" else ONCE
        answer = await external.call(once, judge=judge, retry=retry)
        if isinstance(answer, Got):
            return answer.value
        if isinstance(answer, Held):
            return _unasked(endpoint, f"the {host.value} circuit is open for {answer.wait_ms} ms")
        return last[0] if last else _unasked(endpoint, answer.why)

    async def aclose(self) -> None:
        for transport in self._transports.values():
            await transport.aclose()


def judge(exchange: Exchange) -> Verdict:
    """Whether the host serves. A refusal of what was asked is service; 425, 429, 5xx and silence are not."""
    if exchange.phase is not Phase.DONE:
        return Verdict(False, f"{exchange.problem or 'no answer'} ({exchange.phase.value})")
    if exchange.status < 500 and exchange.status not in _BUSY:
        return Verdict(True)
    return Verdict(False, f"HTTP {exchange.status}", wait_ms=stated_wait_ms(exchange) or 0)


def _unasked(endpoint: Endpoint, why: str) -> Exchange:
    return Exchange(endpoint, Phase.CONNECTING, problem=f"not asked: {why}")

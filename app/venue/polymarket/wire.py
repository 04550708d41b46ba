"""What travels between the transport and everything that judges its answers: one request, one exchange.

Nothing here concludes anything. An `Exchange` says how far a request got and what came back, byte for byte;
what it means is decided by pure functions, which tests can hold against every row of the venue's tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Endpoint(StrEnum):
    """The requests this adapter makes (docs/venue.md 3.1, 4, 5, 8.2, 9). The value is ``METHOD path``."""

    POST_ORDER = "POST /order"
    POST_ORDERS = "POST /orders"
    DELETE_ORDER = "DELETE /order"
    DELETE_ORDERS = "DELETE /orders"
    DELETE_ALL = "DELETE /cancel-all"
    DELETE_MARKET = "DELETE /cancel-market-orders"
    GET_ORDER = "GET /data/order/{id}"
    GET_ORDERS = "GET /data/orders"
    GET_TRADES = "GET /data/trades"
    GET_BALANCE = "GET /balance-allowance"
    UPDATE_BALANCE = "GET /balance-allowance/update"
    GET_CLOSED_ONLY = "GET /auth/ban-status/closed-only"
    GET_TIER = "GET /v1/user/rate-limit-tier"
    POST_HEARTBEAT = "POST /v1/heartbeats"
    POST_API_KEY = "POST /auth/api-key"
    DERIVE_API_KEY = "GET /auth/derive-api-key"
    GET_API_KEYS = "GET /auth/api-keys"
    GET_OK = "GET /ok"
    GET_TIME = "GET /time"
    GET_VERSION = "GET /version"
    GET_CLOB_MARKET = "GET /clob-markets/{condition}"
    GET_BOOK = "GET /book"
    GET_REWARDS = "GET /rewards/user"
    GET_REBATES = "GET /rebates/current"
    GET_POSITIONS = "GET /v2/positions"
    GET_GAMMA_MARKETS = "GET /markets/keyset"
    GET_GAMMA_EVENTS = "GET /events/keyset"
    GET_GEOBLOCK = "GET /api/geoblock"

    @property
    def method(self) -> str:
        return self.value.split(" ", 1)[0]

    @property
    def path(self) -> str:
        """With its placeholder, if it has one."""
        return self.value.split(" ", 1)[1]

    @property
    def answers_secret(self) -> bool:
        """The answer is a key: it is kept nowhere."""
        return self in (Endpoint.POST_API_KEY, Endpoint.DERIVE_API_KEY)


class Phase(StrEnum):
    """How far the request got, as the transport itself saw it, not as an error's class suggests."""

    CONNECTING = "connecting"
    """No byte of the request was handed to a connection: it can't have been processed."""
    SENDING = "sending"
    """Bytes may have left; no complete head of an answer came back."""
    READING = "reading"
    """A status came back, its body did not arrive complete."""
    DONE = "done"
    """A complete answer."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what came of it."""

    endpoint: Endpoint
    phase: Phase
    status: int = 0
    """HTTP status; 0 where none came back."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    body: bytes = b""
    """What arrived of the body, possibly cut."""
    problem: str = ""
    """What broke, in the transport's words, for `Phase` other than DONE. Never holds a secret."""
    took_ms: int = 0

    @property
    def text(self) -> str:
        """The body for people and records: undecodable bytes are shown, not dropped."""
        return self.body.decode("utf-8", errors="backslashreplace")

"""Answers of the venue, made for tests in the documented shapes."""

from __future__ import annotations

import json
from typing import Any

from app.venue.polymarket.wire import Endpoint, Exchange, Phase

OURS = "0x" + "a1" * 32
SECOND = "0x" + "b2" * 32
THIRD = "0x" + "c3" * 32
STRANGER = "0x" + "ee" * 32
DATE = "Tue, 17 Nov 2026 10:00:00 GMT"
DATE_MS = 1_794_909_600_000


def exchange(
    endpoint: Endpoint,
    status: int = 200,
    body: Any = None,
    headers: dict[str, str] | None = None,
    phase: Phase = Phase.DONE,
    problem: str = "",
) -> Exchange:
    """``body``: bytes or text as they are, anything else as JSON; None for no body."""
    if body is None:
        body = b""
    elif isinstance(body, str):
        body = body.encode()
    elif not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return Exchange(endpoint, phase, status, headers or {}, body, problem)


def posted(status: int = 200, body: Any = None, **more: Any) -> Exchange:
    """The answer to one POST /order."""
    return exchange(Endpoint.POST_ORDER, status, body, **more)


def batched(body: Any, status: int = 200, **more: Any) -> Exchange:
    """The answer to one POST /orders."""
    return exchange(Endpoint.POST_ORDERS, status, body, **more)


def taken(order_id: str = OURS, status: str = "live", **more: Any) -> dict[str, Any]:
    """A result that accepts."""
    return {
        "success": True,
        "errorMsg": "",
        "orderID": order_id,
        "status": status,
        "makingAmount": "",
        "takingAmount": "",
        **more,
    }


def failed(text: str, **more: Any) -> dict[str, Any]:
    """A result that failed, in the venue's odd way: success is true."""
    return {
        "success": True,
        "errorMsg": text,
        "orderID": "",
        "status": "",
        "makingAmount": "",
        "takingAmount": "",
        **more,
    }

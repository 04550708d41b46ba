"""From the core's answers and from ordered misbehaviour to the outcomes of the venue interface."""

from __future__ import annotations

import json

from app.venue.interface import (
    Accepted,
    CancelAccepted,
    CancelNotSent,
    CancelOutcome,
    CancelRefused,
    CancelUnknown,
    NotPlaced,
    PlaceOutcome,
    Rejected,
    Seen,
    Unknown,
)
from app.venue.matching import Answer, AnswerKind
from app.venue.paper.faults import Fault

_NOT_PROCESSED = {425: "ENGINE_RESTARTING", 429: "RATE_LIMITED", 503: "TRADING_DISABLED"}


def raw_answer(order_id: str, answer: Answer) -> str:
    """In the shape of docs/venue.md 3.2, or of an error body."""
    if answer.kind is AnswerKind.ACCEPTED:
        body = {"success": True, "orderID": order_id, "status": answer.status, "errorMsg": ""}
        return json.dumps(body)
    return json.dumps({"error": answer.text})


def place_outcome(order_id: str, answer: Answer) -> PlaceOutcome:
    """What the sender is told when nothing goes wrong on the way."""
    raw = raw_answer(order_id, answer)
    if answer.kind is AnswerKind.ACCEPTED:
        return Accepted(order_id, answer.status, raw)
    if answer.kind is AnswerKind.DUPLICATED:
        return Seen(raw)
    return Rejected(answer.code, raw)


def place_fault(fault: Fault) -> PlaceOutcome:
    """What the sender is told of a request that met ``fault`` (any kind but a mere delay)."""
    if fault.kind != "http":
        reason = f"HTTP {fault.http_status}" if fault.http_status else "timeout"
        return Unknown(reason, fault.raw)
    if fault.http_status in _NOT_PROCESSED:
        return NotPlaced(_NOT_PROCESSED[fault.http_status], fault.retry_after_ms, fault.raw)
    if fault.http_status == 400 and ("not yet ready" in fault.text or "delayed" in fault.text):
        return NotPlaced("MARKET_NOT_READY", fault.retry_after_ms, fault.raw)
    if 400 <= fault.http_status < 500:
        return Rejected(f"HTTP_{fault.http_status}", fault.raw)
    return Unknown(f"HTTP {fault.http_status}", fault.raw)


def cancel_outcome(order_id: str, answer: Answer) -> CancelOutcome:
    """The venue's two lists (docs/venue.md 4)."""
    if answer.kind is AnswerKind.ACCEPTED:
        return CancelAccepted(json.dumps({"canceled": [order_id], "not_canceled": {}}))
    return cancel_refused(order_id, answer.text)


def cancel_refused(order_id: str, reason: str) -> CancelRefused:
    return CancelRefused(reason, json.dumps({"canceled": [], "not_canceled": {order_id: reason}}))


def cancel_fault(order_id: str, fault: Fault) -> CancelOutcome:
    """As `place_fault`, for cancels."""
    if fault.kind == "cancel_miss":
        return cancel_refused(order_id, "order can't be found - already canceled or matched")
    if fault.kind == "http" and fault.http_status in _NOT_PROCESSED:
        return CancelNotSent(_NOT_PROCESSED[fault.http_status], fault.retry_after_ms, fault.raw)
    reason = f"HTTP {fault.http_status}" if fault.http_status else "timeout"
    return CancelUnknown(reason, fault.raw)

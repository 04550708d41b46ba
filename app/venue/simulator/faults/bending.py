"""What AFTER and INSTEAD faults make of an answer. Pure: a response in, a response out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from app.errors import LedgerError
from app.money import parse_micros
from app.venue.simulator.cursors import decode_cursor, encode_cursor
from app.venue.simulator.faults.plan import Strike
from app.venue.simulator.messages import Request, Response, answer, refuse

BLOCK_PAGE: Final = (
    b"<!DOCTYPE html>\n<html><head><title>Attention Required!</title></head><body>"
    b"<h1>Sorry, you have been blocked</h1><p>You are unable to access this host</p></body></html>"
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """How an answer travels. Without ``response`` there is none: the connection is dropped."""

    response: Response | None
    head_ms: int = 0
    chunk: int = 0
    chunk_ms: int = 0
    drop_at: int | None = None
    """Bytes of the answer after which the connection is dropped."""
    goaway: bool = False
    goaway_before: bool = False


def bend_request(request: Request, strikes: Iterable[Strike]) -> Request:
    """Shift the page that is asked for."""
    for strike in strikes:
        offset = decode_cursor(request.query.get("next_cursor", ""))
        if strike.name == "page_shift" and offset:
            shifted = encode_cursor(max(0, offset + strike.params["by"]))
            request = replace(request, query={**request.query, "next_cursor": shifted})
    return request


def instead(strike: Strike, *, batch: int | None) -> Delivery:
    """The edge's own answer to a request that goes no further. ``batch``: orders in it."""
    params = strike.params
    if strike.name in ("drop_before", "goaway_before"):
        before = strike.name == "goaway_before"
        return Delivery(None, drop_at=0, goaway=before, goaway_before=before)
    if strike.name == "hang":
        return Delivery(None, head_ms=params["ms"], drop_at=0)
    if strike.name == "http_error":
        return Delivery(refuse(params["status"], params["text"]))
    if strike.name == "rate_limited":
        after = params["retry_after_s"]
        return Delivery(
            refuse(429, "Too Many Requests", retry_after_s=after if after >= 0 else None)
        )
    if strike.name == "restarting":
        return Delivery(refuse(425, "the matching engine is restarting"))
    if strike.name == "html_403":
        server = {"Server": "cloudflare"}
        return Delivery(Response(403, BLOCK_PAGE, "text/html; charset=UTF-8", server))
    body = {
        "errorMsg": params["text"],
        "orderID": "",
        "takingAmount": "",
        "makingAmount": "",
        "status": "",
        "success": True,
    }
    return Delivery(answer(body if batch is None else [body] * batch))


def later(strike: Strike) -> Delivery:
    """What the sender sees of a request that is processed later."""
    wanted = strike.params["answer"]
    if isinstance(wanted, int):
        return Delivery(refuse(wanted, "upstream request timeout"))
    hang_ms = strike.params["ms"] if wanted == "hang" else 0
    return Delivery(None, head_ms=hang_ms, drop_at=0)


def after(delivery: Delivery, strikes: Iterable[Strike]) -> Delivery:
    """All that befalls the answer on its way."""
    # What rewrites an answer comes before what cuts it off: half a text is no JSON any more.
    for strike in sorted(strikes, key=lambda one: one.name not in _BODIES):
        delivery = _befall(delivery, strike)
    return delivery


def _befall(delivery: Delivery, strike: Strike) -> Delivery:
    params, response = strike.params, delivery.response
    if response is None:
        return delivery
    match strike.name:
        case "drop_after":
            return replace(delivery, drop_at=params["at_byte"])
        case "error_after":
            return replace(delivery, response=refuse(params["status"], params["text"]))
        case "goaway_after":
            return replace(delivery, drop_at=0, goaway=True)
        case "slow_head" | "frames_first":
            return replace(delivery, head_ms=delivery.head_ms + params["ms"])
        case "slow_body":
            return replace(delivery, chunk=params["chunk"], chunk_ms=params["ms"])
        case "truncated_json":
            return replace(
                delivery, response=replace(response, body=response.body[: params["keep"]])
            )
        case "null_answer":
            return replace(delivery, response=replace(response, body=b"null\n"))
    if response.status != 200 or strike.name not in _BODIES:
        return delivery
    bent = _each(response.value, _BODIES[strike.name], params)
    text = json.dumps(bent, separators=(",", ":"), ensure_ascii=False)
    return replace(delivery, response=replace(response, body=text.encode() + b"\n"))


def _each(value: Any, bend: Callable[[dict[str, Any], Any], None], params: Any) -> Any:
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, dict):
            bend(one, params)
    return value


def _null_error(body: dict[str, Any], params: Any) -> None:
    if "errorMsg" in body:
        body["errorMsg"] = None


def _no_error(body: dict[str, Any], params: Any) -> None:
    body.pop("errorMsg", None)


def _unmatched(body: dict[str, Any], params: Any) -> None:
    if body.get("status") == "live":
        body["status"] = "unmatched"


def _odd_status(body: dict[str, Any], params: Any) -> None:
    if body.get("status"):
        body["status"] = params["status"]


def _wrong_id(body: dict[str, Any], params: Any) -> None:
    if body.get("orderID"):
        body["orderID"] = "0x" + body["orderID"][2:][::-1]


def _micros(body: dict[str, Any], params: Any) -> None:
    for key in ("makingAmount", "takingAmount"):
        try:
            body[key] = str(parse_micros(str(body.get(key, "")), what=key))
        except LedgerError:
            continue  # an amount that is not told stays untold


def _twice(body: dict[str, Any], params: Any) -> None:
    rows = body.get("data")
    if isinstance(rows, list) and rows:
        rows.insert(0, rows[0])


def _fewer(body: dict[str, Any], params: Any) -> None:
    rows = body.get("data")
    if isinstance(rows, list):
        del rows[: params["count"]]


_BODIES: Final[dict[str, Callable[[dict[str, Any], Any], None]]] = {
    "null_error_msg": _null_error,
    "no_error_msg": _no_error,
    "unmatched": _unmatched,
    "odd_status": _odd_status,
    "wrong_id": _wrong_id,
    "amounts_in_micros": _micros,
    "duplicate_rows": _twice,
    "missing_rows": _fewer,
}

"""Every fault by name. The numbers behind ``#`` are rows of docs/venue.md 12."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final


class Stage(StrEnum):
    """Where on its way a request meets the fault."""

    REQUEST = "request"
    """The request is changed before anybody reads it."""
    INSTEAD = "instead"
    """The edge answers (or does not); the engine never sees the request."""
    LATER = "later"
    """The engine sees it, later; nobody hears its answer."""
    DURING = "during"
    """The engine carries it out in another way."""
    AFTER = "after"
    """Carried out; the answer is bent, delayed or lost."""
    STREAM = "stream"
    """The websocket channels."""


@dataclass(frozen=True, slots=True)
class FaultKind:
    """``params``: what may be set, with what is used otherwise."""

    stage: Stage
    says: str
    params: Mapping[str, Any] = field(default_factory=dict)
    where: str = "*"
    """Endpoints that it strikes where a rule names none."""


PLACING: Final = "POST /order*"
CANCELLING: Final = "DELETE /*"
_USUALLY: Final = {
    Stage.LATER: PLACING,
    Stage.DURING: PLACING,
    Stage.REQUEST: "GET /data/*",
    Stage.STREAM: "WS user",
}


def _kind(stage: Stage, says: str, where: str = "", **params: Any) -> FaultKind:
    return FaultKind(stage, says, params, where or _USUALLY.get(stage, "*"))


CATALOGUE: Final[Mapping[str, FaultKind]] = {
    # --- not processed
    "drop_before": _kind(Stage.INSTEAD, "the connection is dropped, nothing was processed"),
    "hang": _kind(
        Stage.INSTEAD, "no answer for a time, then a drop; nothing was processed", ms=30_000
    ),
    "http_error": _kind(
        Stage.INSTEAD,
        "answered with an error, not processed",
        status=503,
        text="Service Unavailable",
    ),
    "rate_limited": _kind(
        Stage.INSTEAD, "429; with retry_after_s -1 there is no Retry-After", retry_after_s=1
    ),
    "restarting": _kind(Stage.INSTEAD, "425 for this request alone"),
    "html_403": _kind(Stage.INSTEAD, "the edge's block page instead of JSON (#29)"),
    "success_with_error": _kind(
        Stage.INSTEAD,
        "200, success true, an error text, no id; not processed",
        text="the market is not yet ready to process new orders",
        where=PLACING,
    ),
    "goaway_before": _kind(Stage.INSTEAD, "GOAWAY that leaves this request out (#3)"),
    # --- processed later
    "appear_late": _kind(
        Stage.LATER,
        "taken by the edge, processed after ms; the sender sees answer: drop, hang or a status (#2)",
        ms=40_000,
        answer="drop",
    ),
    # --- carried out otherwise
    "delayed": _kind(Stage.DURING, "the order is held for ms before it is matched", ms=3_000),
    "settle_fail": _kind(
        Stage.DURING, "what the order matches at once fails to settle (#6)", after_ms=2_000
    ),
    "settle_retry": _kind(Stage.DURING, "its settlement is tried twice", after_ms=2_000),
    "market_not_ready": _kind(Stage.DURING, "the order's market takes no orders for ms", ms=5_000),
    "cancel_miss": _kind(
        Stage.DURING, "the cancel finds nothing although the order is live (#5)", where=CANCELLING
    ),
    "cancel_phantom": _kind(Stage.DURING, "says canceled; the order lives on", where=CANCELLING),
    "cancel_unlisted": _kind(Stage.DURING, "the ids are in neither list", where=CANCELLING),
    "partial_batch": _kind(
        Stage.DURING,
        "only the first orders of a batch are processed; the rest is error or missing",
        first=1,
        rest="error",
        where="POST /orders",
    ),
    "delivered_twice": _kind(
        Stage.DURING, "the edge passes the request on twice; the second answer counts"
    ),
    "mass_cancel": _kind(Stage.DURING, "the key's heartbeat is taken for lost first"),
    "tick_change": _kind(
        Stage.DURING, "the tick of the market has just become another", tick="0.001"
    ),
    "engine_restart": _kind(
        Stage.DURING, "425 for for_ms, then post-only", for_ms=5_000, post_only_ms=120_000
    ),
    "cancel_only": _kind(Stage.DURING, "cancel-only mode from now on", for_ms=5_000),
    "disabled": _kind(Stage.DURING, "trading is disabled, cancels too", for_ms=5_000),
    "closed_only": _kind(Stage.DURING, "the account may only close from now on"),
    "geoblock": _kind(Stage.DURING, "this country is blocked from now on", country="US"),
    # --- carried out, the answer is bent
    "drop_after": _kind(
        Stage.AFTER, "processed; the connection is dropped after at_byte of the answer", at_byte=0
    ),
    "error_after": _kind(
        Stage.AFTER,
        "processed; answered with an error",
        status=500,
        text="could not run the execution",
        where=PLACING,
    ),
    "goaway_after": _kind(Stage.AFTER, "processed; GOAWAY and a close instead of an answer (#3)"),
    "slow_head": _kind(Stage.AFTER, "processed; the answer comes after ms", ms=1_000),
    "slow_body": _kind(
        Stage.AFTER, "the answer comes in pieces of chunk bytes, ms apart", chunk=16, ms=50
    ),
    "truncated_json": _kind(Stage.AFTER, "a complete answer with a cut-off JSON text", keep=20),
    "null_answer": _kind(Stage.AFTER, "null for what is known (#9)", where="GET /data/order/{id}"),
    "null_error_msg": _kind(Stage.AFTER, "errorMsg is null", where=PLACING),
    "no_error_msg": _kind(Stage.AFTER, "errorMsg is left out", where=PLACING),
    "unmatched": _kind(Stage.AFTER, "status unmatched for an order that rests", where=PLACING),
    "odd_status": _kind(
        Stage.AFTER, "a status nobody has heard of", status="pondering", where=PLACING
    ),
    "wrong_id": _kind(Stage.AFTER, "another order's id in the answer", where=PLACING),
    "amounts_in_micros": _kind(
        Stage.AFTER, "making and taking amounts as whole base units", where=PLACING
    ),
    "duplicate_rows": _kind(
        Stage.AFTER, "the first row of a page comes twice", where="GET /data/*"
    ),
    "missing_rows": _kind(
        Stage.AFTER, "the first count rows of a page are left out", count=1, where="GET /data/*"
    ),
    "frames_first": _kind(
        Stage.AFTER, "the stream tells before HTTP answers, by ms", ms=500, where=PLACING
    ),
    "frames_late": _kind(
        Stage.AFTER, "the stream tells ms after the answer", ms=500, where=PLACING
    ),
    # --- the request is changed
    "page_shift": _kind(
        Stage.REQUEST, "pages behind the first begin by rows later (or earlier)", by=1
    ),
    # --- streams
    "stream_silence": _kind(
        Stage.STREAM, "frames are lost for ms while pings are answered (#12)", ms=10_000
    ),
    "frames_lost": _kind(Stage.STREAM, "this frame is lost"),
    "frames_twice": _kind(Stage.STREAM, "this frame comes twice"),
    "frames_swapped": _kind(
        Stage.STREAM, "this frame comes behind the next one, or after ms", ms=500
    ),
    "stream_drop": _kind(Stage.STREAM, "the connection is dropped instead of this frame"),
}


MIXTURE: Final = (
    "drop_before",
    "http_error",
    "restarting",
    "success_with_error",
    "appear_late",
    "delayed",
    "settle_fail",
    "settle_retry",
    "cancel_miss",
    "cancel_unlisted",
    "partial_batch",
    "delivered_twice",
    "drop_after",
    "error_after",
    "slow_head",
    "truncated_json",
    "null_answer",
    "null_error_msg",
    "frames_first",
    "frames_late",
    "frames_lost",
    "frames_twice",
    "frames_swapped",
    "stream_drop",
)
"""What a run by chance is made of, unless it names its own."""

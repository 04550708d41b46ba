"""What the answers to cancels prove, id by id."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import BadInput
from app.venue.interface import (
    CancelAccepted,
    CancelNotListed,
    CancelNotSent,
    CancelRefused,
    CancelUnknown,
)
from app.venue.polymarket.answers import Unreadable, cancel_lists, cancel_outcomes
from app.venue.polymarket.wire import Endpoint, Exchange, Phase
from tests.support.answers import OURS, SECOND, STRANGER, THIRD, exchange

DELETES = [
    Endpoint.DELETE_ORDER,
    Endpoint.DELETE_ORDERS,
    Endpoint.DELETE_ALL,
    Endpoint.DELETE_MARKET,
]
every_delete = pytest.mark.parametrize("endpoint", DELETES)


def deleted(body: Any = None, status: int = 200, **more: Any) -> Exchange:
    return exchange(Endpoint.DELETE_ORDERS, status, body, **more)


@every_delete
def test_each_id_is_read_by_itself(endpoint: Endpoint) -> None:
    """Lesson 29: canceled lists do not speak for the ids that they do not hold."""
    body = {"canceled": [OURS], "not_canceled": {SECOND: "order already matched"}}
    first, second, third = cancel_outcomes(exchange(endpoint, 200, body), [OURS, SECOND, THIRD])
    assert isinstance(first, CancelAccepted)
    assert isinstance(second, CancelRefused)
    assert second.reason == "order already matched"
    assert not isinstance(third, CancelAccepted | CancelRefused)


@every_delete
def test_an_id_in_neither_list_was_processed_where_nobody_asked_for_it_by_name(
    endpoint: Endpoint,
) -> None:
    """A wide cancel names what it found at rest; one by id must say something of each id."""
    (found,) = cancel_outcomes(exchange(endpoint, 200, {"canceled": [SECOND]}), [OURS])
    if endpoint in (Endpoint.DELETE_ALL, Endpoint.DELETE_MARKET):
        assert isinstance(found, CancelNotListed)
    else:
        assert isinstance(found, CancelUnknown)
        assert found.reason == "UNCONFIRMED"


@pytest.mark.parametrize(
    "reason",
    [
        "order already matched",
        "Order not found or already canceled",
        "order can't be found - already canceled or matched",
        "already canceled or matched",
    ],
)
def test_a_reason_is_kept_and_decides_nothing(reason: str) -> None:
    (found,) = cancel_outcomes(deleted({"canceled": [], "not_canceled": {OURS: reason}}), [OURS])
    assert isinstance(found, CancelRefused)
    assert found.reason == reason
    assert reason in found.raw


def test_an_id_in_both_lists_is_unconfirmed() -> None:
    body = {"canceled": [OURS], "not_canceled": {OURS: "matched"}}
    (found,) = cancel_outcomes(deleted(body), [OURS])
    assert isinstance(found, CancelUnknown)
    assert found.reason == "CONTRADICTION"


def test_ids_are_compared_without_regard_to_case() -> None:
    body = {"canceled": ["0x" + "A1" * 32], "not_canceled": {"0x" + "B2" * 32: "x"}}
    first, second = cancel_outcomes(deleted(body), [OURS, SECOND])
    assert isinstance(first, CancelAccepted)
    assert isinstance(second, CancelRefused)


@pytest.mark.parametrize(
    "body",
    [
        {"canceled": None, "not_canceled": None},
        {"canceled": []},
        {"canceled": [STRANGER, 7, None], "not_canceled": {}},
    ],
)
def test_lists_that_name_nothing_of_ours_confirm_nothing(body: Any) -> None:
    (found,) = cancel_outcomes(deleted(body), [OURS])
    assert isinstance(found, CancelUnknown)
    assert found.reason == "UNCONFIRMED"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        {"success": True},
        {"canceled": True},
        {"canceled": OURS},
        {"canceled": [OURS], "not_canceled": [SECOND]},
        b'{"canceled":["' + OURS.encode(),
        b'{"canceled":[],"canceled":["' + OURS.encode() + b'"]}',
    ],
)
def test_another_shape_is_unknown(body: Any) -> None:
    (found,) = cancel_outcomes(deleted(body), [OURS])
    assert isinstance(found, CancelUnknown)
    assert found.reason == "UNREADABLE"


@pytest.mark.parametrize(
    ("status", "body", "code", "wait"),
    [
        (425, b"", "ENGINE_RESTARTING", 2_000),
        (429, {"error": "Too Many Requests"}, "RATE_LIMITED", 1_000),
        (
            503,
            {"error": "Trading is currently disabled. Check polymarket.com for updates"},
            "TRADING_DISABLED",
            5_000,
        ),
        (401, {"error": "Unauthorized/Invalid api key"}, "UNAUTHORIZED", 0),
        (400, {"error": "Too many orders in payload, max allowed: 1000"}, "TOO_MANY_ORDERS", 0),
        (400, {"error": "Invalid orderID"}, "INVALID_ORDER_ID", 0),
        (400, {"error": "Invalid order payload"}, "INVALID_PAYLOAD", 0),
    ],
)
def test_what_was_not_processed_is_not_sent(status: int, body: Any, code: str, wait: int) -> None:
    for found in cancel_outcomes(deleted(body, status), [OURS, SECOND]):
        assert isinstance(found, CancelNotSent)
        assert (found.code, found.retry_after_ms) == (code, wait)


def test_a_stated_time_is_taken_over() -> None:
    answer = deleted(b"", 429, headers={"retry-after": "4"})
    (found,) = cancel_outcomes(answer, [OURS])
    assert isinstance(found, CancelNotSent)
    assert found.retry_after_ms == 4_000


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (500, {"error": "Internal server error"}, "HTTP_500"),
        (503, b"<html>", "HTTP_503"),
        (502, {"canceled": [OURS], "not_canceled": {}}, "HTTP_502"),
        (400, {"error": "something new"}, "HTTP_400"),
        (404, b"", "HTTP_404"),
        (403, b"<html>blocked</html>", "EDGE_PAGE"),
        (400, {"error": "context canceled"}, "CONTEXT_CANCELED"),
    ],
)
def test_everything_else_is_unknown(status: int, body: Any, reason: str) -> None:
    (found,) = cancel_outcomes(deleted(body, status), [OURS])
    assert isinstance(found, CancelUnknown)
    assert found.reason == reason


def test_how_far_the_request_got_decides_first() -> None:
    listed = {"canceled": [OURS], "not_canceled": {}}
    (unsent,) = cancel_outcomes(deleted(b"", 0, phase=Phase.CONNECTING), [OURS])
    assert isinstance(unsent, CancelNotSent)
    (lost,) = cancel_outcomes(deleted(b"", 0, phase=Phase.SENDING), [OURS])
    assert isinstance(lost, CancelUnknown)
    assert lost.reason == "NO_ANSWER"
    (cut,) = cancel_outcomes(deleted(listed, phase=Phase.READING), [OURS])
    assert isinstance(cut, CancelUnknown)
    assert cut.reason == "CUT_ANSWER"


def test_the_lists_of_a_cancel_all_can_be_had_whole() -> None:
    body = {"canceled": [OURS, STRANGER], "not_canceled": {SECOND: "matched"}}
    lists = cancel_lists(exchange(Endpoint.DELETE_ALL, 200, body))
    assert lists.canceled == {OURS, STRANGER}
    assert lists.not_canceled == {SECOND: "matched"}
    with pytest.raises(Unreadable):
        cancel_lists(exchange(Endpoint.DELETE_ALL, 200, b"{}"))


def test_no_id_asked_gives_no_outcome_and_another_request_is_refused() -> None:
    assert cancel_outcomes(deleted({"canceled": []}), []) == []
    with pytest.raises(BadInput):
        cancel_outcomes(exchange(Endpoint.POST_ORDER), [OURS])

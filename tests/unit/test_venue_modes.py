"""Which mode of the venue an answer shows, until when, and what is left of the budget."""

from __future__ import annotations

from typing import Any

import pytest

from app.venue.polymarket.answers import BudgetSign, Mode, budget_of, mode_of
from app.venue.polymarket.wire import Endpoint, Phase
from tests.support.answers import (
    DATE,
    DATE_MS,
    OURS,
    batched,
    exchange,
    failed,
    posted,
    taken,
)

ADDRESS = "'0x1111111111111111111111111111111111111111'"


@pytest.mark.parametrize(
    ("status", "body", "mode"),
    [
        (425, b"", Mode.RESTARTING),
        (429, b"", Mode.RATE_LIMITED),
        (503, {"error": "x", "code": "post_only_mode"}, Mode.POST_ONLY),
        (503, {"error": "Trading is currently cancel-only. New"}, Mode.CANCEL_ONLY),
        (503, {"error": "Trading is currently disabled. Check"}, Mode.DISABLED),
        (403, b"<html>", Mode.GEOBLOCKED),
        (403, {"error": "Trading restricted in your region"}, Mode.GEOBLOCKED),
        (400, {"error": f"{ADDRESS} address in closed only mode"}, Mode.CLOSED_ONLY),
        (400, {"error": f"{ADDRESS} address banned"}, Mode.BANNED),
        (401, {"error": "Unauthorized/Invalid api key"}, Mode.BAD_CREDENTIALS),
        (401, b"who are you", Mode.BAD_CREDENTIALS),
        (
            400,
            {"error": "the order signer address has to be the address of the API KEY"},
            Mode.BAD_CREDENTIALS,
        ),
    ],
)
def test_an_answer_to_a_placement_shows_its_mode(status: int, body: Any, mode: Mode) -> None:
    sign = mode_of(posted(status, body))
    assert sign is not None
    assert (sign.mode, sign.for_ms, sign.until_ms) == (mode, None, None)


@pytest.mark.parametrize(
    "answer",
    [
        posted(200, taken()),
        posted(200, failed("invalid signature")),
        posted(400, {"error": "not enough balance / allowance"}),
        posted(500, {"error": "Trading is currently disabled."}),
        posted(503, b"<html>"),
        posted(404, b""),
        posted(0, phase=Phase.CONNECTING),
        posted(0, phase=Phase.SENDING),
        posted(200, taken(), phase=Phase.READING),
    ],
)
def test_other_answers_show_none(answer: Any) -> None:
    assert mode_of(answer) is None


@pytest.mark.parametrize(
    ("headers", "body", "for_ms", "until_ms"),
    [
        ({"retry-after": "79"}, {}, 79_000, None),
        ({"retry-after": "79", "date": DATE}, {}, 79_000, DATE_MS + 79_000),
        ({"date": DATE}, {"retry_after_seconds": 79}, 79_000, DATE_MS + 79_000),
        ({"date": DATE}, {"retry_after_seconds": "soon"}, None, None),
        ({"date": DATE}, {"retry_after_seconds": True}, None, None),
        ({"date": DATE}, {"retry_after_seconds": -5}, None, None),
        ({"date": DATE, "poly-ratelimit-reset": "1894909600"}, {}, None, None),
    ],
)
def test_a_mode_ends_when_the_answer_says(
    headers: dict[str, str], body: dict[str, Any], for_ms: int | None, until_ms: int | None
) -> None:
    sign = mode_of(posted(503, {"code": "post_only_mode", **body}, headers=headers))
    assert sign is not None
    assert (sign.mode, sign.for_ms, sign.until_ms) == (Mode.POST_ONLY, for_ms, until_ms)


def test_a_result_inside_a_batch_shows_the_mode_of_the_venue() -> None:
    text = "post-only mode: only post-only orders and cancels are allowed"
    sign = mode_of(batched([taken(OURS), None, failed(text)]))
    assert sign is not None
    assert (sign.mode, sign.code) == (Mode.POST_ONLY, "POST_ONLY_MODE")
    single = mode_of(posted(200, failed(text)))
    assert single is not None
    assert single.mode is Mode.POST_ONLY


def test_a_status_counts_even_where_the_body_was_cut() -> None:
    for status, mode in ((425, Mode.RESTARTING), (429, Mode.RATE_LIMITED)):
        sign = mode_of(posted(status, b"{", phase=Phase.READING))
        assert sign is not None
        assert sign.mode is mode
    cut = posted(503, {"code": "post_only_mode"}, phase=Phase.READING)
    assert mode_of(cut) is None


def test_a_rate_limit_of_reads_or_of_another_host_keeps_no_order_back() -> None:
    for endpoint in (Endpoint.GET_ORDERS, Endpoint.GET_BALANCE, Endpoint.GET_GAMMA_MARKETS):
        assert mode_of(exchange(endpoint, 429)) is None
    assert mode_of(exchange(Endpoint.GET_POSITIONS, 401)) is None
    for endpoint in (Endpoint.DELETE_ORDERS, Endpoint.POST_ORDERS):
        sign = mode_of(exchange(endpoint, 429))
        assert sign is not None
        assert sign.mode is Mode.RATE_LIMITED


def test_reads_show_restarts_and_refused_credentials_too() -> None:
    for status, mode in ((425, Mode.RESTARTING), (401, Mode.BAD_CREDENTIALS)):
        sign = mode_of(exchange(Endpoint.GET_ORDER, status))
        assert sign is not None
        assert sign.mode is mode


@pytest.mark.parametrize(
    ("endpoint", "name", "mode"),
    [
        (Endpoint.GET_CLOSED_ONLY, "closed_only", Mode.CLOSED_ONLY),
        (Endpoint.GET_GEOBLOCK, "blocked", Mode.GEOBLOCKED),
    ],
)
def test_flags_show_their_mode_only_where_they_are_set(
    endpoint: Endpoint, name: str, mode: Mode
) -> None:
    sign = mode_of(exchange(endpoint, 200, {name: True}))
    assert sign is not None
    assert sign.mode is mode
    body: Any
    for body in ({name: False}, {name: "true"}, {}, [], b"{"):
        assert mode_of(exchange(endpoint, 200, body)) is None


def test_the_budget_is_read_from_whatever_headers_there_are() -> None:
    headers = {
        "poly-ratelimit-remaining": "57",
        "poly-ratelimit-reset": "1794909603",
        "poly-ratelimit-tier": "Copper",
        "poly-ratelimit-warning": "true",
    }
    found = budget_of(posted(200, taken(), headers=headers))
    assert found == BudgetSign(57, 1_794_909_603_000, "copper", True)
    assert budget_of(posted(200, taken())) is None
    tier = budget_of(posted(200, taken(), headers={"poly-ratelimit-tier": "gold"}))
    assert tier == BudgetSign(None, None, "gold", False)


@pytest.mark.parametrize(
    ("told", "whole"),
    [("0", 0), ("-2", -2), ("3.9", 3), ("-0.5", -1), ("-2.0", -2), ("x", None), ("1e9", None)],
)
def test_what_is_left_is_rounded_down(told: str, whole: int | None) -> None:
    headers = {"poly-ratelimit-remaining": told, "poly-ratelimit-tier": "standard"}
    found = budget_of(posted(429, headers=headers))
    assert found is not None
    assert found.remaining == whole

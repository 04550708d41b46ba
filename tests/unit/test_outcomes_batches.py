"""Several orders in one answer, requests that broke, and the table of refusals against itself."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import BadInput
from app.venue.interface import Accepted, NotPlaced, PlaceOutcome, Rejected, Seen, Unknown
from app.venue.polymarket.answers import RULES, ReasonClass, Verdict, place_outcomes, reason_class
from app.venue.polymarket.answers.border import MOST_RAW
from app.venue.polymarket.wire import Endpoint, Phase
from tests.support.answers import (
    OURS,
    SECOND,
    STRANGER,
    THIRD,
    batched,
    exchange,
    failed,
    posted,
    taken,
)

THREE = [OURS, SECOND, THIRD]


def assert_unknown(found: PlaceOutcome, reason: str) -> None:
    assert isinstance(found, Unknown)
    assert found.reason == reason


def test_a_batch_gives_one_outcome_per_order_by_place() -> None:
    body = [
        taken(OURS),
        failed("post-only mode: only post-only orders and cancels are allowed"),
        failed(f"order {THIRD} is invalid. Duplicated."),
    ]
    first, second, third = place_outcomes(batched(body), THREE)
    assert isinstance(first, Accepted)
    assert first.venue_order_id == OURS
    assert SECOND not in first.raw
    assert isinstance(second, NotPlaced)
    assert second.code == "POST_ONLY_MODE"
    assert isinstance(third, Seen)


@pytest.mark.parametrize("bad", [None, 7, "no", [], {}, {"orderID": 1}, failed("new words")])
def test_a_malformed_item_of_a_batch_does_not_void_the_rest(bad: Any) -> None:
    """Lesson 6."""
    body = [taken(OURS), bad, failed("invalid signature")]
    first, second, third = place_outcomes(batched(body), THREE)
    assert isinstance(first, Accepted)
    assert isinstance(second, Unknown)
    assert isinstance(third, Rejected)


@pytest.mark.parametrize("count", [0, 1, 2, 4, 15])
def test_a_wrong_number_of_results_makes_all_unknown(count: int) -> None:
    body = [taken(one) for one in (THREE * 5)[:count]]
    for found in place_outcomes(batched(body), THREE):
        assert_unknown(found, "COUNT_MISMATCH")


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"[{},{},", b'[{},{},{"a":1}', b"[1,2,3]x"])
def test_a_batch_answer_that_is_no_list_makes_all_unknown(body: bytes) -> None:
    for found in place_outcomes(batched(body), THREE):
        assert_unknown(found, "UNREADABLE")


def test_results_in_other_places_prove_nothing_but_for_those_that_name_their_order() -> None:
    body = [taken(SECOND), taken(OURS), taken(THIRD)]
    first, second, third = place_outcomes(batched(body), THREE)
    assert_unknown(first, "ITEMS_MOVED")
    assert_unknown(second, "ITEMS_MOVED")
    assert isinstance(third, Accepted)


def test_a_moved_result_takes_the_word_from_a_refusal_that_names_no_order() -> None:
    body = [failed("invalid signature"), taken(OURS), failed("invalid signature")]
    for found in place_outcomes(batched(body), THREE):
        assert_unknown(found, "ITEMS_MOVED")


def test_a_stranger_in_a_batch_is_told_under_the_code_that_halts() -> None:
    body = [taken(OURS), taken(STRANGER), failed("invalid signature")]
    first, second, third = place_outcomes(batched(body), THREE)
    assert isinstance(first, Accepted)
    assert_unknown(second, "ID_MISMATCH")
    assert_unknown(third, "ITEMS_MOVED")


@pytest.mark.parametrize("status", [425, 429])
def test_a_batch_that_was_turned_away_is_not_placed_as_a_whole(status: int) -> None:
    answer = batched(b"", status, headers={"retry-after": "3"})
    for found in place_outcomes(answer, THREE):
        assert isinstance(found, NotPlaced)
        assert found.retry_after_ms == 3_000


def test_a_batch_with_too_many_orders_is_refused_as_a_whole() -> None:
    answer = batched({"error": "Too many orders in payload: 16, max allowed: 15"}, 400)
    for found in place_outcomes(answer, THREE):
        assert isinstance(found, Rejected)
        assert found.code == "TOO_MANY_ORDERS"


def test_a_refusal_of_one_order_says_nothing_about_the_rest_of_its_batch() -> None:
    for text in (f"order {OURS} is invalid. Duplicated.", "not enough balance / allowance"):
        for found in place_outcomes(batched({"error": text}, 400), THREE):
            assert isinstance(found, Unknown)
        (alone,) = place_outcomes(batched({"error": text}, 400), [OURS])
        assert not isinstance(alone, Unknown)


def test_a_broken_batch_is_as_many_unknown_orders() -> None:
    found = place_outcomes(batched(b"", 0, phase=Phase.SENDING), THREE)
    assert [type(one) for one in found] == [Unknown] * 3


# --- how far it got -----------------------------------------------------------------------------


def test_a_request_of_which_no_byte_left_is_not_placed() -> None:
    answer = posted(0, phase=Phase.CONNECTING, problem="ConnectTimeout")
    (found,) = place_outcomes(answer, [OURS])
    assert isinstance(found, NotPlaced)
    assert (found.code, found.retry_after_ms) == ("NOT_CONNECTED", 0)
    assert "ConnectTimeout" in found.raw


@pytest.mark.parametrize(
    ("phase", "reason"), [(Phase.SENDING, "NO_ANSWER"), (Phase.READING, "CUT_ANSWER")]
)
@pytest.mark.parametrize("status", [0, 200, 400, 401, 425, 429, 503])
def test_what_did_not_end_well_is_unknown_whatever_came(
    phase: Phase, reason: str, status: int
) -> None:
    answer = posted(status, taken(), phase=phase, problem="ReadTimeout")
    (found,) = place_outcomes(answer, [OURS])
    assert_unknown(found, reason)
    assert "ReadTimeout" in found.raw
    assert OURS in found.raw


def test_a_long_answer_is_cut_and_says_so() -> None:
    (found,) = place_outcomes(posted(500, b"x" * 100_000), [OURS])
    assert len(found.raw) < MOST_RAW + 100
    assert found.raw.endswith("[cut: 100000 characters]")


# --- the table itself ---------------------------------------------------------------------------

FILLED_IN = {"id": OURS, "token": "7132104567925", "address": "0x" + "1" * 40, "n": "5.25"}
SHOWN = [
    (rule, status, text.format(**FILLED_IN))
    for rule in RULES
    for text in rule.texts
    for status in rule.statuses or (200, 400, 500)
]


@pytest.mark.parametrize(
    ("rule", "status", "text"),
    SHOWN,
    ids=[f"{r.code}-{s}-{i}" for i, (r, s, _) in enumerate(SHOWN)],
)
def test_every_text_that_the_table_shows_gives_what_the_table_says(
    rule: Any, status: int, text: str
) -> None:
    body = failed(text) if status == 200 else {"error": text}
    (found,) = place_outcomes(posted(status, body), [OURS])
    expected = {
        Verdict.REJECTED: Rejected,
        Verdict.NOT_PLACED: NotPlaced,
        Verdict.SEEN: Seen,
        Verdict.UNKNOWN: Unknown,
    }[rule.verdict]
    assert isinstance(found, expected)
    told = getattr(found, "code", None) or getattr(found, "reason", rule.code)
    assert told == rule.code


def test_codes_are_unique_and_every_reject_code_has_a_class() -> None:
    codes = [rule.code for rule in RULES]
    assert len(set(codes)) == len(codes)
    assert {reason_class(code) for code in codes} == set(ReasonClass)
    assert reason_class("HTTP_500") is None


def test_a_caller_that_confuses_its_requests_is_told() -> None:
    with pytest.raises(BadInput):
        place_outcomes(posted(200, taken()), [OURS, SECOND])
    with pytest.raises(BadInput):
        place_outcomes(posted(200, taken()), [])
    with pytest.raises(BadInput):
        place_outcomes(exchange(Endpoint.DELETE_ORDER), [OURS])

"""What each answer to a placement proves: a test for every row of the venue's table, and for the lessons."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.venue.interface import Accepted, NotPlaced, PlaceOutcome, Rejected, Seen, Unknown
from app.venue.polymarket.answers import ReasonClass, place_outcomes, reason_class
from app.venue.polymarket.answers.border import MOST_RAW
from app.venue.polymarket.answers.outcomes import REFUSED_BY
from app.venue.polymarket.wire import Exchange
from tests.support.answers import (
    DATE,
    OURS,
    STRANGER,
    failed,
    posted,
    taken,
)


def outcome(answer: Exchange) -> PlaceOutcome:
    (found,) = place_outcomes(answer, [OURS])
    return found


def refused(status: int, text: str, **more: Any) -> PlaceOutcome:
    """The outcome of an error body, which must be kept with it."""
    found = outcome(posted(status, {"error": text}, **more))
    if len(text) < MOST_RAW:
        assert json.loads(found.raw) == {"error": text}
    return found


def assert_rejected(status: int, text: str, code: str, reason: ReasonClass) -> None:
    found = refused(status, text)
    assert isinstance(found, Rejected)
    assert found.code == code
    assert reason_class(found.code) is reason
    assert found.reason_class is REFUSED_BY[reason]


def assert_unknown(found: PlaceOutcome, reason: str) -> None:
    assert isinstance(found, Unknown)
    assert found.reason == reason


# --- accepted -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["live", "matched", "delayed"])
def test_accepted_needs_no_error_our_id_and_a_known_status(status: str) -> None:
    found = outcome(posted(200, taken(status=status)))
    assert isinstance(found, Accepted)
    assert (found.venue_order_id, found.status) == (OURS, status)
    assert '"orderID"' in found.raw


def test_our_id_is_recognised_in_any_case_and_told_in_ours() -> None:
    found = outcome(posted(200, taken("0x" + "A1" * 32)))
    assert isinstance(found, Accepted)
    assert found.venue_order_id == OURS


def test_a_matched_answer_with_trade_ids_and_without_hashes_is_accepted() -> None:
    body = taken(status="matched", makingAmount="0.999999", takingAmount="14.285713")
    assert isinstance(outcome(posted(200, body | {"tradeIDs": ["t-1"]})), Accepted)


def test_unmatched_is_left_to_a_read() -> None:
    assert_unknown(outcome(posted(200, taken(status="unmatched"))), "UNMATCHED")


@pytest.mark.parametrize("status", ["", "LIVE", "Live", "resting", "cancelled", None, 1, ["live"]])
def test_an_unknown_status_accepts_nothing(status: Any) -> None:
    assert_unknown(outcome(posted(200, taken(status=status))), "STATUS_UNRECOGNISED")


@pytest.mark.parametrize("order_id", ["", None])
def test_an_answer_without_an_id_accepts_nothing(order_id: Any) -> None:
    assert_unknown(outcome(posted(200, taken(order_id))), "NO_ORDER_ID")


@pytest.mark.parametrize("order_id", [STRANGER, "0x1234", "xxx", OURS[:-1]])
def test_another_id_than_ours_is_unknown_under_the_code_that_halts(order_id: str) -> None:
    assert_unknown(outcome(posted(200, taken(order_id))), "ID_MISMATCH")


def test_an_error_that_names_another_order_is_unknown_under_the_code_that_halts() -> None:
    text = f"order {STRANGER} is invalid. Duplicated."
    assert_unknown(refused(400, text), "ID_MISMATCH")
    assert_unknown(outcome(posted(200, failed(text))), "ID_MISMATCH")
    assert_unknown(refused(500, f"order {STRANGER} went astray"), "ID_MISMATCH")


@pytest.mark.parametrize("status", [201, 202, 204, 301, 302])
def test_only_a_200_accepts(status: int) -> None:
    assert_unknown(outcome(posted(status, taken())), f"HTTP_{status}")


# --- lessons ------------------------------------------------------------------------------------


def test_a_200_with_success_true_and_an_error_text_is_no_acceptance() -> None:
    """Lesson 7."""
    found = outcome(posted(200, failed("not enough balance / allowance")))
    assert isinstance(found, Rejected)
    assert found.code == "NOT_ENOUGH_BALANCE"
    assert_unknown(outcome(posted(200, failed("something new"))), "UNRECOGNISED")


def test_an_error_text_beside_our_id_and_a_status_is_a_contradiction() -> None:
    body = taken(errorMsg="not enough balance / allowance")
    assert_unknown(outcome(posted(200, body)), "CONTRADICTION")
    body = failed("order couldn't be fully filled. FOK orders are fully filled or killed.")
    assert_unknown(outcome(posted(200, body | {"orderID": OURS})), "CONTRADICTION")
    assert_unknown(outcome(posted(200, body | {"status": "delayed"})), "CONTRADICTION")


@pytest.mark.parametrize("extra", [{"errorMsg": None}, {}])
def test_a_null_or_absent_error_text_does_not_undo_an_acceptance(extra: dict[str, Any]) -> None:
    """Lesson 8: the order is live; our hash, a known status and success in words say so."""
    body = {"success": True, "orderID": OURS, "status": "live", **extra}
    assert isinstance(outcome(posted(200, body)), Accepted)


@pytest.mark.parametrize("extra", [{"errorMsg": None}, {}])
def test_silence_alone_accepts_nothing(extra: dict[str, Any]) -> None:
    """Lesson 8: without an error text, something must still say that it went well."""
    body = {"orderID": OURS, "status": "live", **extra}
    assert_unknown(outcome(posted(200, body)), "UNREADABLE")
    assert_unknown(outcome(posted(200, {"success": True, **extra})), "NO_ORDER_ID")


@pytest.mark.parametrize("success", [False, "true", 1, 0, "", []])
def test_success_in_other_words_than_true_contradicts_an_acceptance(success: Any) -> None:
    assert_unknown(outcome(posted(200, taken(success=success))), "CONTRADICTION")


def test_delayed_is_in_flight_and_not_nothing() -> None:
    """Lesson 9."""
    found = outcome(posted(200, taken(status="delayed", tradeIDs=[])))
    assert isinstance(found, Accepted)
    assert found.status == "delayed"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"true",
        b'"live"',
        b"<html></html>",
        b'{"success":true,"orderID":"' + OURS.encode(),
        b'{"success":true}{"success":true}',
        b"\xff\xfe{}",
        b'{"orderID": NaN}',
        b"[" * 100_000,
        b'{"errorMsg":{"a":1},"orderID":"","status":""}',
        b'{"errorMsg":"a","error":"b","orderID":"","status":""}',
        b'{"orderID":7,"status":"live","success":true,"errorMsg":""}',
    ],
)
def test_an_unreadable_200_is_unknown_and_kept(body: bytes) -> None:
    found = outcome(posted(200, body))
    assert_unknown(found, "UNREADABLE")
    assert found.raw.startswith(body[:20].decode("utf-8", "backslashreplace"))


def test_an_id_that_stands_twice_in_an_answer_is_unreadable() -> None:
    body = f'{{"orderID":"{STRANGER}","orderID":"{OURS}","status":"live","success":true}}'
    assert_unknown(outcome(posted(200, body)), "UNREADABLE")


# --- the table of refusals, row by row ------------------------------------------------------------


@pytest.mark.parametrize("text", ["Unauthorized/Invalid api key", "Invalid L1 Request headers"])
def test_401_with_its_texts_is_a_refusal_of_the_credentials(text: str) -> None:
    assert_rejected(401, text, "UNAUTHORIZED", ReasonClass.CREDENTIALS)


def test_401_with_another_text_proves_nothing() -> None:
    """Any internal error that holds the word "unauthorized" is given this status."""
    assert_unknown(refused(401, "engine: unauthorized call"), "HTTP_401")
    assert_unknown(outcome(posted(401, b"Unauthorized")), "HTTP_401")


@pytest.mark.parametrize(
    ("text", "code", "reason"),
    [
        ("Invalid order payload", "INVALID_PAYLOAD", ReasonClass.OURS),
        (
            "the order owner has to be the owner of the API KEY",
            "WRONG_OWNER",
            ReasonClass.CREDENTIALS,
        ),
        (
            "the order signer address has to be the address of the API KEY",
            "WRONG_SIGNER",
            ReasonClass.CREDENTIALS,
        ),
        ("invalid signature", "INVALID_SIGNATURE", ReasonClass.CREDENTIALS),
    ],
)
def test_400_payload_owner_signer_or_signature(text: str, code: str, reason: ReasonClass) -> None:
    assert_rejected(400, text, code, reason)


def test_400_order_version_mismatch() -> None:
    assert_rejected(400, "order_version_mismatch", "ORDER_VERSION", ReasonClass.OURS)


def test_400_address_banned_and_closed_only() -> None:
    address = "'0x1111111111111111111111111111111111111111'"
    assert_rejected(400, f"{address} address banned", "ADDRESS_BANNED", ReasonClass.CREDENTIALS)
    text = f"{address} address in closed only mode"
    assert_rejected(400, text, "CLOSED_ONLY", ReasonClass.CREDENTIALS)


def test_400_maker_address_not_allowed() -> None:
    text = "maker address not allowed, please use the deposit wallet flow"
    assert_rejected(400, text, "WRONG_WALLET", ReasonClass.CREDENTIALS)


@pytest.mark.parametrize(
    "text",
    [
        "not enough balance / allowance",
        (
            "not enough balance / allowance: the balance is not enough -> balance: 1990000, "
            "order amount: 5000000"
        ),
        (
            "not enough balance / allowance: the balance is not enough -> balance: 1990000, "
            "sum of matched orders: 1500000, order amount: 5000000"
        ),
        (
            "not enough balance / allowance: the balance is not enough -> balance: 1, "
            "sum of active orders: 1, order amount: 5"
        ),
    ],
)
def test_400_not_enough_balance(text: str) -> None:
    assert_rejected(400, text, "NOT_ENOUGH_BALANCE", ReasonClass.BALANCE)


def test_400_tick_size_minimum_and_amounts() -> None:
    tick = f"order {OURS} is invalid. Price (0.0123) breaks minimum tick size rule: 0.01"
    assert_rejected(400, tick, "TICK_SIZE", ReasonClass.OURS)
    size = f"order {OURS} is invalid. Size (1) lower than the minimum: 5"
    assert_rejected(400, size, "MIN_SIZE", ReasonClass.OURS)
    amounts = (
        "invalid amounts, the buy orders maker amount supports a max accuracy of 4 decimals, "
        "taker amount a max of 2 decimals"
    )
    assert_rejected(400, amounts, "INVALID_AMOUNTS", ReasonClass.OURS)


def test_400_invalid_expiration() -> None:
    assert_rejected(400, "invalid expiration", "INVALID_EXPIRATION", ReasonClass.OURS)


def test_400_post_only_order_crosses_book() -> None:
    text = "invalid post-only order: order crosses book"
    assert_rejected(400, text, "POST_ONLY_CROSSES", ReasonClass.MARKET)


def test_400_order_crosses_the_book() -> None:
    assert_rejected(400, f"order {OURS} crosses the book", "CROSSES_BOOK", ReasonClass.MARKET)


@pytest.mark.parametrize(
    "text",
    [
        f"order {OURS} is invalid. Duplicated.",
        "order is invalid. Duplicated. Same order has already been placed, can't be placed again",
        f"order {OURS} already exists",
        "order 0xabc is invalid. Duplicated.",
    ],
)
def test_duplicated_is_seen_in_a_400_and_inside_a_200(text: str) -> None:
    assert isinstance(refused(400, text), Seen)
    assert isinstance(outcome(posted(200, failed(text))), Seen)
    assert isinstance(outcome(posted(200, failed(text, success=False))), Seen)
    assert isinstance(outcome(posted(200, failed(text, status="live", orderID=OURS))), Seen)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("order couldn't be fully filled. FOK orders are fully filled or killed.", "FOK_KILLED"),
        ("order couldn\u2019t be fully filled, FOK orders are fully filled/killed", "FOK_KILLED"),
        (
            (
                "no orders found to match with FAK order. FAK orders are partially filled or killed "
                "if no match is found."
            ),
            "FAK_KILLED",
        ),
    ],
)
def test_400_fok_and_fak_killed_are_terminal(text: str, code: str) -> None:
    assert_rejected(400, text, code, ReasonClass.MARKET)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("the market is not yet ready to process new orders", "MARKET_NOT_READY"),
        ("order match delayed due to market conditions", "MATCH_DELAYED"),
    ],
)
def test_400_market_not_ready_and_match_delayed_go_again(text: str, code: str) -> None:
    found = refused(400, text)
    assert isinstance(found, NotPlaced)
    assert (found.code, found.retry_after_ms) == (code, 1_000)


def test_400_canceled_on_chain_and_invalid_nonce() -> None:
    text = "order canceled in the CTF exchange contract"
    assert_rejected(400, text, "CANCELED_ON_CHAIN", ReasonClass.OURS)
    assert_rejected(400, "invalid nonce", "INVALID_NONCE", ReasonClass.OURS)


@pytest.mark.parametrize("status", [400, 404])
def test_400_and_404_orderbook_does_not_exist(status: int) -> None:
    text = "the orderbook 71321045679252212594626385532706912750332 does not exist"
    assert_rejected(status, text, "ORDERBOOK_MISSING", ReasonClass.MARKET)


def test_404_with_another_text_proves_nothing() -> None:
    """Any internal error that holds the words "not found" is given this status."""
    assert_unknown(refused(404, "trader not found"), "HTTP_404")


def test_403_page_of_the_edge_proves_nothing() -> None:
    page = "<!DOCTYPE html><html><title>Attention Required! | Cloudflare</title></html>"
    assert_unknown(outcome(posted(403, page, headers={"content-type": "text/html"})), "EDGE_PAGE")
    assert_unknown(outcome(posted(403, page)), "EDGE_PAGE")
    assert_unknown(outcome(posted(403, b"")), "HTTP_403")


def test_403_in_the_venues_own_words_is_a_refusal() -> None:
    text = "Trading restricted in your region, please refer to available regions - https://x.test/"
    assert_rejected(403, text, "GEOBLOCKED", ReasonClass.VENUE)


@pytest.mark.parametrize(
    "body", [b"", b"Too Early", b'{"error":"Service is not ready"}', b"<html>"]
)
def test_425_whatever_its_body_is_not_placed(body: bytes) -> None:
    found = outcome(posted(425, body))
    assert isinstance(found, NotPlaced)
    assert (found.code, found.retry_after_ms) == ("ENGINE_RESTARTING", 2_000)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, 1_000),
        ({"retry-after": "7"}, 7_000),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "1.5"}, 1_500),
        ({"retry-after": "Tue, 17 Nov 2026 10:00:09 GMT", "date": DATE}, 9_000),
        ({"retry-after": "Tue, 17 Nov 2026 10:00:09 GMT"}, 1_000),
        ({"retry-after": "Tue, 17 Nov 2026 09:00:00 GMT", "date": DATE}, 0),
        ({"retry-after": "soon"}, 1_000),
        ({"retry-after": "-4"}, 1_000),
        ({"retry-after": "99999999"}, 3_600_000),
        ({"poly-ratelimit-reset": "1794909603", "date": DATE}, 3_000),
        ({"poly-ratelimit-reset": "1794909603"}, 1_000),
        ({"poly-ratelimit-reset": "1794909603", "date": DATE, "retry-after": "1"}, 1_000),
    ],
)
def test_429_waits_as_long_as_it_says(headers: dict[str, str], wait: int) -> None:
    found = refused(429, "Too Many Requests", headers=headers)
    assert isinstance(found, NotPlaced)
    assert (found.code, found.retry_after_ms) == ("RATE_LIMITED", wait)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("could not insert order", "INSERT_FAILED"),
        ("there are no matching orders", "NOTHING_TO_MATCH"),
        ("the trade contains rounding issues", "ROUNDING_ISSUES"),
        (
            (
                "the price of the taker's order has a discrepancy greater than allowed with the "
                "worst maker order"
            ),
            "PRICE_DISCREPANCY",
        ),
        ("could not run the execution", "EXECUTION_FAILED"),
        ("FOK orders are filled or killed", "FILLED_OR_KILLED"),
        ("error delaying the order", "DELAYING_FAILED"),
        ("Internal server error", "HTTP_500"),
    ],
)
def test_500_is_unknown_whatever_it_says(text: str, code: str) -> None:
    assert_unknown(refused(500, text), code)


def test_500_order_timed_out_is_unknown() -> None:
    assert_unknown(refused(500, "order timed out"), "ORDER_TIMED_OUT")


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("could not run the execution: not enough balance / allowance", "EXECUTION_FAILED"),
        ("could not insert order", "INSERT_FAILED"),
        ("context canceled", "CONTEXT_CANCELED"),
        ("order timed out", "ORDER_TIMED_OUT"),
    ],
)
def test_an_internal_error_is_unknown_under_any_status(status: int, text: str, code: str) -> None:
    """The venue gives every error with "context canceled" in it the status 400."""
    body = failed(text) if status == 200 else {"error": text}
    assert_unknown(outcome(posted(status, body)), code)


@pytest.mark.parametrize(
    ("body", "headers", "code", "wait"),
    [
        (
            {
                "error": "post-only mode: only post-only orders and cancels are allowed",
                "code": "post_only_mode",
                "retry_after_seconds": 79,
            },
            {},
            "POST_ONLY_MODE",
            79_000,
        ),
        (
            {"error": "new words", "code": "post_only_mode", "retry_after_seconds": 1.25},
            {"retry-after": "80"},
            "POST_ONLY_MODE",
            80_000,
        ),
        (
            {
                "error": (
                    "Trading is currently cancel-only. New orders are not accepted, but cancels "
                    "are allowed."
                )
            },
            {},
            "CANCEL_ONLY",
            5_000,
        ),
        (
            {"error": "Trading is currently disabled. Check polymarket.com for updates"},
            {},
            "TRADING_DISABLED",
            5_000,
        ),
    ],
)
def test_503_of_a_mode_is_not_placed(
    body: dict[str, Any], headers: dict[str, str], code: str, wait: int
) -> None:
    found = outcome(posted(503, body, headers=headers))
    assert isinstance(found, NotPlaced)
    assert (found.code, found.retry_after_ms) == (code, wait)


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 520, 522, 524, 599])
@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>", b'{"error":"upstream"}'])
def test_any_other_5xx_is_unknown(status: int, body: bytes) -> None:
    assert_unknown(outcome(posted(status, body)), f"HTTP_{status}")


@pytest.mark.parametrize("text", ["some new refusal", "INSUFFICIENT_BALANCE", "", "order"])
def test_a_400_with_a_text_of_no_row_is_unknown_and_no_refusal(text: str) -> None:
    assert_unknown(outcome(posted(400, {"error": text})), "HTTP_400")


def test_a_known_refusal_inside_a_longer_text_is_no_refusal() -> None:
    assert_unknown(refused(400, "engine said: invalid signature"), "HTTP_400")
    assert_unknown(refused(400, "invalid signature " + "x" * 5_000), "HTTP_400")
    assert_unknown(refused(500, "not enough balance / allowance"), "HTTP_500")

"""Each check of the doctor, over stand-ins for the venue, the sockets and the database."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadInput, Code
from app.secrets import SecretSet
from app.venue.interface import Found, Unread
from app.venue.polymarket.domain import EXCHANGES, POLYGON
from app.venue.polymarket.official import Approval
from app.venue.polymarket.signing import SignatureType
from app.venue.polymarket.sockets import SocketLost
from app.venue.polymarket.wire import Endpoint
from tests.support.doctor import (
    GOOD,
    KEYLESS,
    NOW_MS,
    SECRETS,
    SIGNER,
    TOKEN,
    WALLETS,
    Index,
    Rows,
    http,
    leaks,
    ports,
    settings,
    shown,
)
from tests.support.polymarket import FakeConnect, FakeHttp, HandClock, exchange, silent
from workers.doctor import books, database, own, stream, venue
from workers.doctor.clocks import FAIL_MS, WARN_MS, clock_finding, offset_ms

# --- clocks ----------------------------------------------------------------------------------------


@given(st.integers(-20_000, 20_000), st.integers(0, 3_000), st.integers(0, 3_000), st.data())
def test_an_offset_is_never_overstated(
    offset: int, there: int, back: int, data: st.DataObject
) -> None:
    """Our clock is ``offset`` ahead; the way takes any time; the other clock leaves out what it likes."""
    resolution = data.draw(st.sampled_from((1, 1_000)))
    truth = 1_000_000_000 + data.draw(st.integers(0, 999))
    told = (truth + there) // resolution * resolution
    before, after = truth + offset, truth + there + back + offset
    found = offset_ms(before, told, after, resolution)
    assert abs(found) <= abs(offset)
    assert found == 0 or (found > 0) == (offset > 0)
    assert abs(offset) - abs(found) <= there + back + resolution


@pytest.mark.parametrize(
    ("offset", "result"),
    [(0, "ok"), (WARN_MS, "ok"), (-WARN_MS - 1, "warn"), (FAIL_MS, "warn"), (FAIL_MS + 1, "fail")],
)
def test_an_offset_is_judged_by_the_thresholds(offset: int, result: str) -> None:
    found = clock_finding("clock, venue", offset, 10)
    assert found.result == result
    if offset:
        assert ("ahead of" in found.seen) == (offset > 0)


@pytest.mark.parametrize(
    ("ahead_ms", "result"),
    [(0, "ok"), (900, "ok"), (3_500, "warn"), (-3_000, "warn"), (9_000, "fail")],
)
async def test_the_venues_clock_is_read_to_the_second(ahead_ms: int, result: str) -> None:
    ask = FakeHttp({Endpoint.GET_TIME: (NOW_MS - ahead_ms) // 1000})
    assert (await venue.check_clock(ask, HandClock(NOW_MS))).result == result


# --- what is ours ----------------------------------------------------------------------------------


def test_paper_is_fine_and_real_money_is_said() -> None:
    assert own.check_venue(settings(venue="paper")).result == "ok"
    assert "loopback" in own.check_venue(settings()).seen
    real = settings(live=True, polymarket_clob_url="https://clob.polymarket.com")
    assert (own.check_venue(real).result, "real money" in own.check_venue(real).seen) == (
        "warn",
        True,
    )


def test_addresses_of_two_worlds_are_a_failure() -> None:
    assert own.check_addresses(settings()).result == "ok"
    mixed = settings(live=True, polymarket_ws_url="wss://ws.example/ws/user")
    assert "LEDGER_POLYMARKET_CLOB_URL" in own.check_addresses(mixed).seen
    assert own.check_addresses(mixed).result == "fail"


def test_keys_are_told_by_their_ids_alone() -> None:
    found, secrets = own.check_secrets("a place", lambda: SECRETS)
    assert (found.result, secrets) == ("ok", SECRETS)
    assert "a-key-id" in found.seen
    assert not leaks(shown(found))
    keyless, secrets = own.check_secrets("a place", lambda: KEYLESS)
    assert (keyless.result, secrets) == ("fail", KEYLESS)
    rotated = SecretSet(SECRETS.current, SECRETS.current.credentials)
    assert "the key before, a-key-id, is known" in own.check_secrets("x", lambda: rotated)[0].seen


def test_keys_that_cannot_be_read_are_a_failure_with_a_way_out() -> None:
    def away() -> SecretSet:
        raise BadInput(Code.BAD_SETTING, "Vault did not hand it over", next_step="look there")

    found, secrets = own.check_secrets("a place", away)
    assert (found.result, found.next_step, secrets) == ("fail", "look there", None)


@pytest.mark.parametrize(
    ("given", "result"),
    [
        ({}, "ok"),
        ({"signature_type": 2}, "fail"),
        ({"signature_type": 0}, "fail"),
        ({"funder": "0x" + "22" * 20}, "warn"),
        ({"funder": "0x1234"}, "fail"),
        ({"funder": None}, "fail"),
        ({"funder": None, "signature_type": 0}, "warn"),
        ({"funder": SIGNER, "signature_type": 0}, "warn"),
        ({"funder": WALLETS[SignatureType.GNOSIS_SAFE], "signature_type": 2}, "ok"),
    ],
)
def test_key_wallet_and_type_are_checked_before_the_venue_does(
    given: dict[str, Any], result: str
) -> None:
    assert own.check_wallet(settings(**given), SIGNER).result == result


@pytest.mark.parametrize(
    ("row", "result"),
    [
        (None, "fail"),
        ({"venue": "paper", "maker": None, "signer": None}, "fail"),
        ({"venue": "polymarket", "maker": None, "signer": None}, "ok"),
        (
            {
                "venue": "polymarket",
                "maker": WALLETS[SignatureType.POLY_1271].lower(),
                "signer": WALLETS[SignatureType.POLY_1271],
            },
            "ok",
        ),
        (
            {
                "venue": "polymarket",
                "maker": WALLETS[SignatureType.POLY_1271],
                "signer": SIGNER.lower(),
            },
            "ok",
        ),
        ({"venue": "polymarket", "maker": "0x" + "22" * 20, "signer": None}, "fail"),
        ({"venue": "polymarket", "maker": None, "signer": "0x" + "22" * 20}, "fail"),
    ],
)
def test_an_account_is_one_wallet_and_one_key(
    row: dict[str, str | None] | None, result: str
) -> None:
    assert own.check_account(settings(), SIGNER, row).result == result


# --- the venue -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "result", "words"),
    [
        ("OK", "ok", "answers in 3 ms"),
        (silent(Endpoint.GET_OK), "fail", "timeout (sending)"),
        ((403, "<html>blocked</html>"), "fail", "HTTP 403"),
        ((502, "bad gateway"), "fail", "HTTP 502"),
    ],
)
async def test_an_order_book_that_does_not_answer_is_a_failure(
    reply: Any, result: str, words: str
) -> None:
    found = await venue.check_rest(http(GET_OK=reply))
    assert (found.result, words in found.seen) == (result, True)


@pytest.mark.parametrize(
    ("reply", "result"),
    [({"version": 2}, "ok"), ({"version": 3}, "fail"), ({"version": 1}, "fail"), ([], "warn")],
)
async def test_another_order_version_is_a_failure(reply: Any, result: str) -> None:
    assert (await venue.check_version(http(GET_VERSION=reply))).result == result


@pytest.mark.parametrize(
    ("reply", "result"),
    [
        ({"blocked": False, "country": "IE"}, "ok"),
        ({"blocked": True, "country": "XX", "region": "Y"}, "fail"),
        ({"country": "IE"}, "warn"),
        ((403, "<html>"), "warn"),
    ],
)
async def test_a_geoblock_is_a_failure_and_our_address_is_not_shown(
    reply: Any, result: str
) -> None:
    assert (await venue.check_geoblock(http(GET_GEOBLOCK=reply))).result == result
    assert "192.0.2.7" not in shown(await venue.check_geoblock(http()))


@pytest.mark.parametrize(
    ("reply", "result"),
    [
        ({"apiKeys": ["a-key-id"]}, "ok"),
        ({"apiKeys": ["another"]}, "fail"),
        ({"apiKeys": None}, "warn"),
        ((401, {"error": "Unauthorized/Invalid api key"}), "fail"),
        ((500, "boom"), "warn"),
    ],
)
async def test_a_key_that_is_not_this_signers_is_a_failure(reply: Any, result: str) -> None:
    ask = http(GET_API_KEYS=reply)
    assert (await venue.check_credentials(ask, "a-key-id", SIGNER)).result == result
    assert ask.asked == [(Endpoint.GET_API_KEYS, {"signed": True})]


@pytest.mark.parametrize(
    ("reply", "result"),
    [({"closed_only": False}, "ok"), ({"closed_only": True}, "fail"), ({}, "warn")],
)
async def test_closed_only_is_a_failure(reply: Any, result: str) -> None:
    assert (await venue.check_closed_only(http(GET_CLOSED_ONLY=reply))).result == result


@pytest.mark.parametrize(
    ("reply", "result"),
    [({"tier": "GOLD"}, "ok"), ({"tier": "Uranium"}, "warn"), ((404, ""), "warn")],
)
async def test_a_tier_nobody_knows_is_told(reply: Any, result: str) -> None:
    assert (await venue.check_tier(http(GET_TIER=reply))).result == result


STANDARD = EXCHANGES[POLYGON].standard.exchange


@pytest.mark.parametrize(
    ("reply", "collateral", "allowances"),
    [
        (GOOD[Endpoint.GET_BALANCE], "ok", "ok"),
        ({"balance": "0", "allowances": {STANDARD: "0"}}, "warn", "fail"),
        ({"balance": "5000000", "allowances": {STANDARD: "4999999"}}, "ok", "fail"),
        ({"balance": "5000000", "allowances": {STANDARD: "5000000"}}, "ok", "warn"),
        ({"balance": "5000000"}, "ok", "warn"),
        ((400, {"error": "invalid signature type"}), "warn", "warn"),
    ],
)
async def test_what_the_wallet_has_and_who_may_move_it(
    reply: Any, collateral: str, allowances: str
) -> None:
    found = await venue.check_collateral(http(GET_BALANCE=reply), SignatureType.POLY_1271)
    assert [one.result for one in found] == [collateral, allowances]


async def test_a_balance_that_seems_too_small_is_looked_up_on_the_chain_first() -> None:
    """A deposit that the venue's cache has not noticed is no reason to send a person away."""
    asks = http(GET_BALANCE={"balance": "0"}, UPDATE_BALANCE={})

    async def ask(endpoint: Endpoint, **options: Any) -> Any:
        if endpoint is Endpoint.UPDATE_BALANCE:
            assert options["query"] == {"asset_type": "COLLATERAL", "signature_type": "3"}
            asks.replies[Endpoint.GET_BALANCE] = GOOD[Endpoint.GET_BALANCE]
        return await asks(endpoint, **options)

    found = await venue.check_collateral(ask, SignatureType.POLY_1271)
    assert [one.result for one in found] == ["ok", "ok"]
    assert [endpoint for endpoint, _ in asks.asked].count(Endpoint.UPDATE_BALANCE) == 1


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (Found([]), "ok"),
        (Found([Approval("0xa", f"0x{n}", "ERC20") for n in range(6)]), "warn"),
        (Unread("TransportError: away"), "warn"),
    ],
)
async def test_the_index_of_approvals_is_a_second_opinion(answer: Any, result: str) -> None:
    found = await venue.check_approvals(Index(answer), "0xw")
    assert found.result == result
    if isinstance(answer, Found) and answer.value:
        assert "and 2 more" in found.seen


# --- books -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "result", "words"),
    [
        ({}, "ok", "changed 2 s ago"),
        ({"bids": [], "asks": []}, "ok", "1 looked at"),
        ({"bids": [{"price": "0.55", "size": "1"}]}, "fail", "crossed: 0.55 bid, 0.55 offered"),
        ({"timestamp": str(NOW_MS - 601_000)}, "warn", "did not change for 601 s"),
        ({"timestamp": ""}, "warn", "does not say when"),
        ({"bids": "none"}, "warn", "bids is no list"),
    ],
)
async def test_a_book_is_there_makes_sense_and_is_alive(
    change: dict[str, Any], result: str, words: str
) -> None:
    ask = http(GET_BOOK=GOOD[Endpoint.GET_BOOK] | change)
    found = await books.check_books(ask, HandClock(NOW_MS), [TOKEN])
    assert (found.result, words in found.seen) == (result, True), found
    assert ask.asked == [(Endpoint.GET_BOOK, {"query": {"token_id": TOKEN}})]


async def test_without_a_market_no_book_is_asked_for() -> None:
    ask = http()
    assert (await books.check_books(ask, HandClock(), [])).result == "skipped"
    assert ask.asked == []


def test_the_best_of_a_book_is_found_in_any_order() -> None:
    for reverse in (False, True):
        book = dict(GOOD[Endpoint.GET_BOOK])
        if reverse:
            book |= {side: book[side][::-1] for side in ("bids", "asks")}
        top = books.read_top(exchange(Endpoint.GET_BOOK, book))
        assert isinstance(top, Found)
        assert (top.value.bid_micros, top.value.ask_micros) == (450_000, 550_000)


# --- streams ---------------------------------------------------------------------------------------


LOST = SocketLost("closed: 1008 policy violation")


@pytest.mark.parametrize(
    ("frames", "result", "words"),
    [
        (("PONG",), "ok", "first pong"),
        (('[{"event_type":"order"}]',), "ok", "first data"),
        (("PONG", '{"event_type":"trade"}', "PONG"), "ok", "first pong"),
        ((LOST,), "fail", "policy violation"),
        (("PONG", LOST), "fail", "policy violation"),
        ((), "warn", "not even PONG"),
    ],
)
async def test_a_stream_must_be_heard_and_must_last(
    frames: tuple[Any, ...], result: str, words: str
) -> None:
    connect = FakeConnect(*frames)
    found = await stream.check_user_stream(connect, "wss://x", SECRETS.current.credentials, ports())
    assert (found.result, words in found.seen) == (result, True), found
    assert not leaks(shown(found))
    for _, socket in connect.opened:
        assert socket.closed
        subscribed = json.loads(socket.sent[0])
        assert subscribed["type"] == "user"
        assert subscribed["auth"]["apiKey"] == "a-key-id"
        assert socket.sent[1] == "PING"


async def test_a_stream_that_cannot_be_reached_is_tried_again_and_then_told() -> None:
    connect = FakeConnect(refused="no connection: OSError")
    found = await stream.check_market_stream(connect, "wss://x", [TOKEN], ports())
    assert (found.result, "no connection" in found.seen) == ("fail", True)
    assert (await stream.check_market_stream(connect, "wss://x", [], ports())).result == "skipped"


# --- the database ----------------------------------------------------------------------------------


async def test_the_databases_clock_is_looked_at_too() -> None:
    off = Rows(account=[{"venue": None, "maker": None, "signer": None, "now_ms": NOW_MS - 6_000}])
    facts = await database.look(off, "main", HandClock(NOW_MS))
    assert facts.clock.result == "fail"
    assert facts.account is None
    assert (await database.look(Rows(), "main", HandClock(NOW_MS))).clock.result == "ok"


def test_a_mode_of_the_venue_is_told_with_its_end() -> None:
    modes = [
        {"mode": "POST_ONLY", "for_s": 20, "ends_in_s": 100, "detail": ""},
        {"mode": "CLOSED_ONLY", "for_s": 3, "ends_in_s": None, "detail": ""},
    ]
    found = database.check_modes(modes)
    assert found.result == "warn"
    assert "POST_ONLY for 20 s, ends in 100 s; CLOSED_ONLY for 3 s" in found.seen
    assert database.check_modes([]).result == "ok"

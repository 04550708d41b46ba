"""Bad input gets a code and leaves no trace, through the client and in any other language."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import pytest

from app.errors import BadInput, Code
from app.ledger import Intent, Ledger, Refusal
from tests.support.trading import (
    ACCOUNT,
    World,
    buy,
    world_fixture,  # noqa: F401 - the fixture
)

BAD: dict[str, tuple[dict[str, Any], Code]] = {
    "price off the tick": ({"price_micros": 455_000}, Code.OFF_TICK),
    "price zero": ({"price_micros": 0}, Code.BAD_PRICE),
    "price negative": ({"price_micros": -450_000}, Code.BAD_PRICE),
    "price one": ({"price_micros": 1_000_000}, Code.BAD_PRICE),
    "price huge": ({"price_micros": 10**30}, Code.BAD_PRICE),
    "price as a float": ({"price_micros": 0.45}, Code.BAD_PRICE),
    "price as text": ({"price_micros": "450000"}, Code.BAD_PRICE),
    "price true": ({"price_micros": True}, Code.BAD_PRICE),
    "price NaN": ({"price_micros": float("nan")}, Code.BAD_REQUEST),
    "size zero": ({"size_micros": 0}, Code.BAD_SIZE),
    "size negative": ({"size_micros": -10_000_000}, Code.BAD_SIZE),
    "size huge": ({"size_micros": 10**18}, Code.BAD_SIZE),
    "size beyond all numbers": ({"size_micros": 10**5000}, Code.BAD_REQUEST),
    "size of a fraction of a cent": ({"size_micros": 10_000_001}, Code.BAD_SIZE),
    "FOK to spend a fraction of a cent": (
        {"order_type": "FOK", "size_micros": 10_010_000},
        Code.BAD_SIZE,
    ),
    "size NaN": ({"size_micros": float("nan")}, Code.BAD_REQUEST),
    "size infinite": ({"size_micros": float("inf")}, Code.BAD_REQUEST),
    "size below the market's minimum": ({"size_micros": 4_990_000}, Code.BELOW_MINIMUM),
    "unknown market": ({"market": "nowhere"}, Code.UNKNOWN_MARKET),
    "market empty": ({"market": ""}, Code.UNKNOWN_MARKET),
    "market a list": ({"market": ["m1"]}, Code.UNKNOWN_MARKET),
    "unknown outcome": ({"outcome": "Sideways"}, Code.UNKNOWN_OUTCOME),
    "outcome 2": ({"outcome": "2"}, Code.UNKNOWN_OUTCOME),
    "unknown account": ({"account": "nobody"}, Code.UNKNOWN_ACCOUNT),
    "side of no kind": ({"side": "HOLD"}, Code.BAD_REQUEST),
    "side a number": ({"side": 1}, Code.BAD_REQUEST),
    "key empty": ({"key": ""}, Code.BAD_KEY),
    "key of 10 kB": ({"key": "k" * 10_240}, Code.BAD_KEY),
    "key of 201 bytes": ({"key": "ä" * 100 + "k"}, Code.BAD_KEY),
    "key a number": ({"key": 7}, Code.BAD_KEY),
    "key with NUL": ({"key": "a\0b"}, Code.BAD_REQUEST),
    "key with half a character": ({"key": "\ud800"}, Code.BAD_REQUEST),
    "order type of no kind": ({"order_type": "IOC"}, Code.BAD_REQUEST),
    "class of no kind": ({"order_class": "gamble"}, Code.BAD_REQUEST),
    "post-only as text": ({"post_only": "yes"}, Code.BAD_REQUEST),
    "post-only that is never to rest": (
        {"post_only": True, "order_type": "FOK"},
        Code.BAD_REQUEST,
    ),
    "GTD without a date": ({"order_type": "GTD"}, Code.BAD_VALIDITY),
    "GTC with a date": ({"expires_at_s": 1_900_000_000}, Code.BAD_VALIDITY),
    "valid for no time": ({"valid_for_ms": 0}, Code.BAD_VALIDITY),
    "valid for ever": ({"valid_for_ms": 10**9}, Code.BAD_VALIDITY),
    "context a list": ({"context": [1]}, Code.BAD_REQUEST),
    "context of 10 kB": ({"context": {"why": "x" * 10_240}}, Code.BAD_REQUEST),
    "context that is no JSON": ({"context": {"why": object()}}, Code.BAD_REQUEST),
    "set number as text": ({"set_id": "1"}, Code.BAD_REQUEST),
    "more than the account has": (
        {"price_micros": 990_000, "size_micros": 20_000_000_000},
        Code.CAP_OUTCOME,
    ),
}


def bad(changes: dict[str, Any]) -> Intent:
    given: dict[str, Any] = {
        "market": "m1",
        "outcome": "Up",
        "side": "BUY",
        "price_micros": 450_000,
        "size_micros": 10_000_000,
        "key": "k",
    }
    return Intent(**(given | changes))


async def test_every_bad_intent_gets_its_code_and_writes_nothing(world: World) -> None:
    ledger = await world.ledger()
    before = await world.rows()
    found: dict[str, str] = {}
    for name, (changes, _) in BAD.items():
        answer = await ledger.try_reserve(bad(changes))
        assert isinstance(answer, Refusal), name
        found[name] = answer.code
    assert found == {name: code for name, (_, code) in BAD.items()}
    assert await world.rows() == before


async def test_bad_intents_in_one_call_do_not_touch_the_good_one_among_them(world: World) -> None:
    await world.open_limiter()
    ledger = await world.ledger()
    intents = [bad(changes) for changes, _ in BAD.values()]
    intents.insert(7, buy("good"))
    answers = await ledger.try_reserve_many(intents)
    good = answers.pop(7)
    assert not isinstance(good, Refusal)
    assert [one.code for one in answers if isinstance(one, Refusal)] == [
        code for _, code in BAD.values()
    ]
    assert (await world.rows())["orders"] == 1


async def test_an_account_that_was_not_granted_is_refused(world: World) -> None:
    await world.life.open_account("other")
    ledger = await world.ledger(account="other")
    answer = await ledger.try_reserve(buy("k"))
    assert isinstance(answer, Refusal)
    assert answer.code is Code.NOT_GRANTED


@pytest.mark.parametrize("text", ["NaN", "inf", "1e3", "", "0,45", "4.5.6", "0.1234567", "1" * 70])
async def test_text_that_is_no_exact_number_is_refused_at_the_border(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        Intent.of(market="m1", outcome="Up", side="BUY", price=text, size="10", key="k")
    assert caught.value.code is Code.BAD_NUMBER


async def test_a_float_is_refused_at_the_border() -> None:
    with pytest.raises(BadInput) as caught:
        Intent.of(market="m1", outcome="Up", side="BUY", price=0.45, size="10", key="k")  # type: ignore[arg-type]
    assert caught.value.code is Code.BAD_NUMBER


async def test_text_becomes_exact_micros() -> None:
    intent = Intent.of(market="m1", outcome="Up", side="BUY", price="0.29", size="10.5", key="k")
    assert (intent.price_micros, intent.size_micros) == (290_000, 10_500_000)


WRONG_JSON = ["null", "{}", "7", '"text"', "[null]", "[7]", '["text"]', "[[]]", "[{}]"]


async def test_json_of_another_shape_is_refused_by_the_database(world: World) -> None:
    conn = await world.database.connect("trader")
    before = await world.rows()
    for text in WRONG_JSON:
        try:
            answer = await conn.fetchval("SELECT ledger.reserve_pending($1)", text)
            told = {(one["status"], one["code"]) for one in json.loads(answer)}
        except asyncpg.PostgresError as error:
            told = {("refused", str(error).split(":")[0])}
        assert told == {("refused", "BAD_REQUEST")}, text
    assert await world.rows() == before


async def test_a_field_of_the_wrong_json_type_is_refused_by_the_database(world: World) -> None:
    conn = await world.database.connect("trader")
    before = await world.rows()
    names = ("mutex_term", "set_id", "valid_for_ms", "expires_at_s", "replaces_order_id")
    values: tuple[Any, ...] = (None, "1", 1.5, [], {}, True)
    wrong = [buy("k").as_request(ACCOUNT) | {name: value} for name in names for value in values]
    answers = json.loads(
        await conn.fetchval("SELECT ledger.reserve_pending($1)", json.dumps(wrong))
    )
    assert [one for one in answers if one["status"] != "refused"] == []
    assert await world.rows() == before


async def test_more_intents_than_travel_together_are_refused_as_a_whole(world: World) -> None:
    ledger = await world.ledger()
    with pytest.raises(BadInput):
        await ledger.try_reserve_many([buy(f"k{n}") for n in range(65)])
    assert (await world.rows())["orders"] == 0


async def test_a_pool_that_leaves_no_connection_for_cancels_is_refused(world: World) -> None:
    with pytest.raises(BadInput) as caught:
        async with Ledger.open(world.database.url_for("trader"), pool_size=1):
            pass
    assert caught.value.code is Code.BAD_SETTING


async def test_what_the_market_itself_forbids_leaves_not_even_a_counter_row(world: World) -> None:
    ledger = await world.ledger()
    await world.life.add_market("never traded")
    counted = "SELECT count(*) FROM ledger.exposure"
    before = await world.owner.fetchval(counted)
    for name in ("price off the tick", "size below the market's minimum"):
        answer = await ledger.try_reserve(bad({**BAD[name][0], "market": "never traded"}))
        assert isinstance(answer, Refusal)
        assert answer.code == BAD[name][1]
    assert await world.owner.fetchval(counted) == before

"""Rewards and rebates of a day as the venue's reference shows them: a day is read whole, or it is unread."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from app.venue.interface import Found, Unread
from app.venue.polymarket.rewards import Reward, read_rewards
from app.venue.polymarket.wire import Endpoint, Exchange, Phase

DAY = "2026-03-26"
MAKER = "0xFeA4cB3dD4ca7CefD3368653B7D6FF9BcDFca604"
PUSD = "0xC011a7E12a19f7B1f670d46F03B03f3342E82DFB"
CONDITION = "0x" + "ab" * 32
EARNED = {
    "date": f"{DAY}T00:00:00Z",
    "condition_id": CONDITION,
    "asset_address": PUSD,
    "maker_address": MAKER,
    "earnings": 0.237519,
    "asset_rate": 1,
}
REBATE = {
    "date": DAY,
    "condition_id": CONDITION,
    "asset_address": PUSD,
    "maker_address": MAKER,
    "rebated_fees_usdc": "1.5",
}


def page(*rows: Any, cursor: str | None = "LTE=") -> dict[str, Any]:
    return {"limit": 100, "count": len(rows), "next_cursor": cursor, "data": list(rows)}


async def reading(
    *pages: Any, rebates: Any = (), asked: list[dict[str, str]] | None = None
) -> Found[list[Reward]] | Unread:
    """A day from pages by cursor (the n-th is asked for with ``str(n)``, the first with ``MA==``)."""

    async def ask(endpoint: Endpoint, query: Mapping[str, str]) -> Exchange:
        if asked is not None:
            asked.append(dict(query))
        if endpoint is Endpoint.GET_REBATES:
            body = rebates
        else:
            assert endpoint is Endpoint.GET_REWARDS
            number = query["next_cursor"]
            body = pages[0 if number == "MA==" else int(number)]
        if isinstance(body, Exchange):
            return body
        text = body if isinstance(body, str) else json.dumps(body)
        return Exchange(endpoint, Phase.DONE, status=200, body=text.encode())

    return await read_rewards(ask, DAY, maker=MAKER, signature_type=3)


async def test_a_day_holds_rewards_and_rebates_each_under_a_key_of_its_own() -> None:
    asked: list[dict[str, str]] = []
    seen = await reading(page(EARNED), rebates=[REBATE], asked=asked)
    assert isinstance(seen, Found)
    earned, rebate = seen.value
    assert (earned.kind, earned.amount_micros, earned.told) == ("liquidity", 237_519, ("0.237519",))
    assert (rebate.kind, rebate.amount_micros) == ("rebate", 1_500_000)
    assert earned.key == f"liquidity:{DAY}:{CONDITION}:{PUSD.lower()}"
    assert len({earned.key, rebate.key}) == 2
    assert asked[0] == {"date": DAY, "signature_type": "3", "next_cursor": "MA=="}
    assert asked[-1] == {"date": DAY, "maker_address": MAKER}
    assert json.loads(json.dumps(earned.to_json()))["amount_micros"] == 237_519


async def test_a_day_without_anything_is_read_and_empty() -> None:
    assert await reading(page(), rebates=[]) == Found([])


async def test_all_pages_count_and_an_amount_of_many_digits_is_cut_and_kept_as_it_was() -> None:
    text = json.dumps(page(EARNED)).replace("0.237519", "1.9999999999")
    many = text.replace("LTE=", "1")
    seen = await reading(many, page(EARNED | {"condition_id": "0x" + "cd" * 32}), rebates=[])
    assert isinstance(seen, Found)
    amounts = {one.condition_id: (one.amount_micros, one.told) for one in seen.value}
    assert amounts[CONDITION] == (1_999_999, ("1.9999999999",))
    assert amounts["0x" + "cd" * 32][0] == 237_519


async def test_several_rows_of_a_market_are_one_reward() -> None:
    seen = await reading(page(EARNED, EARNED | {"earnings": 0.1}), rebates=[])
    assert isinstance(seen, Found)
    [one] = seen.value
    assert one.amount_micros == 337_519


async def test_rows_of_one_market_that_are_equal_all_count() -> None:
    half = EARNED | {"earnings": 0.5}
    seen = await reading(page(half, half), rebates=[REBATE, REBATE])
    assert isinstance(seen, Found)
    assert [one.amount_micros for one in seen.value] == [1_000_000, 3_000_000]


@pytest.mark.parametrize(
    "change",
    [
        {"date": "2026-03-27T00:00:00Z"},
        {"date": None},
        {"condition_id": "0x12"},
        {"asset_address": ""},
        {"earnings": -1},
        {"earnings": "much"},
        {"earnings": None},
        {"earnings": 10**13},
    ],
)
async def test_one_row_that_cannot_be_read_makes_the_day_unread(change: dict[str, Any]) -> None:
    seen = await reading(page(EARNED | {"condition_id": CONDITION}, EARNED | change), rebates=[])
    assert isinstance(seen, Unread)
    assert DAY in seen.reason


@pytest.mark.parametrize(
    ("pages", "rebates"),
    [
        (("null",), ()),
        (("[]",), ()),
        ((page(EARNED, cursor="MA=="),), ()),
        (({"data": [EARNED]},), ()),
        ((page(EARNED),), "{}"),
        ((page(EARNED),), [REBATE | {"maker_address": "0x" + "1" * 40}]),
        ((page(EARNED),), [REBATE | {"date": "2026-03-25"}]),
        ((page(EARNED),), Exchange(Endpoint.GET_REBATES, Phase.DONE, status=404, body=b"{}")),
        ((Exchange(Endpoint.GET_REWARDS, Phase.READING, status=200, body=b'{"da'),), ()),
    ],
)
async def test_a_list_that_is_not_whole_makes_the_day_unread(pages: Any, rebates: Any) -> None:
    seen = await reading(*pages, rebates=rebates)
    assert isinstance(seen, Unread)

"""Which connection, key and words a request to Polymarket has, and what odd answers may not do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from app.clock import Ports
from app.venue.interface import Found, NotPlaced, PlaceRequest, Unread
from app.venue.polymarket.answers import FeeTerms, Mode, ModeSign, Unreadable
from app.venue.polymarket.answers.reading import read_geoblock
from app.venue.polymarket.answers.rows import unit_of
from app.venue.polymarket.auth import ApiCredentials
from app.venue.polymarket.limits import Budget
from app.venue.polymarket.transport import Transport
from app.venue.polymarket.venue import PolymarketVenue
from app.venue.polymarket.wire import Endpoint, Exchange, Phase
from tests.support.polymarket import Reply, exchange
from workers.worker.polymarket_host import PolymarketHost

ORDER = "0x" + "ab" * 32
WALLET = "0x" + "cd" * 20
TOKEN = "71321045679252212594626385532706912750332728571942532289631379312455583992563"
OLD = ApiCredentials("old-key", "c2VjcmV0", "old passphrase")
NEW = ApiCredentials("new-key", "c2VjcmV0", "new passphrase")
BODY = b'{"order":{},"owner":"","orderType":"GTC"}'


@dataclass
class Wire:
    """A transport that answers as it is told, and remembers who asked what."""

    replies: dict[Endpoint, Reply] = field(default_factory=dict)
    asked: list[tuple[Endpoint, str, bytes]] = field(default_factory=list)

    async def request(self, endpoint: Endpoint, **how: Any) -> Exchange:
        who = how["identity"].credentials.key_id
        self.asked.append((endpoint, who, how.get("body", b"")))
        return exchange(endpoint, self.replies.get(endpoint, {}))


class NoLimits:
    async def spend(self, *_: Any) -> int:
        return 0

    async def pause(self, *_: Any) -> None: ...

    async def owe(self, *_: Any) -> None: ...


class Ledger:
    """Knows one order."""

    async def signed_sizes(self, account: str, venue_order_ids: Sequence[str]) -> Mapping[str, int]:
        return {one: 10_000_000 for one in venue_order_ids if one == ORDER}

    async def fee_terms(self, token_ids: Sequence[str]) -> Mapping[str, FeeTerms]:
        return {}


@dataclass
class Desk:
    """A venue on two wires, and what it noticed."""

    wire: Wire = field(default_factory=Wire)
    urgent: Wire = field(default_factory=Wire)
    signs: list[ModeSign] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.venue = PolymarketVenue(
            cast(Transport, self.wire),
            cast(Transport, self.urgent),
            Ports.system(),
            budget=cast(Budget, NoLimits()),
            lookup=Ledger(),
            connect=cast(Any, None),
            user_channel_url="",
            noticed=lambda _account, sign: self.signs.append(sign),
        )
        self.add(OLD)

    def add(self, credentials: ApiCredentials, **more: Any) -> None:
        self.venue.add_account(
            "main",
            WALLET,
            credentials,
            maker=WALLET,
            signature_type=0,
            owners=frozenset(),
            **more,
        )


# --- connections of their own ---------------------------------------------------------------------


async def test_cancels_and_beats_stand_behind_no_read_and_no_placement_of_ours() -> None:
    desk = Desk()
    await desk.venue.cancel("main", [ORDER])
    await desk.venue.cancel("main", [ORDER, ORDER])
    await desk.venue.cancel_market("main", "0x1", [ORDER])
    await desk.venue.cancel_all("main", [ORDER])
    await desk.venue.ask("main", Endpoint.POST_HEARTBEAT)
    assert len(desk.urgent.asked) == 5
    assert desk.wire.asked == []
    await desk.venue.order("main", ORDER)
    await desk.venue.place("main", [PlaceRequest(ORDER, BODY, "old-key")])
    assert len(desk.urgent.asked) == 5


# --- keys -----------------------------------------------------------------------------------------


async def test_body_and_headers_of_an_attempt_are_of_the_key_it_was_opened_under() -> None:
    desk = Desk()
    desk.add(NEW)
    await desk.venue.place("main", [PlaceRequest(ORDER, BODY, "old-key")])
    await desk.venue.place("main", [PlaceRequest(ORDER, BODY, "new-key")])
    said = [(who, json.loads(body)["owner"]) for _, who, body in desk.wire.asked]
    assert said == [("old-key", "old-key"), ("new-key", "new-key")]


async def test_an_attempt_under_a_key_that_nobody_knows_does_not_leave() -> None:
    desk = Desk()
    [outcome] = await desk.venue.place("main", [PlaceRequest(ORDER, BODY, "another")])
    assert isinstance(outcome, NotPlaced)
    assert outcome.code == "KEY_ROTATED"
    assert desk.wire.asked == []


@pytest.mark.parametrize("remembered", ["by the process", "by the keeper"])
async def test_look_ups_are_made_with_the_key_that_is_asked_for(remembered: str) -> None:
    desk = Desk()
    if remembered == "by the keeper":
        desk = Desk()
        desk.venue._wallets.clear()
        desk.add(NEW, older=lambda key_id: OLD if key_id == "old-key" else None)
    else:
        desk.add(NEW)
    await desk.venue.order("main", ORDER, owner="old-key")
    await desk.venue.trades("main", 0, owner="old-key")
    assert {who for _, who, _ in desk.wire.asked} == {"old-key"}
    desk.wire.asked.clear()
    await desk.venue.order("main", ORDER)
    await desk.venue.order("main", ORDER, owner="new-key")
    assert {who for _, who, _ in desk.wire.asked} == {"new-key"}


async def test_a_key_that_nobody_knows_makes_a_look_up_unread() -> None:
    desk = Desk()
    for answer in (
        await desk.venue.order("main", ORDER, owner="another"),
        await desk.venue.trades("main", 0, owner="another"),
    ):
        assert isinstance(answer, Unread)
        assert "another" in answer.reason
    assert desk.wire.asked == []


async def test_that_an_old_key_is_refused_says_nothing_of_the_account() -> None:
    desk = Desk()
    desk.add(NEW)
    desk.wire.replies = dict.fromkeys(
        (Endpoint.GET_ORDER, Endpoint.POST_ORDER), (401, {"error": "Unauthorized/Invalid api key"})
    )
    await desk.venue.order("main", ORDER, owner="old-key")
    await desk.venue.place("main", [PlaceRequest(ORDER, BODY, "old-key")])
    assert desk.signs == []
    await desk.venue.order("main", ORDER)
    assert [sign.mode for sign in desk.signs] == [Mode.BAD_CREDENTIALS]


# --- odd answers ----------------------------------------------------------------------------------


def trade(**changes: Any) -> dict[str, Any]:
    return {
        "id": "t-1",
        "taker_order_id": ORDER,
        "market": "0x" + "dd" * 32,
        "asset_id": TOKEN,
        "side": "BUY",
        "size": "1.5",
        "fee_rate_bps": "0",
        "price": "0.52",
        "status": "CONFIRMED",
        "match_time": "1725868859",
        "last_update": "1725868885",
        "outcome": "Yes",
        "bucket_index": 0,
        "owner": "old-key",
        "maker_address": WALLET,
        "transaction_hash": "",
        "trader_side": "TAKER",
        "maker_orders": [],
    } | changes


def page(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"limit": 100, "count": len(rows), "next_cursor": "LTE=", "data": list(rows)}


@pytest.mark.parametrize("told", ["bucket by bucket", "without a word"])
async def test_a_trade_that_is_told_in_parts_is_unread_and_no_part_is_lost(told: str) -> None:
    desk = Desk()
    second = {"bucket_index": 1} if told == "bucket by bucket" else {}
    desk.wire.replies[Endpoint.GET_TRADES] = page(trade(), trade(size="2.5", **second))
    answer = await desk.venue.trades("main", 0)
    assert isinstance(answer, Unread)
    assert "several parts" in answer.reason


async def test_a_trade_that_stands_twice_as_it_is_counts_once() -> None:
    desk = Desk()
    desk.wire.replies[Endpoint.GET_TRADES] = page(trade(), trade(status="MINED"))
    answer = await desk.venue.trades("main", 0)
    assert isinstance(answer, Found)
    assert [one.size_micros for one in answer.value] == [1_500_000]


@pytest.mark.parametrize("fill", ["20000", "1000000", "9999999"])
def test_a_fill_that_may_be_in_either_unit_is_unreadable(fill: str) -> None:
    """Of an order of ten thousand shares: a share in millionths, or a million of them."""
    with pytest.raises(Unreadable):
        unit_of((fill,), fill, 10_000_000_000)


@pytest.mark.parametrize(("fill", "in_micros"), [("9999", False), ("9999999999", True)])
def test_a_fill_that_can_only_be_in_one_unit_is_read_in_it(fill: str, in_micros: bool) -> None:
    assert unit_of((fill,), fill, 10_000_000_000).in_micros is in_micros


GEOBLOCK = Endpoint.GET_GEOBLOCK


@pytest.mark.parametrize(
    "answer",
    [
        Exchange(GEOBLOCK, Phase.READING, 200, {}, b'{"blocked":false'),
        Exchange(GEOBLOCK, Phase.READING, 200, {}, b'{"blocked":false}'),
        exchange(GEOBLOCK, '{"blocked":fal'),
        exchange(GEOBLOCK, {"blocked": "false"}),
        exchange(GEOBLOCK, {"blocked": None}),
        exchange(GEOBLOCK, {"blocked": 0}),
        exchange(GEOBLOCK, '{"blocked":true,"blocked":false}'),
        exchange(GEOBLOCK, {}),
        exchange(GEOBLOCK, (403, {"blocked": False})),
    ],
    ids=repr,
)
def test_only_a_whole_and_plain_answer_says_that_we_are_not_blocked(answer: Exchange) -> None:
    assert isinstance(read_geoblock(answer), Unread)


@pytest.mark.parametrize("blocked", [True, False])
def test_a_plain_answer_says_whether_we_are_blocked(blocked: bool) -> None:
    answer = exchange(GEOBLOCK, {"blocked": blocked, "country": "XX"})
    assert read_geoblock(answer) == Found(blocked)


@pytest.mark.parametrize("chain", ['a"b', "[abc", "back\\slash", "line\nbreak"])
async def test_a_beat_names_whatever_id_the_venue_gave(chain: str) -> None:
    desk = Desk()
    desk.urgent.replies[Endpoint.POST_HEARTBEAT] = {"heartbeat_id": "{next"}
    host = object.__new__(PolymarketHost)
    host.venue = desk.venue
    beaten = await host.beat("main", chain)
    [(_, _, body)] = desk.urgent.asked
    assert json.loads(body) == {"heartbeat_id": chain}
    assert (beaten.accepted, beaten.next_id) == (True, "{next")

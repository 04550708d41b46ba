"""What leaves keeps to the venue's limits: the edge's windows by process, the signer's buckets by request."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from app.clock import Ports
from app.venue.interface import CancelAccepted, CancelNotSent, NotPlaced, PlaceRequest
from app.venue.polymarket.auth import ApiCredentials
from app.venue.polymarket.limits import STANDARD, TIERS, EdgeWindows, Kind, Tier, tier_named
from app.venue.polymarket.venue import PolymarketVenue
from app.venue.polymarket.wire import Endpoint, Exchange, Phase
from tests.support.polymarket import FakeConnect, HandClock, exchange
from tests.support.stepping import SteppingClock, ports_on

SIGNER = "0x" + "1" * 40
KEY = ApiCredentials("key-id", "c2VjcmV0", "passphrase")

# --- the edge -------------------------------------------------------------------------------------


def sent_in(clock: HandClock, windows: EdgeWindows, endpoint: Endpoint, ms: int) -> list[int]:
    """The moments (ms) at which a sender that always has something got through."""
    moments, until_ms = [], clock.at_ms + ms
    while clock.at_ms < until_ms:
        wait_ms = windows.wait_ms(endpoint)
        if wait_ms:
            clock.at_ms += wait_ms
        else:
            moments.append(clock.at_ms)
    return moments


def most_within(moments: list[int], ms: int) -> int:
    start, most = 0, 0
    for end, at_ms in enumerate(moments):
        while moments[start] <= at_ms - ms:
            start += 1
        most = max(most, end - start + 1)
    return most


@pytest.mark.parametrize(
    ("endpoint", "burst", "sustained"),
    [
        (Endpoint.DELETE_ALL, 250, 6_000),
        (Endpoint.DELETE_ORDERS, 2_000, 15_000),
        (Endpoint.POST_ORDERS, 2_000, 21_000),
    ],
)
def test_no_ten_seconds_and_no_ten_minutes_take_more_than_a_half_of_the_edges_window(
    endpoint: Endpoint, burst: int, sustained: int
) -> None:
    clock = HandClock()
    moments = sent_in(clock, EdgeWindows(clock), endpoint, 1_500_000)
    assert most_within(moments, 10_000) == burst // 2
    assert most_within(moments, 600_000) == sustained // 2
    # Full use of what there is: more than one window's worth went through.
    assert len(moments) >= 2 * (sustained // 2)


def test_a_read_has_a_window_of_ten_seconds_and_is_free_afterwards() -> None:
    clock = HandClock()
    windows = EdgeWindows(clock)
    assert [windows.wait_ms(Endpoint.GET_TRADES) for _ in range(250)] == [0] * 250
    waits = windows.wait_ms(Endpoint.GET_TRADES)
    assert 0 < waits <= 10_101
    clock.at_ms += waits - 2
    assert windows.wait_ms(Endpoint.GET_TRADES) > 0
    clock.at_ms += 2
    assert windows.wait_ms(Endpoint.GET_TRADES) == 0


def test_windows_of_two_endpoints_are_not_one_and_what_has_none_never_waits() -> None:
    windows = EdgeWindows(HandClock())
    assert all(windows.wait_ms(Endpoint.DELETE_ALL) == 0 for _ in range(125))
    assert windows.wait_ms(Endpoint.DELETE_ALL) > 0
    assert windows.wait_ms(Endpoint.DELETE_MARKET) == 0
    assert all(windows.wait_ms(Endpoint.GET_TIME) == 0 for _ in range(10_000))


def test_a_question_that_was_answered_with_a_wait_counts_nothing() -> None:
    clock = HandClock()
    windows = EdgeWindows(clock)
    for _ in range(125):
        assert windows.wait_ms(Endpoint.DELETE_ALL) == 0
    first = windows.wait_ms(Endpoint.DELETE_ALL)
    for _ in range(1_000):
        assert windows.wait_ms(Endpoint.DELETE_ALL) == first


# --- the signer -----------------------------------------------------------------------------------


@dataclass
class Recorder:
    """A `Budget` that writes down what is asked of it, and a transport that answers every DELETE."""

    wait_ms: int = 0
    spent: list[tuple[Kind, int, str]] = field(default_factory=list)
    owed: list[tuple[Kind, int]] = field(default_factory=list)
    paused: list[tuple[Kind, int]] = field(default_factory=list)
    sent: list[tuple[Endpoint, Any]] = field(default_factory=list)
    answers: dict[Endpoint, Any] = field(default_factory=dict)

    async def spend(self, signer: str, kind: Kind, count: int, tier: Tier) -> int:
        assert signer == SIGNER
        self.spent.append((kind, count, tier.name))
        return self.wait_ms

    async def pause(self, signer: str, kind: Kind, for_ms: int) -> None:
        self.paused.append((kind, for_ms))

    async def owe(self, signer: str, kind: Kind, count: int) -> None:
        self.owed.append((kind, count))

    async def request(self, endpoint: Endpoint, *, body: bytes = b"", **_how: Any) -> Exchange:
        asked = json.loads(body or b"null")
        self.sent.append((endpoint, asked))
        if endpoint in self.answers:
            return exchange(endpoint, self.answers[endpoint])
        ids = asked if isinstance(asked, list) else [asked["orderID"]]
        return exchange(endpoint, {"canceled": ids, "not_canceled": {}})


def venue_on(recorder: Recorder, ports: Ports | None = None) -> PolymarketVenue:
    venue = PolymarketVenue(
        recorder,  # type: ignore[arg-type]
        recorder,  # type: ignore[arg-type]
        ports or ports_on(SteppingClock()),
        budget=recorder,
        lookup=None,  # type: ignore[arg-type]
        connect=FakeConnect(),
        user_channel_url="wss://example.test/ws/user",
        noticed=lambda _account, _sign: None,
    )
    venue.add_account("main", SIGNER, KEY, maker=SIGNER, signature_type=0, owners=frozenset())
    return venue


def ids(count: int) -> list[str]:
    return [f"0x{n:064x}" for n in range(count)]


@pytest.mark.parametrize(
    ("tier", "count", "parts"),
    [
        ("standard", 130, [120, 10]),
        ("standard", 120, [120]),
        ("standard", 121, [120, 1]),
        ("copper", 181, [180, 1]),
        ("elite", 2_500, [1_000, 1_000, 500]),
    ],
)
async def test_a_delete_of_many_is_split_to_what_the_tiers_bucket_can_hold_at_all(
    tier: str, count: int, parts: list[int]
) -> None:
    recorder = Recorder()
    venue = venue_on(recorder)
    venue.set_tier("main", tier_named(tier))
    outcomes = await venue.cancel("main", ids(count))
    assert [type(one) for one in outcomes] == [CancelAccepted] * count
    told = [one if isinstance(one, list) else [one["orderID"]] for _, one in recorder.sent]
    assert [len(one) for one in told] == parts
    assert [one for some in told for one in some] == ids(count)
    assert recorder.spent == [("cancels", part, TIERS[tier].name) for part in parts]
    single = Endpoint.DELETE_ORDER
    assert [one for one, _ in recorder.sent if one is single] == [single] * parts.count(1)


async def test_no_part_of_a_split_waits_for_another_that_is_not_allowed_yet() -> None:
    recorder = Recorder(wait_ms=700)
    outcomes = await venue_on(recorder).cancel("main", ids(130))
    assert outcomes == [CancelNotSent("BUDGET", 700, "")] * 130
    assert recorder.sent == []


async def test_orders_without_a_budget_are_not_sent_and_are_known_not_placed() -> None:
    recorder = Recorder(wait_ms=25)
    order = PlaceRequest(ids(1)[0], b'{"owner":""}', "key-id")
    [outcome] = await venue_on(recorder).place("main", [order])
    assert outcome == NotPlaced("BUDGET", 25, "")
    assert recorder.sent == []
    assert recorder.spent == [("orders", 1, "Standard")]


async def test_an_account_counts_as_the_lowest_tier_until_the_venue_says_otherwise() -> None:
    recorder = Recorder()
    venue = venue_on(recorder)
    await venue.cancel("main", ids(2))
    venue.set_tier("main", tier_named(" GOLD "))
    await venue.cancel("main", ids(2))
    # A new key is no new wallet: the tier stays.
    venue.add_account("main", SIGNER, KEY, maker=SIGNER, signature_type=0, owners=frozenset())
    await venue.cancel("main", ids(2))
    venue.set_tier("main", tier_named("a tier of tomorrow"))
    await venue.cancel("main", ids(2))
    assert [name for _, _, name in recorder.spent] == ["Standard", "Gold", "Gold", "Standard"]


@pytest.mark.parametrize(
    ("answer", "owed"),
    [
        ({"canceled": ids(37), "not_canceled": {}}, [("cancels", 37)]),
        ({"canceled": [], "not_canceled": {}}, []),
        ("half a", [("cancels", 2)]),
        ((500, {"error": "internal error"}), [("cancels", 2)]),
        (Exchange(Endpoint.DELETE_ALL, Phase.SENDING, problem="timeout"), [("cancels", 2)]),
        (Exchange(Endpoint.DELETE_ALL, Phase.CONNECTING, problem="refused"), []),
        ((425, {"error": "restarting"}), []),
    ],
    ids=["told", "none", "unreadable", "error", "no answer", "not connected", "not processed"],
)
@pytest.mark.parametrize("way", ["everything", "market"])
async def test_a_cancel_of_everything_costs_one_and_one_more_for_each_order_it_cancelled(
    way: str, answer: Any, owed: list[tuple[Kind, int]]
) -> None:
    recorder = Recorder(answers={Endpoint.DELETE_ALL: answer, Endpoint.DELETE_MARKET: answer})
    venue = venue_on(recorder)
    if way == "everything":
        await venue.cancel_all("main", ids(2))
    else:
        await venue.cancel_market("main", "0x" + "c" * 64, ids(2))
    assert recorder.spent == [("cancels", 1, "Standard")]
    assert recorder.owed == owed


async def test_a_429_pauses_its_kind_for_the_time_it_states_however_long() -> None:
    answer = exchange(
        Endpoint.DELETE_ORDER, (429, {"error": "too many"}), headers={"retry-after": "900"}
    )
    recorder = Recorder(answers={Endpoint.DELETE_ORDER: answer})
    [outcome] = await venue_on(recorder).cancel("main", ids(1))
    assert isinstance(outcome, CancelNotSent)
    assert (outcome.retry_after_ms, recorder.paused) == (900_000, [("cancels", 900_000)])


def test_every_tier_of_the_table_is_found_by_its_name_and_no_other_is() -> None:
    for name, tier in TIERS.items():
        assert tier_named(name.upper()) is tier
    assert tier_named("") is STANDARD
    for low, high in pairwise(TIERS.values()):
        assert low.orders_burst < high.orders_burst

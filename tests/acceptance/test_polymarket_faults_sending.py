"""A worker on the simulated Polymarket while placements go wrong: nothing doubled, nothing lost, by its own book."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.database import TestDatabase
from tests.support.life import SHARE
from tests.support.polymarket_rig import PolymarketRig, pm_fixture, polymarket_rig

__all__ = ["pm_fixture"]


async def placed_through(pm: PolymarketRig, fault: str, **terms: Any) -> int:
    """An order whose placement meets the fault and that rests in the end, once."""
    async with pm.inside():
        await pm.trading()
        number = pm.simulator.fault(fault, **terms)
        order_id = await pm.reserve(cents=5)
        await pm.until_state(order_id, "LIVE")
        await pm.until_settled()
        await pm.until_struck(number)
    at_venue = await pm.book(order_id)
    assert (at_venue["status"], at_venue["size_matched"]) == ("LIVE", "0")
    assert (await pm.arrivals(order_id))["accepted"] == 1
    await pm.check_against_venue()
    return order_id


# --- processed, and the answer lost ---------------------------------------------------------------


@pytest.mark.parametrize("told", [True, False], ids=["the stream tells", "no stream tells"])
async def test_an_order_that_is_accepted_before_the_connection_drops_is_found_and_not_sent_again(
    pm: PolymarketRig, told: bool
) -> None:
    if not told:
        pm.no_stream()
    order_id = await placed_through(pm, "drop_after", endpoint="POST /order*")
    assert (await pm.arrivals(order_id))["received"] == 1
    assert (await pm.attempts(order_id))[0][0] == "unknown"


async def test_an_order_that_fills_before_the_connection_drops_is_booked_once(
    pm: PolymarketRig,
) -> None:
    async with pm.inside():
        await pm.trading()
        pm.simulator.fault("drop_after", endpoint="POST /order*")
        order_id = await pm.reserve(cents=60, shares=10)
        await pm.until_state(order_id, "FILLED")
        await pm.until_settled()
    assert (await pm.order(order_id))["confirmed_micros"] == 10 * SHARE
    assert (await pm.arrivals(order_id))["received"] == 1
    await pm.check_against_venue()


@pytest.mark.parametrize("told", [True, False], ids=["the stream tells", "no stream tells"])
@pytest.mark.parametrize(
    ("status", "text"),
    [(500, "could not run the execution"), (502, "Bad Gateway"), (504, "order timed out")],
)
async def test_an_order_that_is_accepted_and_answered_with_an_error_is_not_taken_for_refused(
    pm: PolymarketRig, status: int, text: str, told: bool
) -> None:
    if not told:
        pm.no_stream()
    order_id = await placed_through(pm, "error_after", status=status, text=text)
    assert (await pm.arrivals(order_id))["received"] == 1
    assert (await pm.attempts(order_id))[0][0] == "unknown"


async def test_a_request_that_never_arrived_goes_again_with_the_same_bytes(
    pm: PolymarketRig,
) -> None:
    order_id = await placed_through(pm, "drop_before", endpoint="POST /order*")
    assert await pm.attempts(order_id) == [("unknown", "NO_ANSWER"), ("accepted", "live")]


# --- processed later ------------------------------------------------------------------------------


async def test_an_order_that_appears_forty_seconds_late_is_the_same_order(
    pm: PolymarketRig,
) -> None:
    """Its bytes went again meanwhile: the late copy meets the id that is there already."""
    order_id = await placed_through(pm, "appear_late")
    assert (await pm.arrivals(order_id))["received"] == 1
    pm.simulator.advance(41_000)
    assert (await pm.arrivals(order_id)) == {
        "received": 2,
        "accepted": 1,
        "duplicated": 1,
        "refused": 0,
    }
    assert (await pm.book(order_id))["status"] == "LIVE"
    await pm.check_against_venue()


async def test_an_order_that_appears_late_and_is_wanted_no_more_is_cancelled_when_it_appears(
    database: TestDatabase,
    tmp_path: Path,
) -> None:
    """Look-ups found nothing and DELETE missed it: until the quarantine is over neither proves anything."""
    async with polymarket_rig(database, tmp_path, quarantine_ms=120_000) as pm:
        async with pm.inside():
            await pm.trading()
            pm.simulator.fault("appear_late", answer="hang")
            # cancels find nothing to cancel meanwhile, and the bytes do not go again
            order_id = await pm.reserve(cents=5)
            await pm.until_state(order_id, "UNKNOWN")
            await pm.cancel(order_id)
            await pm.until(
                "SELECT EXISTS (SELECT FROM ledger.evidence WHERE order_id = $1 AND kind = 'delete_answered')"
                " AND EXISTS (SELECT FROM ledger.evidence WHERE order_id = $1 AND kind = 'trades_absent')",
                order_id,
            )
            held = await pm.owner.fetchrow(
                "SELECT phase, held_micros FROM ledger.reservation WHERE order_id = $1", order_id
            )
            assert tuple(held) == ("pending", 5 * 50_000)
            assert await pm.venue_orders(order_id) == []
            pm.simulator.advance(41_000)
            await pm.until_state(order_id, "CANCELLED")
            await pm.until_settled()
        assert (await pm.book(order_id))["status"] == "CANCELED"
        assert (await pm.arrivals(order_id))["received"] == 1
        await pm.check_against_venue()


async def test_an_order_that_never_appears_ends_as_not_placed_after_the_quarantine(
    pm: PolymarketRig,
) -> None:
    async with pm.inside():
        await pm.trading()
        pm.simulator.fault("drop_before", endpoint="POST /order*")
        order_id = await pm.reserve(cents=5)
        await pm.until_state(order_id, "UNKNOWN")
        await pm.cancel(order_id)
        await pm.until_state(order_id, "NOT_PLACED")
        await pm.until_settled()
    assert (await pm.order(order_id))["cause"] == "PROVEN_ABSENT"
    assert await pm.venue_orders(order_id) == []
    assert (await pm.arrivals(order_id))["received"] == 0
    await pm.check_against_venue()


# --- look-ups that do not show it -----------------------------------------------------------------


async def test_a_known_order_that_the_look_up_by_id_answers_with_null_is_found_in_the_list(
    pm: PolymarketRig,
) -> None:
    pm.no_stream()
    pm.simulator.fault("null_answer", times=0)
    order_id = await placed_through(pm, "drop_after", endpoint="POST /order*")
    assert (await pm.arrivals(order_id))["received"] == 1


async def test_a_known_order_that_no_look_up_shows_is_sent_again_and_never_taken_for_absent(
    pm: PolymarketRig,
) -> None:
    """Duplicated says that the venue knows the id; the order stays open until a read shows it."""
    pm.no_stream()
    pm.simulator.fault("null_answer", times=0)
    pm.simulator.fault("missing_rows", endpoint="GET /data/orders", times=0)
    async with pm.inside():
        await pm.trading()
        pm.simulator.fault("drop_after", endpoint="POST /order*")
        order_id = await pm.reserve(cents=5)
        await pm.until(
            "SELECT EXISTS (SELECT FROM ledger.attempt WHERE order_id = $1 AND outcome = 'seen')",
            order_id,
        )
        await pm.cancel(order_id)
        pm.simulator.fault("cancel_miss", times=0)
        await pm.until(
            "SELECT ledger.clock() > last_deadline + interval '1.5 seconds' AND EXISTS "
            "(SELECT FROM ledger.evidence v WHERE v.order_id = o.order_id AND v.kind = 'trades_absent'"
            " AND v.started_at > o.last_deadline + interval '1.5 seconds') "
            "FROM ledger.orders o WHERE order_id = $1",
            order_id,
        )
        assert (await pm.order(order_id))["state"] == "UNKNOWN"
        pm.simulator.do("no_fault")
        await pm.until_state(order_id, "CANCELLED")
        await pm.until_settled()
    assert (await pm.arrivals(order_id))["accepted"] == 1
    assert (await pm.book(order_id))["status"] == "CANCELED"
    await pm.check_against_venue()


async def test_a_filled_order_that_no_look_up_shows_is_found_by_its_trades(
    pm: PolymarketRig,
) -> None:
    pm.no_stream()
    pm.simulator.fault("null_answer", times=0)
    pm.simulator.fault("missing_rows", endpoint="GET /data/orders", times=0)
    async with pm.inside():
        await pm.trading()
        pm.simulator.fault("drop_after", endpoint="POST /order*")
        order_id = await pm.reserve(cents=60, shares=10, valid_for_ms=3_000)
        await pm.until_state(order_id, "FILLED")
        await pm.until(
            "SELECT confirmed_micros > 0 FROM ledger.orders WHERE order_id = $1", order_id
        )
        await pm.until_settled()
    assert (await pm.order(order_id))["confirmed_micros"] == 10 * SHARE
    assert (await pm.arrivals(order_id))["accepted"] == 1
    await pm.check_against_venue()


async def test_a_request_that_the_edge_delivers_twice_is_one_order(pm: PolymarketRig) -> None:
    order_id = await placed_through(pm, "delivered_twice")
    assert (await pm.attempts(order_id)) == [("seen", "DUPLICATED")]
    assert await pm.arrivals(order_id) == {
        "received": 2,
        "accepted": 1,
        "duplicated": 1,
        "refused": 0,
    }


# --- answers that say something else --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("the market is not yet ready to process new orders", ("held_back", "MARKET_NOT_READY")),
        ("something nobody has heard of", ("unknown", "UNRECOGNISED")),
    ],
)
async def test_success_with_an_error_text_is_no_acceptance_and_the_same_bytes_go_again(
    pm: PolymarketRig, text: str, first: tuple[str, str]
) -> None:
    order_id = await placed_through(pm, "success_with_error", text=text)
    assert await pm.attempts(order_id) == [first, ("accepted", "live")]
    assert (await pm.arrivals(order_id))["received"] == 1


@pytest.mark.parametrize("fault", ["null_error_msg", "no_error_msg"])
async def test_an_acceptance_without_an_error_text_is_one(pm: PolymarketRig, fault: str) -> None:
    order_id = await placed_through(pm, fault)
    assert await pm.attempts(order_id) == [("accepted", "live")]
    assert (await pm.arrivals(order_id))["received"] == 1


@pytest.mark.parametrize("fault", ["unmatched", "odd_status", "truncated_json"])
async def test_an_answer_that_proves_nothing_is_settled_by_a_read(
    pm: PolymarketRig, fault: str
) -> None:
    pm.no_stream()
    order_id = await placed_through(pm, fault, endpoint="POST /order*")
    assert [outcome for outcome, _ in await pm.attempts(order_id)] == ["unknown"]
    assert (await pm.arrivals(order_id))["received"] == 1


async def test_another_id_in_the_answer_halts_the_account_and_the_order_is_found(
    pm: PolymarketRig,
) -> None:
    async with pm.inside():
        await pm.trading()
        pm.simulator.fault("wrong_id")
        order_id = await pm.reserve(cents=5)
        await pm.until("SELECT EXISTS (SELECT FROM ledger.halt WHERE why LIKE 'ID_MISMATCH%')")
        # a halt cancels what stands
        await pm.until_state(order_id, "CANCELLED")
        await pm.until_settled()
    assert (await pm.arrivals(order_id))["received"] == 1
    assert (await pm.book(order_id))["status"] == "CANCELED"
    await pm.check_against_venue()


async def test_an_order_that_the_venue_delays_is_in_flight_until_it_fills(
    pm: PolymarketRig,
) -> None:
    async with pm.inside():
        await pm.trading()
        pm.simulator.fault("delayed", ms=2_000)
        order_id = await pm.reserve(cents=60, shares=10)
        await pm.until_state(order_id, "DELAYED")
        phase = await pm.owner.fetchval(
            "SELECT held_micros FROM ledger.reservation WHERE order_id = $1", order_id
        )
        assert phase == 10 * 600_000
        await pm.until_state(order_id, "FILLED")
        await pm.until_settled()
    assert await pm.attempts(order_id) == [("accepted", "delayed")]
    assert (await pm.order(order_id))["confirmed_micros"] == 10 * SHARE
    await pm.check_against_venue()


async def test_a_tick_that_just_changed_refuses_the_order_for_good(pm: PolymarketRig) -> None:
    async with pm.inside():
        await pm.trading()
        pm.simulator.fault("tick_change", tick="0.1")
        order_id = await pm.reserve(cents=5)
        await pm.until_state(order_id, "REJECTED")
        await pm.until_settled()
    assert await pm.attempts(order_id) == [("rejected", "TICK_SIZE")]
    assert await pm.venue_orders(order_id) == []
    assert await pm.arrivals(order_id) == {
        "received": 1,
        "accepted": 0,
        "duplicated": 0,
        "refused": 1,
    }
    await pm.check_against_venue()


# --- how it travels -------------------------------------------------------------------------------


async def test_an_answer_in_slow_pieces_is_read_to_its_end(pm: PolymarketRig) -> None:
    order_id = await placed_through(pm, "slow_body", endpoint="POST /order*", chunk=64, ms=20)
    assert await pm.attempts(order_id) == [("accepted", "live")]


async def test_an_answer_slower_than_the_request_may_take_is_unknown_and_found(
    pm: PolymarketRig,
) -> None:
    pm.no_stream()
    order_id = await placed_through(pm, "slow_body", endpoint="POST /order*", chunk=4, ms=100)
    assert [outcome for outcome, _ in await pm.attempts(order_id)] == ["unknown"]
    assert (await pm.arrivals(order_id))["received"] == 1


@pytest.mark.parametrize("fault", ["goaway_after", "goaway_before"])
async def test_a_connection_that_goes_away_leaves_one_order(
    database: TestDatabase, tmp_path: Path, fault: str
) -> None:
    async with polymarket_rig(database, tmp_path, tls=True) as pm:
        pm.no_stream()
        order_id = await placed_through(pm, fault, endpoint="POST /order*")
        assert (await pm.attempts(order_id))[0][0] == "unknown"


async def test_orders_over_connections_that_go_away_again_and_again_are_one_each(
    database: TestDatabase, tmp_path: Path
) -> None:
    async with polymarket_rig(database, tmp_path, tls=True, goaway_after=12) as pm:
        async with pm.inside():
            await pm.trading()
            order_ids = [await pm.reserve(cents=5) for _ in range(20)]
            for order_id in order_ids:
                await pm.until_state(order_id, "LIVE")
            await pm.until_settled()
        for order_id in order_ids:
            assert (await pm.book(order_id))["status"] == "LIVE"
        outcomes = [(await pm.attempts(one))[0][0] for one in order_ids]
        assert "unknown" in outcomes, "no connection went away under an order"
        await pm.check_against_venue()

"""The client a bot uses: reserve, await, cancel, replace, look."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.errors import BadInput, Code, DatabaseProblem, Refused
from app.ledger import OUTBOX_CHANNEL, Intent, Ledger, OrderView, ReplacementView
from app.money import MICROS
from tests.support.database import TestDatabase
from tests.support.life import token
from tests.support.trading import (
    SHARE,
    HandClock,
    World,
    buy,
    eventually,
    hand_ports,
    world_fixture,  # noqa: F401 - the fixture
)


async def test_a_bot_reserves_in_a_few_lines(world: World) -> None:
    async with Ledger.open(world.database.url_for("trader"), account="main") as ledger:
        intent = Intent.of(market="m1", outcome="Up", side="BUY", price="0.45", size="10", key="k1")
        admitted = await ledger.reserve_pending(intent)
        view = await ledger.order(admitted.order_id)
    assert (view.state, view.outcome, view.price_micros) == ("RESERVED", 0, 450_000)
    assert view.size_micros == view.remaining_micros == 10 * MICROS
    assert view.held_micros == 4_500_000
    assert not view.ended


async def test_a_refusal_is_raised_with_its_code(world: World) -> None:
    ledger = await world.ledger()
    with pytest.raises(Refused) as caught:
        await ledger.reserve_pending(buy("k", 500))
    assert caught.value.code is Code.CAP_OUTCOME
    assert caught.value.not_done


async def test_a_moved_price_and_a_suspected_duplicate_are_told_to_the_bot(world: World) -> None:
    await world.open_limiter()
    item = {"token_id": token("m1", 0), "bids": [], "asks": [[410_000, SHARE]], "age_ms": 0}
    await world.life.call("note_books", [item])
    ledger = await world.ledger()
    moved = await ledger.reserve_pending(buy("k", post_only=True, clamp=True))
    assert (moved.price_micros, moved.duplicate_of) == (400_000, None)
    again = await ledger.reserve_pending(buy("again", price_micros=400_000))
    assert (again.price_micros, again.duplicate_of) == (400_000, moved.order_id)
    with pytest.raises(Refused) as caught:
        await ledger.reserve_pending(buy("crossing", post_only=True))
    assert caught.value.code is Code.WOULD_CROSS


async def test_opening_a_database_without_the_schema_says_what_to_do(
    blank_database: TestDatabase,
) -> None:
    with pytest.raises(DatabaseProblem) as caught:
        async with Ledger.open(blank_database.url):
            pass
    assert caught.value.code is Code.SCHEMA_MISSING
    assert "alembic upgrade head" in caught.value.next_step


async def test_opening_a_schema_of_another_release_says_so(world: World) -> None:
    await world.owner.execute("UPDATE public.ledger_alembic_version SET version_num = 'zzzz'")
    with pytest.raises(DatabaseProblem) as caught:
        await world.ledger()
    assert caught.value.code is Code.SCHEMA_NEW
    assert "zzzz" in caught.value.wrong


async def test_an_order_never_sent_ends_when_its_cancel_is_asked(world: World) -> None:
    ledger = await world.ledger()
    admitted = await ledger.reserve_pending(buy("k"))
    assert (await ledger.cancel(admitted.order_id, reason="changed my mind")).state == "NOT_PLACED"
    view = await ledger.settled(admitted.order_id, until="settled", timeout_s=10)
    assert (view.cause, view.held_micros, view.settled) == ("CANCEL_ASKED", 0, True)


async def test_cancelling_again_changes_nothing(world: World) -> None:
    ledger = await world.ledger()
    admitted = await ledger.reserve_pending(buy("k"))
    first = await ledger.cancel(admitted.order_id)
    before = await world.rows()
    assert await ledger.cancel(admitted.order_id) == first
    assert await world.rows() == before


async def test_a_cancel_of_an_unknown_or_foreign_order_is_refused(world: World) -> None:
    await world.life.open_account("other")
    theirs = await world.life.reserved(account="other")
    ledger = await world.ledger()
    for order_id, code in ((999, Code.UNKNOWN_ORDER), (theirs, Code.NOT_GRANTED)):
        with pytest.raises(Refused) as caught:
            await ledger.cancel(order_id)
        assert caught.value.code is code


async def test_an_order_of_another_account_is_not_seen(world: World) -> None:
    await world.life.open_account("other")
    theirs = await world.life.reserved(account="other")
    with pytest.raises(BadInput) as caught:
        await (await world.ledger()).order(theirs)
    assert caught.value.code is Code.UNKNOWN_ORDER


async def test_cancel_all_takes_one_market_or_everything(world: World) -> None:
    await world.open_limiter()
    ledger = await world.ledger()
    for n in range(3):
        await ledger.reserve_pending(buy(f"a{n}", 5))
        await ledger.reserve_pending(buy(f"b{n}", 5, market="m2"))
    assert len(await ledger.cancel_all("m1")) == 3
    assert len(await ledger.standing_orders()) == 3
    assert len(await ledger.cancel_all()) == 3
    assert await ledger.standing_orders() == []
    assert await ledger.cancel_all() == []


async def test_cancel_all_of_an_account_not_granted_ends_with_a_refusal(world: World) -> None:
    await world.life.open_account("other")
    await world.life.reserved(account="other")
    ledger = await world.ledger(account="other")
    # the same answer as for an account that does not exist
    with pytest.raises(BadInput) as caught:
        await ledger.cancel_all()
    assert caught.value.code is Code.UNKNOWN_ACCOUNT


async def test_releasing_is_repeatable_and_refused_for_what_may_be_at_the_venue(
    world: World,
) -> None:
    await world.open_limiter()
    ledger = await world.ledger()
    first = await ledger.reserve_pending(buy("k1"))
    assert await ledger.release(first.order_id) == "NOT_PLACED"
    before = await world.rows()
    assert await ledger.release(first.order_id) == "NOT_PLACED"
    assert await world.rows() == before
    second = await ledger.reserve_pending(buy("k2"))
    await world.mark_live(second.order_id)
    with pytest.raises(Refused) as caught:
        await ledger.release(second.order_id)
    assert caught.value.code is Code.NOT_PROVEN


async def test_a_key_tells_what_it_became(world: World) -> None:
    ledger = await world.ledger()
    assert await ledger.find_by_key("k") is None
    admitted = await ledger.reserve_pending(buy("k"))
    found = await ledger.find_by_key("k")
    assert isinstance(found, OrderView)
    assert found.order_id == admitted.order_id


async def test_standing_orders_are_read_page_by_page(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.ledger.client.MOST_PER_PAGE", 1)
    await world.open_limiter()
    ledger = await world.ledger()
    orders = [(await ledger.reserve_pending(buy(f"k{n}", 5))).order_id for n in range(3)]
    assert [view.order_id for view in await ledger.standing_orders("m1")] == orders


# ------------------------------------------------------------------------ replacing


async def test_a_replacement_reserves_only_after_the_old_order_proved_its_end(
    world: World,
) -> None:
    await world.open_limiter()
    ledger = await world.ledger()
    old = await ledger.reserve_pending(buy("old", 80))
    await world.mark_live(old.order_id)
    asked = await ledger.replace(old.order_id, buy("new", 90, price_micros=500_000))
    assert (await ledger.replace(old.order_id, buy("new", 90, price_micros=500_000))).replay
    waiting = await ledger.find_by_key("new")
    assert waiting == ReplacementView(asked.replacement_id, "waiting", old.order_id, None, "")
    assert (await world.rows())["orders"] == 1
    await world.life.read(old.order_id, "CANCELLED", 20 * SHARE)
    done = await ledger.find_by_key("new")
    assert isinstance(done, ReplacementView)
    assert (done.state, done.code) == ("done", "")
    assert done.new_order_id is not None
    new = await ledger.order(done.new_order_id)
    assert (new.size_micros, new.price_micros) == (70 * SHARE, 500_000)


async def test_the_end_of_a_replacement_can_be_awaited(world: World) -> None:
    await world.open_limiter()
    ledger = await world.ledger()
    old = await ledger.reserve_pending(buy("old", 80))
    await world.mark_live(old.order_id)
    await ledger.replace(old.order_id, buy("new", 90))
    awaited = asyncio.get_running_loop().create_task(ledger.replaced("new", timeout_s=20))
    await world.life.read(old.order_id, "CANCELLED")
    assert (await awaited).state == "done"


async def test_a_replacement_of_an_ended_order_is_refused(world: World) -> None:
    ledger = await world.ledger()
    old = await ledger.reserve_pending(buy("old"))
    await ledger.cancel(old.order_id)
    with pytest.raises(Refused) as caught:
        await ledger.replace(old.order_id, buy("new"))
    assert caught.value.code is Code.ALREADY_ENDED
    assert await ledger.find_by_key("new") is None


async def test_the_key_of_a_replacement_places_no_order(world: World) -> None:
    await world.open_limiter()
    ledger = await world.ledger()
    old = await ledger.reserve_pending(buy("old"))
    await world.mark_live(old.order_id)
    await ledger.replace(old.order_id, buy("new"))
    with pytest.raises(Refused) as caught:
        await ledger.reserve_pending(buy("new"))
    assert caught.value.code is Code.KEY_REUSED


# ------------------------------------------------------------------------ waiting


async def test_many_wait_for_many_orders_with_one_reader(world: World) -> None:
    await world.open_limiter()
    await world.open_caps()
    ledger = await world.ledger()
    orders = [(await ledger.reserve_pending(buy(f"k{n}", 5))).order_id for n in range(10)]
    waits = [ledger.handle(order_id).settled(timeout_s=20) for order_id in orders * 5]
    waiting = asyncio.gather(*waits)
    await asyncio.sleep(0)
    await ledger.cancel_all()
    assert {view.state for view in await waiting} == {"NOT_PLACED"}


async def test_settled_waits_until_the_fills_are_booked(world: World) -> None:
    ledger = await world.ledger()
    admitted = await ledger.reserve_pending(buy("k", 10))
    await world.mark_live(admitted.order_id)
    await world.life.read(admitted.order_id, "CANCELLED", 4 * SHARE)
    ended = await ledger.settled(admitted.order_id, timeout_s=20)
    assert (ended.state, ended.settled, ended.matched_micros) == ("CANCELLED", False, 4 * SHARE)
    booked = asyncio.get_running_loop().create_task(
        ledger.settled(admitted.order_id, until="settled", timeout_s=20)
    )
    await world.life.fill(admitted.order_id, 4 * SHARE)
    assert (await booked).traded_micros == 4 * SHARE


async def test_waiting_for_an_order_nobody_knows_is_an_error(world: World) -> None:
    ledger = await world.ledger()
    with pytest.raises(BadInput) as caught:
        await ledger.settled(404)
    assert caught.value.code is Code.UNKNOWN_ORDER


async def test_waiting_ends_after_its_time_and_the_order_goes_on(world: World) -> None:
    clock = HandClock()
    ledger = await world.ledger(ports=hand_ports(clock))
    admitted = await ledger.reserve_pending(buy("k"))
    waiting = asyncio.get_running_loop().create_task(
        ledger.settled(admitted.order_id, timeout_s=30)
    )
    for _ in range(5):
        await asyncio.sleep(0)
    clock.move(29_999)
    await ledger.order(admitted.order_id)
    assert not waiting.done()
    clock.move(1)
    with pytest.raises(TimeoutError):
        await waiting
    assert not (await ledger.order(admitted.order_id)).ended


async def test_a_waiter_outlives_a_lost_connection(world: World) -> None:
    ledger = await world.ledger()
    admitted = await ledger.reserve_pending(buy("k"))
    waiting = asyncio.get_running_loop().create_task(
        ledger.settled(admitted.order_id, timeout_s=30)
    )
    await asyncio.sleep(0)
    trader = world.database.server.role_prefix + "trader"
    await world.owner.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND usename = $1",
        trader,
    )
    await world.life.cancel(admitted.order_id)
    assert (await waiting).state == "NOT_PLACED"


async def test_closing_tells_those_who_still_wait(world: World) -> None:
    async with Ledger.open(world.database.url_for("trader")) as ledger:
        admitted = await ledger.reserve_pending(buy("k"))
        waiting = asyncio.get_running_loop().create_task(ledger.settled(admitted.order_id))
        await asyncio.sleep(0)
    with pytest.raises(DatabaseProblem, match="closed"):
        await waiting


async def test_closing_answers_what_was_asked_for(world: World) -> None:
    await world.open_limiter()
    async with Ledger.open(world.database.url_for("trader")) as ledger:
        asked = [
            asyncio.get_running_loop().create_task(ledger.try_reserve(buy(f"k{n}", 5)))
            for n in range(10)
        ]
        await asyncio.sleep(0)
    assert len({one.order_id for one in await asyncio.gather(*asked)}) == 10  # type: ignore[union-attr]


# ------------------------------------------------------------------------ waking


async def test_workers_are_woken_from_the_side_and_not_once_per_order(world: World) -> None:
    await world.open_limiter()
    await world.open_caps()
    heard: list[str] = []

    def hear(*details: Any) -> None:
        heard.append(str(details[3]))

    await world.owner.add_listener(OUTBOX_CHANNEL, hear)
    clock = HandClock()
    ledger = await world.ledger(ports=hand_ports(clock))
    for n in range(10):
        await ledger.reserve_pending(buy(f"k{n}", 5))
    await eventually(lambda: as_true(bool(heard)))
    assert heard == [""]
    clock.move(5)
    await eventually(lambda: as_true(len(heard) == 2))
    await eventually(lambda: as_true(ledger.wake.sent == 2))


async def as_true(value: bool) -> bool:
    """Gives way, so that the loop reads what came in."""
    await asyncio.sleep(0)
    return value


async def test_a_wake_up_that_fails_is_counted_and_harms_nobody(world: World) -> None:
    ledger = await world.ledger()

    async def fail(channel: str) -> object:
        raise DatabaseProblem(Code.DATABASE_UNREACHABLE, "gone")

    ledger.wake._notify = fail
    await ledger.reserve_pending(buy("k"))
    await ledger.wake.close()
    assert (ledger.wake.sent, ledger.wake.failures) == (0, 1)


async def test_nothing_is_woken_for_a_refusal_or_a_replay(world: World) -> None:
    ledger = await world.ledger()
    await ledger.reserve_pending(buy("k"))
    await ledger.wake.close()
    sent = ledger.wake.sent
    await ledger.reserve_pending(buy("k"))
    await ledger.try_reserve(buy("k2", 500))
    await ledger.wake.close()
    assert ledger.wake.sent == sent

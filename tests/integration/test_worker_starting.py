"""What a worker does before it places anything, and when it does not place at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from app.clock import Ports
from app.errors import Code, DatabaseProblem
from app.ledger.calls import LedgerCalls
from app.venue.interface import Accepted, OrderType, PlaceRequest, Side
from app.venue.polymarket.order import build_order
from tests.support.life import SHARE, call, token
from tests.support.worker import Rig, rig_fixture, until  # noqa: F401
from workers.worker.paper_host import paper_key

WHY = "SELECT not_ready_why FROM ledger.worker WHERE stopped_at IS NULL AND not_ready_why LIKE $1"


async def place_without_intent(rig: Rig, account: str = "main", market: str = "m1") -> str:
    """Somebody else trades with the account's key."""
    key = paper_key(account)
    signed = build_order(
        key.signer,
        token_id=token(market, 0),
        side=Side.BUY,
        price_micros=50_000,
        size_micros=5 * SHARE,
        tick_micros=10_000,
        neg_risk=False,
        order_type=OrderType.GTC,
        salt=4711,
        timestamp_ms=Ports.system().clock.now_ms(),
        maker=key.maker,
        signer_address=key.signer_address,
        signature_type=key.signature_type,
    )
    await rig.venue.register_market(
        "0x" + "ab" * 32, [token(market, 0), token(market, 1)], 10_000, 5 * SHARE
    )
    [answer] = await rig.venue.place(
        account, [PlaceRequest(signed.venue_order_id, signed.body_template)]
    )
    assert isinstance(answer, Accepted), answer
    return signed.venue_order_id


@pytest.mark.parametrize(("read", "name"), [("open_orders", "open orders"), ("trades", "trades")])
async def test_a_worker_that_cannot_read_the_venue_is_not_ready_and_places_nothing(
    rig: Rig, read: str, name: str
) -> None:
    await rig.fault(read, "unread", times=10_000)
    order_id = await rig.reserve()
    async with rig.inside():
        why = await rig.until(WHY, f"%main: {name}%")
        assert "timeout" in why
        assert (await rig.order(order_id))["state"] == "RESERVED"
        assert await rig.at_venue(order_id) == []
        runs = await rig.owner.fetch("SELECT DISTINCT result FROM ledger.reconcile_run")
        assert [row["result"] for row in runs] in (["incomplete"], ["incomplete", None])
        await rig.venue.faults.clear()
        await rig.until_state(order_id, "LIVE")
        await rig.until("SELECT bool_or(ready) FROM ledger.worker")
    await rig.check_sound()


async def test_a_look_up_that_fails_at_the_start_keeps_the_worker_from_placing(rig: Rig) -> None:
    """The list lacks an order of ours, and the look-up by id cannot be read."""
    known = await rig.reserve("m1")
    async with rig.inside():
        await rig.until_state(known, "LIVE")
    await rig.fault("open_orders", "null", times=1)
    await rig.fault("order", "unread", times=10_000)
    new = await rig.reserve("m2")
    async with rig.inside():
        await rig.until(WHY, "%order 0x%")
        assert await rig.at_venue(new) == []
        await rig.venue.faults.clear()
        await rig.until_state(new, "LIVE")
    await rig.check_sound()


async def test_an_account_whose_reads_fail_does_not_hold_up_another(rig: Rig) -> None:
    await rig.account("second")
    await rig.fault("trades", "unread", account="second", times=10_000)
    mine = await rig.reserve("m1")
    theirs = await rig.reserve("m1", account="second")
    async with rig.inside():
        await rig.until_state(mine, "LIVE")
        await rig.until(WHY, "%second%")
        assert (await rig.order(theirs))["state"] == "RESERVED"
        await rig.venue.faults.clear()
        await rig.until_state(theirs, "LIVE")
    await rig.check_sound()


async def test_a_wanted_order_of_unknown_fate_is_not_given_up_while_a_worker_is_not_ready(
    rig: Rig,
) -> None:
    order_id = await rig.reserve()
    await rig.fault("place", "lost_request", order_id, times=10_000)
    async with rig.inside():
        await rig.until_state(order_id, "UNKNOWN")
    await rig.fault("trades", "unread", times=10_000)
    async with rig.inside():
        await rig.until(WHY, "%trades%")
        looked = "SELECT claim_no >= $2 FROM ledger.outbox WHERE order_id = $1"
        claim_no = await rig.owner.fetchval(
            "SELECT claim_no FROM ledger.outbox WHERE order_id = $1", order_id
        )
        await rig.until(looked, order_id, claim_no + 2)
        assert (await rig.order(order_id))["cancel_asked_at"] is None
        await rig.venue.faults.clear()
        await rig.until_state(order_id, "LIVE")
    await rig.check_sound()


async def test_an_order_without_intent_found_at_the_start_halts_its_account(rig: Rig) -> None:
    await rig.account("second")
    stranger = await place_without_intent(rig)
    mine = await rig.reserve("m2")
    other = await rig.reserve("m2", account="second")
    async with rig.inside():
        await rig.until_state(other, "LIVE")
        halt = await rig.until(
            "SELECT why FROM audit.halts WHERE standing AND scope = 'account' AND subject = 'main'"
        )
        assert stranger in halt
        await rig.until_state(mine, "NOT_PLACED")
        [refused] = await rig.ask(rig.request("m3"))
        assert refused["code"] == "HALTED"
    assert await rig.at_venue(mine) == []
    listed = await rig.owner.fetch(
        "SELECT venue_order_id FROM audit.orders_without_intent WHERE standing"
    )
    assert [row["venue_order_id"] for row in listed] == [stranger]


async def test_an_order_without_intent_seen_in_the_stream_halts_at_once(rig: Rig) -> None:
    mine = await rig.reserve("m2")
    async with rig.inside():
        await rig.until_state(mine, "LIVE")
        stranger = await place_without_intent(rig)
        assert await rig.until("SELECT why FROM ledger.halt WHERE cleared_at IS NULL")
        await rig.until_state(mine, "CANCELLED")
    listed = await rig.owner.fetchval("SELECT venue_order_id FROM audit.orders_without_intent")
    assert listed == stranger


async def test_a_worker_with_another_key_leaves_the_account_alone(rig: Rig) -> None:
    await rig.account("second")
    await rig.owner.execute(
        "UPDATE ledger.account SET maker = $1, signer = $1 WHERE name = 'main'", "0x" + "11" * 20
    )
    mine = await rig.reserve("m1")
    other = await rig.reserve("m1", account="second")
    async with rig.inside() as context:
        await rig.until_state(other, "LIVE")
        assert context.shared.known == {"second"}
        assert (await rig.order(mine))["state"] == "RESERVED"
    assert await rig.at_venue(mine) == []


async def test_a_worker_serves_only_the_accounts_it_was_given(rig: Rig) -> None:
    await rig.account("second")
    mine = await rig.reserve("m1")
    other = await rig.reserve("m1", account="second")
    async with rig.inside(accounts="second"):
        await rig.until_state(other, "LIVE")
        assert (await rig.order(mine))["state"] == "RESERVED"


async def test_an_account_opened_later_is_taken_up(rig: Rig) -> None:
    async with rig.inside() as context:
        await until(lambda: context.shared.ready == {"main"}, "main is ready")
        await rig.account("later")
        order_id = await rig.reserve("m1", account="later")
        await rig.until_state(order_id, "LIVE")
    await rig.check_sound()


async def test_starting_twice_leaves_the_same_rows(rig: Rig) -> None:
    resting = await rig.reserve("m1")
    filled = await rig.reserve("m2", cents=90)
    async with rig.inside():
        await rig.until_state(resting, "LIVE")
        await rig.until_state(filled, "FILLED")
        await rig.until_resolved()
        await rig.until_stream_is_read()
    first = await rig.state()
    for _ in range(2):
        async with rig.inside() as context:
            await rig.until(
                "SELECT ready AND seen_at > started_at + interval '1 s' FROM ledger.worker WHERE incarnation = $1",
                context.incarnation,
            )
        assert await rig.state() == first


async def test_a_worker_of_several_accounts_says_in_the_end_that_it_is_ready(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though what it says of one account is slower on its way than what it says of the next."""
    await rig.account("second")
    value, done = LedgerCalls.value, asyncio.Event()

    async def overtaking(self: LedgerCalls, function: str, *arguments: Any) -> Any:
        if function == "worker_ready" and arguments[1] is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), 0.5)
        answer = await value(self, function, *arguments)
        if function == "worker_ready" and arguments[1] is None:
            done.set()
        return answer

    monkeypatch.setattr(LedgerCalls, "value", overtaking)
    async with rig.inside() as context:
        await until(done.is_set, "it has said that it is ready")
        assert context.shared.ready == {"main", "second"}
        await rig.until("SELECT bool_and(ready) FROM ledger.worker", within_s=3)


async def test_a_worker_that_could_not_say_that_it_is_ready_says_it_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, lost = LedgerCalls.value, list[str]()

    async def losing(self: LedgerCalls, function: str, *arguments: Any) -> Any:
        if function == "worker_ready" and len(lost) < 2:
            lost.append(function)
            raise DatabaseProblem(Code.DATABASE_UNREACHABLE, "lost")
        return await value(self, function, *arguments)

    monkeypatch.setattr(LedgerCalls, "value", losing)
    async with rig.inside(reconcile_every_s=1):
        await rig.until("SELECT bool_and(ready) FROM ledger.worker")
        await rig.until("SELECT count(*) > 0 FROM ledger.reconcile_run WHERE kind = 'periodic'")
        await rig.account("later")
        order_id = await rig.reserve("m1", account="later")
        await rig.until_state(order_id, "LIVE")
    assert len(lost) == 2


async def test_what_was_missed_before_a_start_is_forgiven_no_second_look(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream tells of the fill right behind the comparison's read, and would make good for it."""
    order_id = await rig.reserve()
    async with rig.inside():
        await rig.until_state(order_id, "LIVE")
        await rig.until_stream_is_read()
    await rig.fill_at_venue("m1", cents=4)
    read = asyncio.Event()

    def reached(point: str) -> None:
        if point == "start.read.after":
            read.set()

    async with rig.inside(reached=reached, reconcile_every_s=3_600) as context:
        follow = context.venue.events

        async def later(account: str, *, after: int = 0) -> AsyncIterator[Any]:
            await read.wait()
            async for event in follow(account, after=after):
                yield event

        monkeypatch.setattr(context.venue, "events", later)
        await until(lambda: context.shared.ready, "the account is ready")
        assert (await rig.order(order_id))["state"] == "FILLED", "before anything is placed"
        await rig.until_resolved()
    found = await rig.owner.fetch(
        "SELECT d.kind, r.kind AS run FROM ledger.drift d JOIN ledger.reconcile_run r USING (run_id)"
    )
    assert ("trade_missing", "start") in [tuple(row) for row in found]
    await rig.check_sound()


@pytest.mark.parametrize(
    ("scope", "subject"), [("global", None), ("account", "main"), ("market", "m1")]
)
async def test_no_start_and_no_stop_ends_a_halt(rig: Rig, scope: str, subject: str | None) -> None:
    order_id = await rig.reserve()
    version = await call(rig.owner, "set_halt", scope, subject, "a test", "a person")
    for _ in range(2):
        async with rig.inside() as context:
            ready = "SELECT ready FROM ledger.worker WHERE incarnation = $1"
            await rig.until(ready, context.incarnation)
            await rig.until_state(order_id, "NOT_PLACED")
            [refused] = await rig.ask(rig.request())
            assert refused["code"] == "HALTED"
    standing = await rig.owner.fetch("SELECT halt_id FROM ledger.halt WHERE cleared_at IS NULL")
    assert [row["halt_id"] for row in standing] == [version]
    assert await rig.at_venue(order_id) == []

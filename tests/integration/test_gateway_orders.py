"""Placing, replacing and the wanted set, through the one way there is."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import CapturingLogger

from app.errors import BadInput, Code, Refused
from app.gateway import Applied, DesiredOrder, Gateway, Locked
from app.ledger import ReplacementView
from tests.support.trading import (
    SHARE,
    World,
    buy,
    world_fixture,  # noqa: F401 - the fixture
)

ROOT = Path(__file__).resolve().parents[2]
TICK = 10_000


async def gateway_of(world: World) -> Gateway:
    return Gateway(await world.ledger(), log=CapturingLogger())


def want(cents: int, shares: int = 10, outcome: str = "0", **options: Any) -> DesiredOrder:
    given: dict[str, Any] = {"side": "BUY", **options}
    return DesiredOrder(
        outcome=outcome, price_micros=cents * TICK, size_micros=shares * SHARE, **given
    )


async def apply(gateway: Gateway, revision: str, *desired: DesiredOrder) -> Applied:
    return await gateway.set_desired_orders("m1", desired, tick_micros=TICK, revision=revision)


async def test_a_placed_order_can_be_awaited_and_cancelled_by_its_handle(world: World) -> None:
    gateway = await gateway_of(world)
    placed = await gateway.place_order_with_guards(buy("k"))
    assert placed.admission is not None
    waiting = asyncio.get_running_loop().create_task(placed.settled(timeout_s=20))
    await placed.cancel("enough")
    assert (await waiting).state == "NOT_PLACED"


async def test_what_the_limiter_blocks_is_logged_with_its_reason(world: World) -> None:
    await world.stop_clock()
    log = CapturingLogger()
    gateway = Gateway(await world.ledger(), log=log)
    await gateway.place_order_with_guards(buy("k1"))
    with pytest.raises(Refused) as caught:
        await gateway.place_order_with_guards(buy("k2"))
    assert caught.value.code is Code.BURST_GAP
    ((event, fields),) = [(call.args[0], call.kwargs) for call in log.calls]
    assert event == "BURST_BLOCKED"
    assert (fields["reason"], fields["market"], fields["account"]) == ("BURST_GAP", "m1", "main")
    assert (await world.rows())["orders"] == 1


async def test_an_order_is_clamped_to_the_cap_before_it_is_reserved(world: World) -> None:
    gateway = await gateway_of(world)
    placed = await gateway.place_order_with_guards(buy("k", 500, clamp=True))
    assert placed.admission is not None
    assert placed.admission.size_micros == 100 * SHARE


async def test_a_replacement_goes_through_the_gateway(world: World) -> None:
    await world.open_limiter()
    gateway = await gateway_of(world)
    placed = await gateway.place_order_with_guards(buy("old"))
    async with gateway.evaluation("m1") as evaluation:
        await evaluation.replace_order(placed.order_id, buy("new", 20))
    done = await gateway.ledger.replaced("new", timeout_s=20)
    assert isinstance(done, ReplacementView)
    assert done.state == "done"


# ------------------------------------------------------------------------ the wanted set


async def test_a_wanted_set_is_posted_as_one_unit(world: World) -> None:
    """One gap for the set, although three orders come at once."""
    await world.stop_clock()
    gateway = await gateway_of(world)
    applied = await apply(gateway, "r1", want(44), want(43), want(52, outcome="1"))
    assert (len(applied.posted), applied.refused) == (3, ())
    sets = await world.owner.fetch("SELECT DISTINCT set_id FROM ledger.orders")
    assert len(sets) == 1


async def test_the_same_set_again_changes_nothing(world: World) -> None:
    gateway = await gateway_of(world)
    await apply(gateway, "r1", want(44), want(43))
    before = await world.rows()
    for revision in ("r1", "r2"):
        applied = await apply(gateway, revision, want(44), want(43))
        assert (len(applied.kept), applied.cancelled, applied.posted) == (2, (), ())
    assert await world.rows() == before


async def test_a_revision_applied_again_after_its_order_ended_posts_nothing_twice(
    world: World,
) -> None:
    await world.open_limiter()
    gateway = await gateway_of(world)
    (placed,) = (await apply(gateway, "r1", want(44))).posted
    await world.mark_live(placed.order_id)
    await world.life.fill(placed.order_id, 10 * SHARE, price_micros=440_000)
    (again,) = (await apply(gateway, "r1", want(44))).posted
    assert again.admission is not None
    assert again.admission.replay
    assert (await world.rows())["orders"] == 1
    (new,) = (await apply(gateway, "r2", want(44))).posted
    assert new.order_id != placed.order_id


Meanwhile = Callable[[World, int], Awaitable[object]]


async def fill(world: World, order_id: int, shares: int, status: str = "MATCHED") -> None:
    await world.life.fill(order_id, shares * SHARE, status, price_micros=440_000)


async def cancel(world: World, order_id: int, matched: int = 0) -> None:
    """By somebody else, and proven."""
    await world.life.cancel(order_id)
    await world.life.read(order_id, "CANCELLED", matched * SHARE)


async def fill_and_cancel(world: World, order_id: int) -> None:
    await fill(world, order_id, 4)
    await cancel(world, order_id, 4)


async def fill_and_fail(world: World, order_id: int) -> None:
    for status in ("MATCHED", "FAILED"):
        await world.life.fill(order_id, 4 * SHARE, status, trade_id="t", price_micros=440_000)


MEANWHILE: dict[str, Meanwhile] = {
    "nothing": lambda world, order_id: world.life.read(order_id, "LIVE"),
    "a part filled": lambda world, order_id: fill(world, order_id, 4),
    "a part filled by one micro": lambda world, order_id: world.life.fill(order_id, 1),
    "all filled": lambda world, order_id: fill(world, order_id, 10),
    "a part read as matched": lambda world, order_id: world.life.read(order_id, "LIVE", 4 * SHARE),
    "cancelled by another": cancel,
    "asked to be cancelled": lambda world, order_id: world.life.cancel(order_id),
    "a part filled and the rest cancelled": fill_and_cancel,
    "a part filled that failed to settle": fill_and_fail,
}


@pytest.mark.parametrize("meanwhile", MEANWHILE.values(), ids=MEANWHILE)
async def test_a_revision_applied_again_posts_nothing_twice_whatever_happened_meanwhile(
    world: World, meanwhile: Meanwhile
) -> None:
    await world.open_limiter()
    gateway = await gateway_of(world)
    (placed,) = (await apply(gateway, "r1", want(44))).posted
    await world.mark_live(placed.order_id)
    await meanwhile(world, placed.order_id)
    for _ in range(2):
        # by another process too
        again = await apply(await gateway_of(world), "r1", want(44))
        assert again.refused == ()
        stands = {view.order_id for view in again.kept} | {one.order_id for one in again.posted}
        assert stands == {placed.order_id}
        assert all(one.admission and one.admission.replay for one in again.posted)
        assert (await world.rows())["orders"] == 1


async def test_a_new_revision_posts_what_lacks_after_a_partial_fill(world: World) -> None:
    await world.open_limiter()
    gateway = await gateway_of(world)
    (placed,) = (await apply(gateway, "r1", want(44))).posted
    await world.mark_live(placed.order_id)
    await world.life.fill(placed.order_id, 6 * SHARE + 1, price_micros=440_000)
    (more,) = (await apply(gateway, "r2", want(44))).posted
    assert (await more.view()).size_micros == 6 * SHARE


async def test_a_revision_makes_up_for_no_fill_of_an_older_order_of_its_level(
    world: World,
) -> None:
    """It wanted ten shares, had five and posted five: the five that were filled are not wanted anew."""
    await world.open_limiter()
    gateway = await gateway_of(world)
    (old,) = (await apply(gateway, "r1", want(44, 5))).posted
    await world.mark_live(old.order_id)
    (new,) = (await apply(gateway, "r2", want(44, 10))).posted
    assert (await new.view()).size_micros == 5 * SHARE
    await world.mark_live(new.order_id)
    await fill(world, old.order_id, 5)
    again = await apply(gateway, "r2", want(44, 10))
    assert (again.refused, [one.order_id for one in again.kept]) == ((), [new.order_id])
    await fill(world, new.order_id, 2)
    await apply(gateway, "r2", want(44, 10))
    assert (await world.rows())["orders"] == 2


async def test_an_old_revision_applied_after_a_newer_one_posts_nothing(world: World) -> None:
    await world.open_limiter()
    gateway = await gateway_of(world)
    await apply(gateway, "r1", want(44))
    await apply(gateway, "r2", want(45))
    await apply(gateway, "r1", want(44))
    assert (await world.rows())["orders"] == 2


async def test_what_a_revision_was_refused_it_may_post_when_it_is_applied_again(
    world: World,
) -> None:
    await world.open_limiter()
    gateway = await gateway_of(world)
    (old,) = (await apply(gateway, "r1", want(44, 100))).posted
    await world.mark_live(old.order_id)
    assert len((await apply(gateway, "r2", want(45, 100))).refused) == 1
    await world.life.read(old.order_id, "CANCELLED", 30 * SHARE)
    applied = await apply(gateway, "r2", want(45, 70))
    assert (len(applied.posted), applied.refused) == (1, ())
    assert (await world.rows())["orders"] == 2


async def test_a_key_of_a_revision_that_somebody_else_used_is_refused(world: World) -> None:
    await world.open_limiter()
    gateway = await gateway_of(world)
    key = want(44).intent("m1", "r1", origin="", strategy="").key
    await gateway.place_order_with_guards(buy(key, price_micros=300_000, order_class="hedge"))
    ((_, refusal),) = (await apply(gateway, "r1", want(44))).refused
    assert refusal.code is Code.KEY_REUSED


async def test_what_is_no_longer_wanted_is_cancelled_first(world: World) -> None:
    await world.open_limiter()
    gateway = await gateway_of(world)
    first = await apply(gateway, "r1", want(44, 100))
    applied = await apply(gateway, "r2", want(45, 100))
    assert [one.order_id for one in applied.cancelled] == [first.posted[0].order_id]
    assert len(applied.posted) == 1, "the cancel of an order never sent frees its capacity at once"


async def test_a_post_that_needs_a_cancel_not_yet_proven_is_left_to_the_next_tick(
    world: World,
) -> None:
    """Two live orders are two holds."""
    await world.open_limiter()
    gateway = await gateway_of(world)
    (old,) = (await apply(gateway, "r1", want(44, 100))).posted
    await world.mark_live(old.order_id)
    applied = await apply(gateway, "r2", want(45, 100))
    assert [one.state for one in applied.cancelled] == ["LIVE"]
    ((order, refusal),) = applied.refused
    assert (order, refusal.code) == (want(45, 100), Code.CAP_OUTCOME)
    await world.life.read(old.order_id, "CANCELLED")
    applied = await apply(gateway, "r2", want(45, 100))
    assert (applied.cancelled, len(applied.posted)) == ((), 1)


async def test_posts_beyond_the_limiter_are_deferred_and_come_with_the_next_tick(
    world: World,
) -> None:
    clock = await world.stop_clock()
    gateway = await gateway_of(world)
    desired = [want(cents, 5) for cents in range(30, 38)]
    applied = await apply(gateway, "r1", *desired)
    assert len(applied.posted) == 6
    assert [refusal.code for _, refusal in applied.refused] == [Code.DEFERRED] * 2
    await clock.advance(60_000)
    assert len((await apply(gateway, "r2", *desired)).posted) == 2


async def test_an_empty_set_takes_everything_of_its_class_away(world: World) -> None:
    await world.open_limiter()
    gateway = await gateway_of(world)
    await apply(gateway, "r1", want(44), want(43))
    hedge = await gateway.place_order_with_guards(buy("hedge", order_class="hedge"))
    assert len((await apply(gateway, "r2")).cancelled) == 2
    assert [view.order_id for view in await gateway.ledger.standing_orders("m1")] == [
        hedge.order_id
    ]


async def test_a_wrong_set_changes_nothing(world: World) -> None:
    gateway = await gateway_of(world)
    await apply(gateway, "r1", want(44))
    before = await world.rows()
    for revision, desired in (
        ("r2", DesiredOrder(outcome="0", side="BUY", price_micros=445_000, size_micros=SHARE)),
        ("", want(45)),
        ("r" * 61, want(45)),
    ):
        with pytest.raises(BadInput):
            await apply(gateway, revision, desired)
    assert await world.rows() == before


async def test_a_set_for_a_locked_market_is_dropped(world: World) -> None:
    gateway, other = await gateway_of(world), await gateway_of(world)
    async with other.evaluation("m1"):
        with pytest.raises(Locked):
            await apply(gateway, "r1", want(44))
    assert (await world.rows())["orders"] == 0


# ------------------------------------------------------------------------ no other way


def test_neither_the_ledger_nor_the_gateway_knows_a_venue() -> None:
    """Orders reach a venue as rows that a worker picks up, so every guard has been passed."""
    for package in ("app/ledger", "app/gateway"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = (
                    [alias.name for alias in node.names]
                    if isinstance(node, ast.Import)
                    else [node.module or ""]
                    if isinstance(node, ast.ImportFrom)
                    else []
                )
                assert not [name for name in names if name.startswith(("app.venue", "httpx"))], path


async def test_a_trader_can_put_no_row_into_the_outbox_by_itself(world: World) -> None:
    conn = await world.database.connect("trader")
    for table in ("orders", "outbox", "reservation", "exposure", "signed_order", "attempt"):
        with pytest.raises(Exception, match="permission denied"):
            await conn.execute(f"INSERT INTO ledger.{table} DEFAULT VALUES")
    for function in ("prepare", "open_attempt", "acknowledge"):
        with pytest.raises(Exception, match="permission denied"):
            await conn.fetchval(f"SELECT ledger.{function}('[]')")

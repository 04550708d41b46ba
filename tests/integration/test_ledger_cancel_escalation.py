"""When a cancel goes wider than its order: seldom, never twice for one reason, and not for what is not there."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

from tests.support.life import Life

MINUTE = 60

Answer = Callable[[str], tuple[str, str]]
"""From the way that a cancel was sent to the answer, and to what the look-up behind it shows."""


async def claimed(life: Life) -> dict[int, str]:
    """The orders whose DELETE leaves now, and the way of each."""
    work = await life.call("claim_cancels", life.worker, (life.account,), 100)
    return {item["order_id"]: item["way"] for item in work}


async def answer(
    life: Life, order_id: int, way: str, said: str, shown: str, **more: object
) -> None:
    await life.cancel_answered(order_id, said, raw=way, wide=way != "id", **more)
    if shown == "absent":
        await life.call("cancels_unseen", (order_id,))
    elif shown == "LIVE":
        await life.read(order_id, "LIVE")
        if said != "unknown":
            await life.call("cancels_futile", (order_id,))


async def ways(life: Life, order_id: int, seconds: int, told: Answer) -> list[str]:
    """How its DELETEs leave in that time, each answered and looked up."""
    found = []
    for _ in range(seconds):
        way = (await claimed(life)).get(order_id)
        if way is not None:
            found.append(way)
            await answer(life, order_id, way, *told(way))
        await life.clock.advance(1_000)
    return found


async def test_while_the_venue_shows_the_order_the_wide_ones_grow_seldom_and_tries_by_id_go_between(
    life: Life,
) -> None:
    order_id = await life.live()
    await life.cancel(order_id)
    found = await ways(life, order_id, 10 * MINUTE, lambda _: ("unknown", "LIVE"))
    runs = [(way, len(list(some))) for way, some in groupby(found)]
    assert runs[:6] == [("id", 5), ("market", 1), ("id", 4), ("all", 1), ("id", 29), ("all", 1)]
    assert {count for way, count in runs if way != "id"} == {1}
    between = [count for way, count in runs[4:-1] if way == "id"]
    assert between == sorted(between)
    assert found.count("all") <= 6


async def test_what_a_wide_cancel_does_not_name_goes_wide_no_more_while_nobody_can_look(
    life: Life,
) -> None:
    failed = 5

    def told(way: str) -> tuple[str, str]:
        nonlocal failed
        failed -= way == "id"
        return ("not_listed" if way != "id" else "unknown" if failed >= 0 else "refused"), "unread"

    order_id = await life.live()
    await life.cancel(order_id)
    found = await ways(life, order_id, 10 * MINUTE, told)
    assert found[:7] == [*["id"] * 5, "market", "id"]
    assert set(found[6:]) == {"id"}


async def test_an_order_that_is_live_here_and_not_there_is_never_cancelled_with_others(
    life: Life,
) -> None:
    """Whether its DELETE is answered or not: what a clean look-up does not show, no wider cancel ends."""
    order_id = await life.live()
    await life.cancel(order_id)
    assert set(await ways(life, order_id, MINUTE, lambda _: ("unknown", "absent"))) == {"id"}
    assert set(await ways(life, order_id, 10 * MINUTE, lambda _: ("refused", "absent"))) == {"id"}
    assert await life.state(order_id) == "LIVE"


async def test_a_clean_look_up_that_shows_nothing_brings_an_escalated_cancel_down(
    life: Life,
) -> None:
    order_id = await life.unknown(valid_for_ms=1_000)
    await life.cancel(order_id)
    found = await ways(life, order_id, 12, lambda _: ("unknown", "unread"))
    assert found.count("market") == found.count("all") == 1
    # The next wide one is answered by a venue that is well.
    await life.clock.advance(MINUTE * 1_000)
    found = await ways(
        life,
        order_id,
        MINUTE,
        lambda way: ("refused" if way == "id" else "not_listed", "absent"),
    )
    assert found[0] == "all"
    assert set(found[1:]) == {"id"}
    row = await life.row("cancel_request", order_id)
    assert row["futile_tries"] == 0
    for kind in ("order_absent", "trades_absent"):
        await life.evidence(order_id, kind)
    assert (await life.prove_absent(order_id))["state"] == "NOT_PLACED"
    assert await life.conn.fetch("SELECT * FROM audit.checks() WHERE NOT is_notice") == []


async def test_orders_that_are_due_together_go_wide_in_one_request_and_a_late_one_waits_its_time(
    life: Life,
) -> None:
    orders = [await life.live() for _ in range(2)]
    late = await life.live()
    await life.cancel(orders[0])
    await life.cancel(orders[1])
    for _ in range(5):
        for order_id, way in (await claimed(life)).items():
            await answer(life, order_id, way, "unknown", "LIVE")
        await life.clock.advance(1_000)
    assert await claimed(life) == dict.fromkeys(orders, "market")
    for order_id in orders:
        await answer(life, order_id, "market", "not_listed", "LIVE")
    await life.cancel(late)
    found = await ways(life, late, 40, lambda _: ("unknown", "LIVE"))
    runs = [(way, len(list(some))) for way, some in groupby(found)]
    assert [way for way, _ in runs[:4]] == ["id", "market", "id", "all"]
    assert runs[0][1] == 30
    assert runs[2][1] >= 2


async def test_a_wide_cancel_that_was_only_put_off_goes_again_when_it_may(life: Life) -> None:
    order_id = await life.live()
    await life.cancel(order_id)
    await ways(life, order_id, 5, lambda _: ("unknown", "LIVE"))
    for _ in range(3):
        assert await claimed(life) == {order_id: "market"}
        await answer(life, order_id, "market", "not_sent", "unread", retry_after_ms=200)
        await life.clock.advance(200)
    assert await claimed(life) == {order_id: "market"}
    # Refused as a request it would be refused again: that pause has begun.
    await answer(life, order_id, "market", "not_sent", "unread", retry_after_ms=200, refused=True)
    await life.clock.advance(200)
    assert await claimed(life) == {order_id: "id"}


async def test_a_clock_that_went_back_puts_no_wide_cancel_off(life: Life) -> None:
    order_id = await life.live()
    await life.cancel(order_id)
    await life.conn.execute(
        "UPDATE ledger.cancel_request SET futile_tries = 9, wide_to = 'market', wide_tries = 9, "
        "wide_at = ledger.clock() + interval '1 hour'"
    )
    assert await claimed(life) == {order_id: "market"}

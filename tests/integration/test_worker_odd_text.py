"""Text of the venue that no database takes: NUL bytes and halves of characters, in answers and frames.

Whatever else it says is recorded all the same, nothing is lost, and the worker lives.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import pytest

from app.ledger.calls import storable
from app.venue.interface import (
    Absent,
    Accepted,
    Found,
    NotPlaced,
    PlaceOutcome,
    Rejected,
    Unknown,
    VenueOrder,
)
from tests.support.worker import Rig, rig_fixture, until  # noqa: F401
from workers.worker import sending
from workers.worker.context import Context

ODD: Final = "he said \0 and \ud800"
KEPT: Final = "he said \ufffd and \ufffd"


def test_what_no_database_takes_is_replaced_and_the_rest_is_kept() -> None:
    assert storable(ODD) == KEPT
    assert storable("plain, ünïcode, 😀, \t\n") == "plain, ünïcode, 😀, \t\n"
    # two halves that belong together are one character
    assert storable("\ud83d\ude00") == "😀"


# ---- placing


Twist = Callable[[PlaceOutcome], PlaceOutcome]
TWISTS: Final[dict[str, tuple[Twist, str, str, str]]] = {
    "accepted": (lambda real: replace(real, raw=ODD), "accepted", "live", "LIVE"),
    "refused": (lambda _: Rejected("NO\0", ODD), "rejected", "NO\ufffd", "REJECTED"),
    "held back": (lambda _: NotPlaced("BUSY\0", 100, ODD), "held_back", "BUSY\ufffd", "LIVE"),
    "unreadable": (lambda _: Unknown("odd: \0", ODD), "unknown", "odd: \ufffd", "LIVE"),
}
"""What the first answer is made into: outcome and code as recorded, and how the order ends."""


def answer_first(context: Context, patch: pytest.MonkeyPatch, twist: Twist) -> None:
    """What becomes of the first placement; a definite refusal never reaches the venue."""
    place, told = context.venue.place, list[bool]()

    async def odd(account: str, orders: Sequence[Any]) -> Sequence[PlaceOutcome]:
        if told:
            return await place(account, orders)
        told.append(True)
        probe = twist(Accepted("", "", ""))
        if isinstance(probe, Rejected | NotPlaced):
            return [probe] * len(orders)
        return [twist(real) for real in await place(account, orders)]

    patch.setattr(context.venue, "place", odd)


@pytest.mark.parametrize("answer", TWISTS)
async def test_an_answer_with_a_nul_byte_is_recorded_like_any_other(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    twist, outcome, code, state = TWISTS[answer]
    async with rig.inside() as context:
        answer_first(context, monkeypatch, twist)
        order_id = await rig.reserve()
        await rig.until_state(order_id, state)
        assert not context.shared.stopping.is_set()
        first = await rig.owner.fetchrow("SELECT * FROM ledger.attempt WHERE attempt = 1")
    assert (first["outcome"], first["code"], first["answer"]) == (outcome, code, KEPT)
    await rig.check_sound()


async def test_what_the_database_does_not_take_of_one_order_is_no_loss_for_the_others_of_its_batch(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should anything else ever be refused: then item by item, and the poisoned one is looked up."""
    monkeypatch.setattr(sending, "storable", lambda text: text)
    poisoned, wordy, plain = [await rig.reserve(market) for market in ("m1", "m2", "m3")]
    ids: dict[str, Any] = {
        await rig.venue_id(poisoned): {"status": "live\0"},
        await rig.venue_id(wordy): {"raw": ODD},
    }
    batches: list[int] = []
    async with rig.inside() as context:
        place = context.venue.place

        async def odd(account: str, orders: Sequence[Any]) -> Sequence[PlaceOutcome]:
            batches.append(len(orders))
            answers = await place(account, orders)
            return [
                replace(real, **ids.get(order.venue_order_id, {}))
                for order, real in zip(orders, answers, strict=True)
            ]

        monkeypatch.setattr(context.venue, "place", odd)
        for order_id in (plain, wordy, poisoned):
            await rig.until_state(order_id, "LIVE")
        await rig.until("SELECT count(*) = 0 FROM ledger.attempt WHERE outcome = 'open'")
        assert not context.shared.stopping.is_set()
    assert batches == [3], "they went in one request, and never again"
    outcomes = await rig.owner.fetch("SELECT order_id, outcome, answer FROM ledger.attempt")
    by_order = {row["order_id"]: (row["outcome"], row["answer"]) for row in outcomes}
    assert by_order[wordy] == ("accepted", ""), "without its words"
    assert by_order[plain][0] == "accepted"
    assert by_order[poisoned][0] == "lapsed"
    await rig.check_sound()


# ---- cancelling and looking up


async def test_the_answer_to_a_cancel_with_a_nul_byte_is_recorded(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = await rig.reserve()
    async with rig.inside() as context:
        await rig.until_state(order_id, "LIVE")
        cancel = context.venue.cancel

        async def odd(account: str, ids: Sequence[str]) -> Sequence[Any]:
            return [replace(real, raw=ODD) for real in await cancel(account, ids)]

        monkeypatch.setattr(context.venue, "cancel", odd)
        await rig.cancel(order_id)
        await rig.until_state(order_id, "CANCELLED")
        assert not context.shared.stopping.is_set()
    said = await rig.owner.fetchval("SELECT last_answer FROM ledger.cancel_request")
    assert said == f"accepted: {KEPT}"
    kept = "SELECT detail FROM ledger.evidence WHERE kind = 'delete_answered'"
    assert await rig.owner.fetchval(kept) == KEPT
    await rig.check_sound()


async def test_an_absence_told_with_a_nul_byte_is_evidence(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = await rig.reserve()
    await rig.fault("place", "lost_request", order_id, times=10_000)
    async with rig.inside() as context:
        look = context.venue.order

        async def odd(account: str, venue_order_id: str, **how: Any) -> Any:
            answer = await look(account, venue_order_id, **how)
            return Absent(ODD) if isinstance(answer, Absent) else answer

        monkeypatch.setattr(context.venue, "order", odd)
        await rig.until_state(order_id, "UNKNOWN")
        await rig.cancel(order_id)
        await rig.until_state(order_id, "NOT_PLACED")
        assert not context.shared.stopping.is_set()
    kept = "SELECT DISTINCT detail FROM ledger.evidence WHERE kind = 'order_absent'"
    assert [row["detail"] for row in await rig.owner.fetch(kept)] == [KEPT]
    await rig.check_sound()


async def test_a_read_that_shows_a_status_with_a_nul_byte_ends_an_order_like_any_other(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = await rig.reserve()
    async with rig.inside() as context:
        await rig.until_state(order_id, "LIVE")
        look = context.venue.order

        async def odd(account: str, venue_order_id: str, **how: Any) -> Any:
            answer: Any = await look(account, venue_order_id, **how)
            if isinstance(answer, Found) and isinstance(answer.value, VenueOrder):
                return Found(replace(answer.value, raw_status=answer.value.raw_status + "\0"))
            return answer

        monkeypatch.setattr(context.venue, "order", odd)
        await rig.cancel(order_id)
        await rig.until_state(order_id, "CANCELLED", within_s=10)
        assert not context.shared.stopping.is_set()
    assert (await rig.order(order_id))["cause"] == "CANCELED\ufffd"
    await rig.check_sound()


# ---- the stream


async def test_a_frame_with_a_nul_byte_is_stored_and_applied(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = await rig.reserve(cents=90)
    async with rig.inside() as context:
        follow = context.venue.events

        async def odd(account: str, *, after: int = 0) -> AsyncIterator[Any]:
            async for event in follow(account, after=after):
                yield with_nul(event)

        monkeypatch.setattr(context.venue, "events", odd)
        await rig.until_state(order_id, "FILLED")
        await rig.until_resolved()
        await rig.until_stream_is_read()
        assert not context.shared.stopping.is_set()
    told = await rig.owner.fetchval("SELECT count(*) FROM paper.event")
    frames = await rig.owner.fetch("SELECT raw, applied_at, problem FROM ledger.venue_event")
    assert len(frames) == told > 0
    assert all(row["applied_at"] and row["problem"] is None for row in frames)
    assert all(row["raw"].startswith('{"note": "\ufffd", ') for row in frames)
    assert await rig.owner.fetchval("SELECT count(*) FROM ledger.dead_letter") == 0
    statuses = await rig.owner.fetch("SELECT DISTINCT raw_status FROM ledger.fill")
    assert [row["raw_status"] for row in statuses] == ["CONFIRMED\ufffd"]
    await rig.check_sound()


def with_nul(event: Any) -> Any:
    """The same frame with a word in it that the reader skips, and with an odd status."""
    if not hasattr(event, "raw"):
        return event
    odd = replace(event, raw=event.raw.replace("{", '{"note": "\0", ', 1))
    if hasattr(odd, "order"):
        return replace(odd, order=replace(odd.order, raw_status=odd.order.raw_status + "\0"))
    return replace(odd, trade=replace(odd.trade, raw_status=odd.trade.raw_status + "\0"))

"""A worker dies at every named point of its work, with the venue having taken the order and not.

One database holds all scenarios, an account each: workers die in it one after the other, then one
clean worker resolves everything, then a second clean start must change nothing. The tests only look
at what came of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.database import empty_database
from tests.support.servers import TestServer, in_thread
from tests.support.worker import Rig, open_rig
from workers.worker.points import POINTS

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

CENTS_THAT_REST: Final = 5
CENTS_THAT_CROSS: Final = 90

SEND_PATH: Final = (
    "claim.after",
    "prepare.before",
    "prepare.after",
    "open.before",
    "open.after",
    "send.before",
    "send.after",
    "record.before",
    "record.after",
)
CANCEL_PATH: Final = (
    "cancel.claim.after",
    "cancel.send.before",
    "cancel.send.after",
    "cancel.record.after",
)
STREAM: Final = ("event.store.before", "event.store.after", "event.apply.after")
START: Final = tuple(point for point in POINTS if point.startswith("start."))
LOOK_UPS: Final = ("look.before", "look.after")
EVIDENCE: Final = ("evidence.after",)

PLACED: Final[dict[str, dict[str, Any] | None]] = {
    "accepted": None,
    "matched": None,
    "answer_lost": {"kind": "drop_answer"},
    "never_arrives": {"kind": "lost_request"},
    "appears_late": {"kind": "appear_late", "late_ms": 1_500},
    "refused_for_now": {"kind": "http", "http_status": 425, "retry_after_ms": 300},
    "refused": {"kind": "http", "http_status": 400, "text": "not enough balance"},
}
"""What the venue makes of the first copy of an order that reaches it."""

CANCELLED: Final[dict[str, dict[str, Any] | None]] = {
    "carried_out": None,
    "answer_lost": {"kind": "drop_answer"},
    "never_arrives": {"kind": "lost_request"},
    "missed": {"kind": "cancel_miss"},
    "refused_for_now": {"kind": "http", "http_status": 429, "retry_after_ms": 300},
}

THEN_CANCELLED: Final = " then cancelled"
"""Behind a fate: a cancel is asked for after the death, so that nothing may be sent again."""

WANTED: Final = ("accepted", "answer_lost", "never_arrives", "appears_late")


@dataclass
class Death:
    """One worker that dies at ``point``, in an account of its own, with an order per fate."""

    point: str
    orders: dict[str, int] = field(default_factory=dict)

    @property
    def account(self) -> str:
        return self.point.replace(".", "-")

    def market(self, fate: str) -> str:
        return f"{self.account} {fate}"


@dataclass
class Outcome:
    """What the tests look at."""

    deaths: dict[str, Death] = field(default_factory=dict)
    states: dict[int, str] = field(default_factory=dict)
    at_venue: dict[int, list[Any]] = field(default_factory=dict)
    timelines: dict[int, str] = field(default_factory=dict)
    unsound: str = ""
    first: dict[str, list[str]] = field(default_factory=dict)
    second: dict[str, list[str]] = field(default_factory=dict)


SENT_FATES: Final = tuple(PLACED) + tuple(fate + THEN_CANCELLED for fate in WANTED)


def fates_of(point: str) -> tuple[str, ...]:
    """The orders of a scenario, by what the venue makes of them."""
    if point in SEND_PATH:
        return SENT_FATES
    if point in CANCEL_PATH:
        return tuple(CANCELLED)
    if point in LOOK_UPS:
        return ("answer_lost", "never_arrives", "appears_late")
    if point in EVIDENCE:
        return ("never_arrives" + THEN_CANCELLED,)
    if point in STREAM:
        return ("accepted", "filled while away")
    assert point in START, f"the point {point} has no scenario: write one"
    return (*SENT_FATES, "filled while away")


class Campaign:
    """Runs all scenarios on one database."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.outcome = Outcome(deaths={point: Death(point) for point in POINTS})
        self._two = asyncio.Semaphore(2)

    async def run(self) -> Outcome:
        deaths = list(self.outcome.deaths.values())
        await self._prepare(deaths)
        failures = await asyncio.gather(
            *(self._die(death) for death in deaths), return_exceptions=True
        )
        for failure in failures:
            if failure is not None:
                raise failure
        await self._clean_start(self.outcome.first)
        await self._clean_start(self.outcome.second)
        await self._look()
        return self.outcome

    # --- before the deaths ----------------------------------------------------------------------

    async def _prepare(self, deaths: list[Death]) -> None:
        rig = self.rig
        await rig.no_burst_limits()
        markets = [death.market(fate) for death in deaths for fate in fates_of(death.point)]
        await rig.markets(*markets)
        resting = []
        for death in deaths:
            await rig.account(death.account)
            for fate in fates_of(death.point):
                if self._is_placed_before(death, fate):
                    death.orders[fate] = await self._reserve(death, fate)
                    resting.append(death.orders[fate])
        worker = rig.start(account=deaths[0].account)
        for order_id in resting:
            await rig.until_state(order_id, "LIVE")
        await worker.stop()
        for death in deaths:
            if "filled while away" in death.orders:
                await rig.fill_at_venue(death.market("filled while away"), cents=4)

    @staticmethod
    def _is_placed_before(death: Death, fate: str) -> bool:
        return death.point in CANCEL_PATH + STREAM or fate == "filled while away"

    async def _reserve(self, death: Death, fate: str) -> int:
        cents = CENTS_THAT_CROSS if fate == "matched" else CENTS_THAT_REST
        # wanted for longer than the whole campaign takes on a busy machine
        return await self.rig.reserve(
            death.market(fate), cents, account=death.account, valid_for_ms=600_000
        )

    async def _reserve_with_fault(self, death: Death) -> None:
        for fate in fates_of(death.point):
            if fate in death.orders:
                continue
            death.orders[fate] = await self._reserve(death, fate)
            fault = PLACED[fate.removesuffix(THEN_CANCELLED)]
            if fault is not None:
                await self.rig.fault("place", order_id=death.orders[fate], **fault)

    # --- the deaths -----------------------------------------------------------------------------

    async def _die(self, death: Death) -> None:
        async with self._two:
            if death.point in CANCEL_PATH:
                for fate, fault in CANCELLED.items():
                    if fault is not None:
                        await self.rig.fault("cancel", order_id=death.orders[fate], **fault)
                await self.rig.cancel(*death.orders.values())
            elif death.point not in STREAM:
                await self._reserve_with_fault(death)
            if death.point in START + EVIDENCE:
                # the start, or the search for proof, has something to do: another one died sending
                await self._dies_at("send.after", death)
                await self._cancel_some(death)
            await self._dies_at(death.point, death)
            await self._cancel_some(death)

    async def _dies_at(self, point: str, death: Death) -> None:
        worker = self.rig.start(stop_at=point, account=death.account, accounts=death.account)
        await worker.died()

    async def _cancel_some(self, death: Death) -> None:
        await self.rig.cancel(
            *(order_id for fate, order_id in death.orders.items() if THEN_CANCELLED in fate)
        )

    # --- and after them -------------------------------------------------------------------------

    async def _clean_start(self, state: dict[str, list[str]]) -> None:
        rig = self.rig
        before = await rig.incarnations()
        worker = rig.start(account="claim-after")
        incarnation = await rig.ready(before, worker)
        await rig.until_resolved()
        await rig.until_stream_is_read()
        # and time for every task of it to come round
        await rig.until(
            "SELECT seen_at > started_at + interval '3 s' FROM ledger.worker WHERE incarnation = $1",
            incarnation,
        )
        await worker.stop()
        state.update(await rig.state())

    async def _look(self) -> None:
        rig, outcome = self.rig, self.outcome
        for death in outcome.deaths.values():
            for order_id in death.orders.values():
                outcome.states[order_id] = (await rig.order(order_id))["state"]
                outcome.at_venue[order_id] = await rig.at_venue(order_id)
                outcome.timelines[order_id] = await rig.timeline(order_id)
        try:
            await rig.check_sound()
        except AssertionError as error:
            outcome.unsound = str(error)


@pytest.fixture(scope="module", name="outcome")
def _outcome(
    database_server: TestServer, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outcome]:
    """All deaths and both clean starts, once for the tests of this file."""
    folder: Path = tmp_path_factory.mktemp("crash-points")
    with empty_database(database_server, template_database) as database:

        async def campaign() -> Outcome:
            async with open_rig(database, folder) as rig:
                return await Campaign(rig).run()

        yield in_thread(lambda: asyncio.run(campaign()))


def test_every_point_has_a_scenario() -> None:
    mine = SEND_PATH + CANCEL_PATH + LOOK_UPS + EVIDENCE + STREAM + START
    assert sorted(mine) == sorted(POINTS)


@pytest.mark.parametrize(
    ("point", "fate"),
    [(point, fate) for point in POINTS for fate in fates_of(point)],
    ids=lambda text: text.replace(" ", "_"),
)
def test_a_death_ends_in_one_venue_order_or_a_proven_none(
    outcome: Outcome, point: str, fate: str
) -> None:
    order_id = outcome.deaths[point].orders[fate]
    state, found = outcome.states[order_id], outcome.at_venue[order_id]
    told = f"{state}, at the venue {found}\n{outcome.timelines[order_id]}"
    assert len(found) <= 1, told
    assert state in expected_states(point, fate), told
    if not found:
        assert state in ("NOT_PLACED", "REJECTED"), told
    else:
        known = {"LIVE": "LIVE", "FILLED": "MATCHED", "CANCELLED": "CANCELED"}
        assert found[0]["status"] == known.get(state), told


def expected_states(point: str, fate: str) -> tuple[str, ...]:
    if point in CANCEL_PATH:
        return ("CANCELLED",)
    if THEN_CANCELLED in fate:
        return ("CANCELLED", "NOT_PLACED")
    if fate in ("matched", "filled while away"):
        return ("FILLED",)
    if fate == "refused":
        # after a death the refusal may have been lost; then the same bytes go once more
        return ("REJECTED", "LIVE")
    return ("LIVE",)


def test_after_all_deaths_the_ledger_is_sound(outcome: Outcome) -> None:
    assert not outcome.unsound, outcome.unsound


def test_a_second_start_changes_nothing(outcome: Outcome) -> None:
    for table, rows in outcome.first.items():
        changed = sorted({*rows} ^ {*outcome.second[table]})
        assert changed == [], f"{table}:\n" + "\n".join(changed)

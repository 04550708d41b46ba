"""The simulator plays one seed always alike, finds what is planted, and finds nothing where nothing is planted."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from app.venue.interface import CancelAccepted, CancelOutcome
from proof.parts import Request
from proof.simulation import part, points, schedule
from proof.simulation.points import Points
from proof.simulation.postgres import PostgresStore
from proof.simulation.scenarios import SCENARIOS
from proof.simulation.schedule import Outcome
from proof.simulation.world import AFTER, BEFORE
from tests.support.servers import TestServer
from tests.support.simulated import simulated
from workers.worker.cancels import Cancels
from workers.worker.sending import Sender, Work, _sign


@pytest.fixture(name="store")
def _store(database_server: TestServer, template_database: str) -> Iterator[PostgresStore]:
    with simulated(database_server, template_database) as (store, _):
        yield store


def hunt(store: PostgresStore, scenarios: Sequence[str], seeds: range) -> list[str]:
    """The first violations that these seeds show."""
    for seed in seeds:
        for name in scenarios:
            outcome = schedule.run(store, seed, name)
            if outcome.violations:
                return outcome.violations
    return []


def told(outcome: Outcome) -> tuple[Any, ...]:
    return outcome.digest, outcome.lines, outcome.simulated_ms, outcome.figures, outcome.places


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_is_clean_and_one_seed_is_one_run(store: PostgresStore, name: str) -> None:
    first = schedule.run(store, 5, name, keep=True, checks=True)
    orders = store.query("SELECT * FROM ledger.orders ORDER BY order_id", ())
    again = schedule.run(store, 5, name, keep=True)

    assert first.violations == []
    assert first.steps > 20
    assert told(again) == told(first)
    assert store.query("SELECT * FROM ledger.orders ORDER BY order_id", ()) == orders
    assert len(orders) > 0


def test_other_seeds_are_other_schedules(store: PostgresStore) -> None:
    digests = {schedule.run(store, seed, "place").digest for seed in range(1, 6)}

    assert len(digests) == 5


def test_a_completion_without_fence_is_found(store: PostgresStore) -> None:
    unfence(store)

    assert hunt(store, ("takeover",), range(1, 40)) != []


def test_a_resend_with_other_bytes_is_found(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Sender.send

    async def send_other_bytes(self: Sender, account: str, claimed: Sequence[Work]) -> None:
        for work in claimed:
            if work["state"] == "UNKNOWN":
                key = self._context.host.key(account)
                assert key is not None
                signed = _sign(key, work | {"salt": work["salt"] + 1})
                work["body"] = base64.b64encode(signed.body_template).decode()
        await send(self, account, claimed)

    monkeypatch.setattr(Sender, "send", send_other_bytes)

    assert any("own:" in one for one in hunt(store, ("place", "takeover"), range(1, 40)))


def test_a_release_on_cancel_accepted_is_found(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Cancels._send

    async def believe(
        self: Cancels, account: str, way: str, ids: list[str]
    ) -> Sequence[CancelOutcome]:
        outcomes = await send(self, account, way, ids)
        accepted = [
            one for one, said in zip(ids, outcomes, strict=True) if isinstance(said, CancelAccepted)
        ]
        await self._context.calls.items(
            "observe_orders", [cancelled(account, one) for one in accepted]
        )
        return outcomes

    monkeypatch.setattr(Cancels, "_send", believe)

    assert hunt(store, ("partial",), range(1, 40)) != []


def test_each_crash_point_of_a_scenario_is_listed_and_struck(store: PostgresStore) -> None:
    found = Points("place")
    left = iter(range(12))
    for outcome in points.take(store, found, 1, lambda: next(left, None) is not None):
        assert outcome.violations == []

    existing, taken = found.names()
    assert "place:worker:open_attempt in sending._open:before" in existing
    assert "place:worker:sent POST /order:after" in existing
    assert "place:worker:answer to POST /order:before" in existing
    assert set(taken) <= set(existing)
    assert len(taken) >= 6


def test_a_kill_right_behind_the_bytes_leaves_one_order(store: PostgresStore) -> None:
    calm = schedule.run(store, 1, "place", strikes=())
    actor, nth = calm.places["worker:sent POST /order"]
    for when in (BEFORE, AFTER):
        strike = points.at("sent POST /order", when, actor, nth)
        outcome = schedule.run(store, 1, "place", strikes=(strike,))

        assert outcome.kills == (("worker:sent POST /order", when),)
        assert outcome.violations == []


def test_the_part_reports_what_it_did(tmp_path: Any) -> None:
    lines: list[str] = []
    share = part.run(
        Request(seed=1, seconds=4, short=True, workdir=tmp_path, only="place", report=lines.append)
    )

    assert share.violations == []
    assert share.figures["runs"] > 0
    assert share.hashes is not None
    assert share.hashes.stat().st_size % 8 == 0
    assert share.sets["scenarios"] == ["place"]


def cancelled(account: str, venue_order_id: str) -> dict[str, Any]:
    return {
        "took_ms": 0,
        "account": account,
        "venue_order_id": venue_order_id,
        "status": "CANCELLED",
        "raw_status": "CANCELED",
        "size_matched_micros": 0,
        "source": "read",
    }


def unfence(store: PostgresStore) -> None:
    """Take the check of attempt and incarnation out of the completions."""
    store.begin()
    [row] = store.query(
        "SELECT pg_get_functiondef(p.oid) AS text FROM pg_proc p WHERE p.proname = '_complete'", ()
    )
    fence = re.compile(
        r"AND attempt = ledger\._whole\(x -> 'attempt'\)\s+"
        r"AND incarnation = \(x ->> 'incarnation'\)::uuid AND outcome = 'open'"
    )
    text, times = fence.subn("AND attempt = o.attempts", row["text"])
    assert times == 1
    store.query(text, ())
    store.keep()

"""The SQL functions against a small model, one or two sessions at a time.

Every example is a run of random steps. After each step the database and the model agree on every
order, counter, balance, halt and replacement. Two steps at once, over two sessions, must end as one
of their two orders would. ``LEDGER_MODEL_EXAMPLES`` and ``LEDGER_MODEL_STEPS`` make it longer.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.support import standing_steps, steps
from tests.support.chooser import MARKETS, NUMBERS, Chooser
from tests.support.clock import START
from tests.support.database import TestDatabase
from tests.support.life import Life, empty_ledger, incarnation, token
from tests.support.model import (
    COLLATERAL,
    MARKET_CAP,
    OUTCOME_CAP,
    PER_MINUTE,
    TOKENS,
    Model,
    Order,
)
from tests.support.recount import differences
from tests.support.steps import Mismatch, Step

EXAMPLES = int(os.environ.get("LEDGER_MODEL_EXAMPLES", "60"))
STEPS = int(os.environ.get("LEDGER_MODEL_STEPS", "30"))

choices = st.lists(st.integers(0, 997), min_size=NUMBERS, max_size=NUMBERS)

# ---- what both sides say


async def seen(life: Life) -> dict[str, Any]:
    """The database's rows in the model's words."""
    orders = await life.conn.fetch(
        "SELECT o.order_id, o.state, o.size_micros, o.size_matched_micros, o.traded_micros, "
        "o.confirmed_micros, o.failed_micros, o.seen_at_venue, o.fate_open, o.attempts, "
        "o.cancel_asked_at IS NOT NULL, r.phase, r.shares_micros, r.awaiting_micros, r.held_micros, "
        "b.status, b.claimed_by, b.claim_no, "
        "(SELECT extract(epoch FROM c.next_at - $1) * 1000 FROM ledger.cancel_request c "
        " WHERE c.order_id = o.order_id AND c.status = 'due')::bigint "
        "FROM ledger.orders o JOIN ledger.reservation r USING (account_id, order_id) "
        "JOIN ledger.outbox b USING (account_id, order_id) ORDER BY o.order_id",
        START,
    )
    exposure = await life.conn.fetch(
        "SELECT m.slug, i, e.pending_buy[i], e.open_buy[i], e.awaiting_buy[i], e.provisional_buy[i], "
        "e.pending_sell[i], e.open_sell[i], e.awaiting_sell[i], e.provisional_sell[i], e.confirmed[i], "
        "coalesce(e.suspended_until > ledger.clock(), false) "
        "FROM ledger.exposure e JOIN ledger.market m USING (market_id), generate_series(1, 2) i"
    )
    rest = await life.conn.fetchrow(
        "SELECT (SELECT array_agg(DISTINCT concat_ws(' ', h.scope, (SELECT slug FROM ledger.market "
        "   WHERE h.scope = 'market' AND market_id::text = h.scope_id), split_part(h.why, ':', 1)) "
        '   COLLATE "C") FROM ledger.halt h WHERE cleared_at IS NULL) AS halts, '
        "(SELECT array_agg(state ORDER BY replacement_id) FROM ledger.replacement) AS replacements, "
        "(SELECT count(*) FROM ledger.journal WHERE event = 'INVARIANT_BREACH_HALT') AS breaches, "
        "(SELECT jsonb_object_agg(asset, jsonb_build_array(available, locked)) #>> '{}' "
        " FROM ledger.balance) AS balances"
    )
    by = {incarnation(n): n for n in (1, 2)}
    return {
        "orders": {row[0]: (*row[1:16], by.get(row[16]), *row[17:]) for row in map(tuple, orders)},
        "exposure": {(row[0], row[1] - 1): tuple(row)[2:] for row in exposure},
        "halts": sorted(rest["halts"] or []),
        "replacements": rest["replacements"] or [],
        "breaches": rest["breaches"],
        "balances": json.loads(rest["balances"]),
    }


def modelled(model: Model) -> dict[str, Any]:
    def order(o: Order) -> tuple[Any, ...]:
        return (
            o.state, o.size, o.read, o.traded, o.settled("confirmed"), o.settled("failed"), o.seen,
            o.fate_open, len(o.attempts), o.cancel_asked, o.phase, o.shares, o.awaiting, o.held,
            o.place, o.claimed_by, o.claim_no, o.cancel_at,
        )  # fmt: skip

    names = [
        f"{n}_{side}"
        for side in ("buy", "sell")
        for n in ("pending", "open", "awaiting", "provisional")
    ]
    exposure = {}
    for market in MARKETS:
        for i in (0, 1):
            c = model.counters(market, i)
            late = model.suspended.get(market, -1) > model.now
            exposure[market, i] = (*(c[n] for n in names), c["confirmed"], late)
    words = {"global": "global", "account": "account", "m1": "market m1", "m2": "market m2"}
    balances = {"collateral": [model.available(), model.locked()]}
    for market, i in exposure:
        locked = sum(o.held for o in model.of(market, i, "SELL"))
        balances[token(market, i)] = [model.available(market, i), locked]
    return {
        "orders": {o.order_id: order(o) for o in model.orders.values()},
        "exposure": exposure,
        "halts": sorted(f"{words[scope]} {why}" for scope, why in model.halts),
        "replacements": [r.state for r in model.replacements],
        "breaches": model.breaches,
        "balances": balances,
    }


def apart(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Where the two differ; a row that is not there yet is one of zeros."""
    wrong = []
    for name, value in wanted.items():
        if isinstance(value, dict):
            for key in value.keys() | found[name].keys():
                ours, theirs = value.get(key), found[name].get(key)
                nothing = theirs is None and name != "orders" and not any(ours or ())
                if ours != theirs and not nothing:
                    wrong.append(f"{name} {key}: model {ours}, database {theirs}")
        elif value != found[name]:
            wrong.append(f"{name}: model {value}, database {found[name]}")
    return wrong


# ---- the machine


class LedgerMachine(RuleBasedStateMachine):
    """One account, two markets, two starts of a worker, two sessions."""

    def __init__(self, runner: asyncio.Runner, life: Life, second: Life) -> None:
        super().__init__()
        self.runner, self.life, self.second = runner, life, second
        self.model = Model()
        self.runner.run(self.begin())

    async def begin(self) -> None:
        life = self.life
        await empty_ledger(life.conn)
        await life.clock.set(START)
        limits = {"max_outcome_micros": OUTCOME_CAP, "max_market_micros": MARKET_CAP,
                  "burst_per_minute": PER_MINUTE, "burst_gap_ms": None,
                  # what test_risk_properties holds against a model of its own
                  "self_match_allowed": "true", "breaker_rejects": 1_000, "breaker_cancels": 1_000,
                  "slow_ms": None, "stop_ms": None}  # fmt: skip
        for name, value in limits.items():
            await life.limit(name, value)
        await life.open_account(life.account, COLLATERAL)
        await life.add_market("m1", fee_rate_micros=20_000)
        await life.add_market("m2")
        await life.add_tokens(0, TOKENS)

    @rule(numbers=choices)
    def one(self, numbers: list[int]) -> None:
        self.runner.run(self.alone(Chooser(numbers, self.model).step()))

    @rule(numbers=choices)
    def one_more(self, numbers: list[int]) -> None:
        self.runner.run(self.alone(Chooser(numbers, self.model).step()))

    @rule(numbers=choices)
    def place(self, numbers: list[int]) -> None:
        """The whole way out at a stretch: by single steps few orders get far."""
        self.runner.run(self.way_out(Chooser(numbers, self.model), look_ups=False))

    @rule(numbers=choices)
    def resend(self, numbers: list[int]) -> None:
        """What is unknown is looked up and, where it is still wanted, sent again."""
        self.runner.run(self.way_out(Chooser(numbers, self.model), look_ups=True))

    async def way_out(self, chooser: Chooser, *, look_ups: bool) -> None:
        await self.alone(standing_steps.Wait(1_000) if look_ups else chooser.reserve())
        worker = chooser.of((1, 2))
        await self.alone(steps.Claim(worker, look_ups))
        for order in [o for o in self.model.orders.values() if o.claimed_by == worker]:
            if not order.signed:
                await self.alone(steps.Prepare(order.order_id, worker, order.claim_no))
            await self.alone(steps.Open(order.order_id, worker, order.claim_no))
            if order.state == "SENDING" and chooser.below(4):
                await self.alone(chooser.complete(order))

    @rule(first=choices, other=choices)
    def two_at_once(self, first: list[int], other: list[int]) -> None:
        both = [Chooser(numbers, self.model).step() for numbers in (first, other)]
        self.runner.run(self.together(*both))

    @rule(milliseconds=st.sampled_from((100, 1_000, 3_000, 10_000, 60_000, 135_000)))
    def wait(self, milliseconds: int) -> None:
        self.runner.run(self.alone(standing_steps.Wait(milliseconds)))

    async def alone(self, step: Step) -> None:
        answer = await step.perform(self.life)
        note(f"{step} -> {answer}")
        step.check(self.model, answer, raced=False)
        wrong = apart(await seen(self.life), modelled(self.model))
        assert not wrong, f"after {step}: " + "; ".join(wrong)

    async def together(self, first: Step, other: Step) -> None:
        """Both orders are tried on the model; the database must stand as one of them would."""
        answers = await asyncio.gather(
            first.perform(self.life), other.perform(self.second), return_exceptions=True
        )
        note(f"{first} beside {other} -> {answers}")
        for problem in answers:
            if isinstance(problem, BaseException):
                raise problem
        found = await seen(self.life)
        said = []
        for order in ((0, 1), (1, 0)):
            model = copy.deepcopy(self.model)
            try:
                for n in order:
                    (first, other)[n].check(model, answers[n], raced=True)
            except Mismatch as problem:
                said.append(str(problem))
                continue
            wrong = apart(found, modelled(model))
            if not wrong:
                self.model = model
                return
            said += wrong
        raise AssertionError(f"{first} beside {other}, answered {answers}: " + "; ".join(said))

    def teardown(self) -> None:
        assert self.runner.run(differences(self.life.conn)) == {}


@pytest.fixture(name="sessions")
def _sessions(module_database: TestDatabase) -> Iterator[tuple[asyncio.Runner, Life, Life]]:
    with asyncio.Runner() as runner:
        life = runner.run(Life.begin(module_database))
        second = life.on(runner.run(module_database.connect()))
        yield runner, life, second
        runner.run(life.conn.close())
        runner.run(second.conn.close())
        module_database._opened.clear()


def test_the_ledger_and_its_model_agree_after_every_step(
    sessions: tuple[asyncio.Runner, Life, Life],
) -> None:
    run_state_machine_as_test(
        lambda: LedgerMachine(*sessions),  # type: ignore[arg-type]
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
            print_blob=True,
            report_multiple_bugs=False,
        ),
    )

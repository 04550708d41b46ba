"""What the independent auditor is shown of a run with real processes: writers' files, the venue's journal, the views.

Turns are nanoseconds of the machine's wall clock, which nobody steps here: only workers see another one.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from app.venue.simulator.process import JOURNAL
from proof.auditor import Asked, judge
from proof.auditor.collect import nanoseconds, read_store, venue_of_store, views_of
from proof.auditor.interface import Answer as Told
from proof.auditor.interface import CancelAsked, LimitSet, MarketTerms, Moved, OrderAsked
from proof.live.ground import MOST_COST, WIDE
from proof.live.load import Plan
from workers.demo.records import Answer, Ask, read_record
from workers.demo.stage import MAIN, Stage

LEFT_OUT: Final = ("cancels_leave_at_once",)
"""While workers die all the time nobody can say from when on one was there to send a cancel."""


async def broken_invariants(
    stage: Stage, folder: Path, cancelled_all_ms: Sequence[int]
) -> list[str]:
    """What does not hold, in the auditor's words. Everything is at rest, the venue's process may run."""
    commands = read_store(folder / "venue" / JOURNAL)
    [address] = {one["acct"] for one in commands if one.get("acct")}
    views = await views_of(stage.url("auditor"), at_rest=True)
    asked = asked_of(stage, folder, cancelled_all_ms)
    return judge(asked, venue_of_store(commands, {address: MAIN}), views, without=LEFT_OUT)


def asked_of(stage: Stage, folder: Path, cancelled_all_ms: Sequence[int]) -> Asked:
    """Everything that was asked of the ledger since it was made."""
    asked = Asked(markets=markets_of(stage), limits=list(_LIMITS))
    asked.moved.append(Moved(0, MAIN, "collateral", int(stage.collateral) * 1_000_000))
    for path in sorted(folder.glob("writer-*.record.json")):
        plan = Plan.of(path.with_name(path.name.replace("record", "plan")).read_text("utf-8"))
        asked.orders += orders_of(*read_record(path), plan.name, by_client=not plan.by_sql)
    for path in sorted(folder.glob("writer-*.cancels")):
        for line in path.read_text("utf-8").splitlines():
            told: Mapping[str, int] = json.loads(line)
            at_ms = told["at_ms"]
            asked.cancels.append(
                CancelAsked(nanoseconds(at_ms), at_ms * 1000, MAIN, told["order_id"])
            )
    asked.cancels += [CancelAsked(nanoseconds(at), at * 1000, MAIN) for at in cancelled_all_ms]
    asked.orders.sort(key=lambda one: one.turn)
    asked.cancels.sort(key=lambda one: one.turn)
    return asked


_LIMITS: Final = (
    LimitSet(0, "max_outcome_micros", WIDE.outcome_micros),
    LimitSet(0, "max_market_micros", WIDE.market_micros),
    LimitSet(0, "max_cost_micros", MOST_COST, scope="live", subject=""),
)


def markets_of(stage: Stage) -> dict[str, MarketTerms]:
    return {
        one.condition_id: MarketTerms(
            one.condition_id,
            one.tokens,
            one.record.fee_rate_micros or 0,
            1 if one.record.fee_exponent is None else one.record.fee_exponent,
        )
        for one in stage.cast.markets
    }


def orders_of(
    asks: Sequence[Ask], answers: Sequence[Answer], actor: str, *, by_client: bool
) -> list[OrderAsked]:
    """One for each call: every answer had one, and so had a question whose asker was killed before it heard. The client
    asks again by itself after a lost connection: behind a replay through it there may be a call that was not heard.
    """
    questions: defaultdict[tuple[str, str], list[Ask]] = defaultdict(list)
    told: defaultdict[tuple[str, str], list[Answer]] = defaultdict(list)
    for ask in asks:
        questions[(ask.key, ask.via)].append(ask)
    for answer in answers:
        told[(answer.key, answer.via)].append(answer)
    found = []
    for name, mine in questions.items():
        ends = [ask.at_ms for ask in mine[1:]] + [None]
        for ask, end in zip(mine, ends, strict=True):
            heard = [
                one
                for one in told[name]
                if ask.at_ms <= one.at_ms and (end is None or one.at_ms < end)
            ]
            found += [_order(ask, one, actor) for one in heard]
            if not heard or (by_client and any(one.replay for one in heard)):
                found.append(_order(ask, None, actor))
    return found


def _order(ask: Ask, answer: Answer | None, actor: str) -> OrderAsked:
    told = None
    if answer is not None and answer.status != "failed":
        accepted = answer.status == "admitted"
        told = Told(
            accepted,
            answer.code or None,
            answer.order_id if accepted else None,
            answer.replay,
            answer.size_micros if accepted else None,
        )
    return OrderAsked(
        turn=nanoseconds(ask.at_ms),
        at_us=ask.at_ms * 1000,
        account=ask.account,
        key=ask.key,
        market=ask.market,
        outcome=int(ask.outcome),
        side=ask.side,
        price_micros=ask.price_micros,
        size_micros=ask.size_micros,
        order_type=ask.request["order_type"],
        kind=ask.request["order_class"],
        actor=actor,
        answered_turn=None if answer is None or told is None else nanoseconds(answer.at_ms),
        answer=told,
    )

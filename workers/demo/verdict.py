"""Counts and judges, from facts alone: pure, so that each kind of fault can be put in and must show.

What is *doubled* and what is *over a cap* is decided by the venue's own book and by what the writers
were told, never by the ledger's own counters. What is *lost* is decided by comparing the three.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workers.demo.doubles import find_doubled
from workers.demo.exposure import Pending, breaches
from workers.demo.facts import Facts, OrderRow, Problem
from workers.demo.losses import find_lost_fills, find_lost_orders
from workers.demo.records import Answer


@dataclass(frozen=True, slots=True)
class Verdict:
    """The counts. ``intents`` = ``refused`` + ``not_placed`` + ``rejected`` + ``placed``, and
    ``placed`` = ``filled`` + ``cancelled`` + ``expired`` + ``open``, as the venue's book says.
    """

    intents: int
    refused: int
    refused_by_reason: dict[str, int]
    not_placed: int
    not_placed_by_cause: dict[str, int]
    rejected: int
    placed: int
    filled: int
    cancelled: int
    expired: int
    open: int
    filled_in_part: int
    trades: int
    replays: int
    key_reused: int
    duplicates: int
    lost: int
    cap_breaches: int
    audit_ok: bool
    reconciled: str
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Nothing lost, doubled or over a cap; audit and reconcile clean; no surprise."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        names = (name for name in self.__slots__ if name != "problems")
        shown = {name: getattr(self, name) for name in names}
        return shown | {"ok": self.ok, "problems": [str(one) for one in self.problems]}


def judge(facts: Facts) -> Verdict:
    """The verdict on these facts."""
    admitted = _admissions(facts.answers)
    problems = [
        *find_doubled(facts, admitted),
        *find_lost_orders(facts, admitted),
        *find_lost_fills(facts),
        *_over_caps(facts, admitted),
        *_unanswered(facts),
        *_surroundings(facts),
    ]
    kinds = Counter(problem.kind for problem in problems)
    refused = _refusals(facts, admitted)
    book = [order for order in facts.book if order.status != "INVALID"]
    status = Counter(order.status for order in book)
    killed = {order.venue_order_id for order in facts.book if order.status == "INVALID"}
    causes = Counter(
        order.cause
        for order in facts.orders
        if order.state == "NOT_PLACED" and order.key in admitted
    )
    return Verdict(
        intents=len(facts.keys),
        refused=refused.total(),
        refused_by_reason=dict(sorted(refused.items())),
        not_placed=causes.total(),
        not_placed_by_cause=dict(sorted(causes.items())),
        rejected=sum(1 for one in facts.orders if one.key in admitted and _rejected(one, killed)),
        placed=len(book),
        filled=status["MATCHED"],
        cancelled=status["CANCELED"],
        expired=status["CANCELED_EXPIRED_ORDER"],
        open=status["LIVE"],
        filled_in_part=sum(1 for one in book if 0 < one.matched_micros < one.size_micros),
        trades=len(facts.trades),
        replays=sum(1 for answer in facts.answers if answer.replay),
        key_reused=sum(1 for answer in facts.answers if answer.code == "KEY_REUSED"),
        duplicates=kinds["doubled"],
        lost=kinds["lost"],
        cap_breaches=kinds["over a cap"],
        audit_ok=facts.audit_ok,
        reconciled=facts.reconciled,
        problems=tuple(problems),
    )


def _rejected(order: OrderRow, killed: set[str]) -> bool:
    return order.state == "REJECTED" or order.venue_order_id in killed


# --- what the writers were told -------------------------------------------------------------------


def _admissions(answers: tuple[Answer, ...]) -> dict[str, Answer]:
    """The first admission that was told for each key."""
    first: dict[str, Answer] = {}
    for answer in sorted(answers, key=lambda one: one.at_ms):
        if answer.status == "admitted" and answer.via != "reuse":
            first.setdefault(answer.key, answer)
    return first


def _refusals(facts: Facts, admitted: Mapping[str, Answer]) -> Counter[str]:
    """The last refusal of each key that was never admitted, by its code."""
    last: dict[str, str] = {}
    for answer in sorted(facts.answers, key=lambda one: one.at_ms):
        if answer.status == "refused" and answer.key not in admitted and answer.via != "reuse":
            last[answer.key] = answer.code
    return Counter(last.values())


def _unanswered(facts: Facts) -> list[Problem]:
    told = {answer.key for answer in facts.answers if answer.status != "asked"}
    return [
        Problem("unexpected", key, "no writer has an answer for it")
        for key in facts.keys
        if key not in told
    ]


# --- over a cap -----------------------------------------------------------------------------------


def _over_caps(facts: Facts, admitted: Mapping[str, Answer]) -> list[Problem]:
    """Over time, from the venue's events and from what was promised and had not arrived yet."""
    rows = {order.order_id: order for order in facts.orders}
    pending = []
    for answer in admitted.values():
        row = rows.get(answer.order_id)
        if row is not None and row.side == "BUY":
            ended = row.state_at_ms if row.ended and not row.at_venue else None
            pending.append(
                Pending(
                    answer.at_ms,
                    row.account,
                    row.token_id,
                    row.venue_order_id,
                    answer.size_micros,
                    ended,
                )
            )
    found = breaches(facts.moments, pending, facts.caps, facts.tokens)
    return [
        Problem("over a cap", f"{account} {market} {what}", f"{peak} of at most {cap} share micros")
        for account, market, what, peak, cap in found
    ]


# --- the rest -------------------------------------------------------------------------------------


def _surroundings(facts: Facts) -> list[Problem]:
    problems = [Problem("unexpected", "the course of the demo", one) for one in facts.unexpected]
    problems += [Problem("unsettled", what, str(n)) for what, n in facts.unsettled.items()]
    if not facts.audit_ok:
        problems.append(Problem("audit", "ledger", "a check found a difference"))
    if facts.reconciled != "clean":
        problems.append(Problem("reconcile", "ledger and venue", facts.reconciled))
    return problems

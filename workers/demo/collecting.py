"""Collects what the judgement rests on: the writers' files, the venue's own book, the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.db.connect import open_pool
from app.ledger.audit import AuditReport, audit
from app.ledger.calls import LedgerCalls
from workers.demo.course import Course
from workers.demo.exposure import Cap
from workers.demo.facts import Facts, OrderRow, Trade
from workers.demo.records import Answer, Ask, read_record
from workers.demo.script import Script
from workers.demo.stage import MAIN, SMALL, STRANGE, Stage
from workers.demo.venues import DemoVenue, statement


async def collect(
    stage: Stage,
    venue: DemoVenue,
    script: Script,
    course: Course,
    folder: Path,
    reconciled: str,
) -> tuple[Facts, AuditReport, Mapping[str, Any]]:
    """Everything, once nothing moves any more; and some counts that are only shown."""
    pool = await open_pool(stage.owner_url, role_hint="demo", max_size=2)
    auditor = await open_pool(stage.url("auditor"), role_hint="demo audit", max_size=1)
    try:
        calls = LedgerCalls(pool)
        report = await audit(LedgerCalls(auditor))
        asks, answers = _records(folder)
        theirs = await venue.facts(calls)
        halts = [
            f"a halt stands: {row['detail']}"
            for row in await calls.rows(statement("troubles"))
            if row["what"] == "halt"
        ]
        facts = Facts(
            keys=tuple(script.keys),
            asks=asks,
            answers=answers,
            orders=tuple(OrderRow(**row) for row in await calls.rows(statement("orders"))),
            fills=_fills(await calls.rows(statement("fills"))),
            book=theirs.book,
            trades=theirs.trades,
            moments=theirs.moments,
            caps=_caps(stage),
            tokens=_tokens(stage),
            audit_ok=report.ok,
            reconciled=reconciled,
            arrivals=theirs.arrivals,
            unsettled=dict(course.unsettled),
            unexpected=(*course.unexpected, *halts),
        )
        [shown] = await calls.rows(statement("unknown_orders"))
        if theirs.faults:
            shown = {**shown, "faults": theirs.faults}
        return facts, report, shown
    finally:
        pool.terminate()
        auditor.terminate()


def _records(folder: Path) -> tuple[tuple[Ask, ...], tuple[Answer, ...]]:
    asks: list[Ask] = []
    answers: list[Answer] = []
    for path in sorted(folder.glob("writer-*.record.json")):
        more_asks, more_answers = read_record(path)
        asks += more_asks
        answers += more_answers
    return tuple(asks), tuple(answers)


def _fills(rows: Sequence[Mapping[str, Any]]) -> tuple[Trade, ...]:
    return tuple(
        Trade(
            row["trade_id"],
            row["venue_order_id"] or "",
            row["size_micros"],
            row["price_micros"],
            row["settlement"].lower(),
        )
        for row in rows
    )


def _caps(stage: Stage) -> dict[tuple[str, str], Cap]:
    return {
        (account, market.condition_id): Cap(
            market.limits.outcome_micros, market.limits.market_micros
        )
        for account in (MAIN, SMALL, STRANGE)
        for market in stage.cast.markets
    }


def _tokens(stage: Stage) -> dict[str, tuple[str, str]]:
    return {
        token: (market.condition_id, str(outcome))
        for market in stage.cast.markets
        for outcome, token in enumerate(market.tokens)
    }

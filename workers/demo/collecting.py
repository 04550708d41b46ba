"""Collects what the judgement rests on: the writers' files, the venue's own book, then the ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.db.connect import open_pool
from app.ledger.audit import AuditReport, audit
from app.ledger.calls import LedgerCalls
from app.money import parse_micros
from app.venue.paper import PaperBook, PaperOrder
from workers.demo.conductor import statement
from workers.demo.course import Course
from workers.demo.exposure import Cap, VenueMoment
from workers.demo.facts import Facts, OrderRow, Trade
from workers.demo.records import Answer, Ask, read_record
from workers.demo.script import Script
from workers.demo.stage import MAIN, SMALL, STRANGE, Stage


async def collect(
    stage: Stage, script: Script, course: Course, folder: Path, reconciled: str
) -> tuple[Facts, AuditReport, Mapping[str, int]]:
    """Everything, once nothing moves any more; and some counts that are only shown."""
    pool = await open_pool(stage.owner_url, role_hint="demo", max_size=2)
    auditor = await open_pool(stage.url("auditor"), role_hint="demo audit", max_size=1)
    try:
        calls = LedgerCalls(pool)
        report = await audit(LedgerCalls(auditor))
        asks, answers = _records(folder)
        facts = Facts(
            keys=tuple(script.keys),
            asks=asks,
            answers=answers,
            orders=tuple(OrderRow(**row) for row in await calls.rows(statement("orders"))),
            fills=_trades(await calls.rows(statement("fills")), "settlement"),
            book=tuple(await _book(pool)),
            trades=_trades(await calls.rows(statement("venue_trades")), "status"),
            moments=_moments(await calls.rows(statement("venue_events"))),
            caps=_caps(stage),
            tokens=_tokens(stage),
            audit_ok=report.ok,
            reconciled=reconciled,
            unsettled=dict(course.unsettled),
            unexpected=tuple(course.unexpected),
        )
        [shown] = await calls.rows(statement("unknown_orders"))
        return facts, report, shown
    finally:
        pool.terminate()
        auditor.terminate()


async def _book(pool: Any) -> list[PaperOrder]:
    return await PaperBook(pool).all_orders()


def _records(folder: Path) -> tuple[tuple[Ask, ...], tuple[Answer, ...]]:
    asks: list[Ask] = []
    answers: list[Answer] = []
    for path in sorted(folder.glob("writer-*.record.json")):
        more_asks, more_answers = read_record(path)
        asks += more_asks
        answers += more_answers
    return tuple(asks), tuple(answers)


def _trades(rows: Sequence[Mapping[str, Any]], status: str) -> tuple[Trade, ...]:
    return tuple(
        Trade(
            row["trade_id"],
            row["venue_order_id"] or "",
            row["size_micros"],
            row["price_micros"],
            row[status].lower(),
        )
        for row in rows
    )


def _moments(rows: Sequence[Mapping[str, Any]]) -> tuple[VenueMoment, ...]:
    moments = []
    for row in rows:
        frame = json.loads(row["payload"])
        is_trade = frame["event_type"] == "trade"
        moments.append(
            VenueMoment(
                row["at_ms"],
                row["account"],
                frame["order_id"] if is_trade else frame["id"],
                frame["asset_id"],
                frame["side"],
                frame["status"],
                parse_micros(frame["size"] if is_trade else frame["original_size"], what="size"),
                0 if is_trade else parse_micros(frame["size_matched"], what="size_matched"),
                frame["id"] if is_trade else "",
            )
        )
    return tuple(moments)


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

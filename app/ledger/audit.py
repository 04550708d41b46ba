"""Recomputes every invariant from the rows, so that a claim of soundness rests on a comparison.

The checks are SQL functions of schema ``audit`` that repeat each formula independently of the
functions that keep the counters. They run market by market, each in one short snapshot, so that
an audit of a large ledger holds nothing open and may run beside the workers. The role auditor is
enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from app.ledger.calls import LedgerCalls

_LIST: Final = "SELECT name, scope, is_notice, meaning FROM audit.check_list()"
_SCOPES: Final = "SELECT account_id, account, market_id, market FROM audit.check_scopes()"
_MARKET: Final = "SELECT name, subject, expected, found FROM audit.check_market($1, $2)"
_ACCOUNT: Final = "SELECT name, subject, expected, found FROM audit.check_account($1)"
_LEDGER: Final = "SELECT name, subject, expected, found FROM audit.check_ledger()"


class Fetches(Protocol):
    """A connection or pool of the driver."""

    async def fetch(self, query: str, *args: Any) -> Any: ...


Progress = Callable[[int, int], None]
"""Called with the scopes done and the scopes in all."""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One difference: what is concerned, what the rows come to, and what stands there instead."""

    account: str
    """Name; empty for what belongs to no account."""
    market: str
    """Slug or condition id; empty for what belongs to no market."""
    subject: str
    expected: str
    found: str

    def to_json(self) -> dict[str, str]:
        return {
            "account": self.account,
            "market": self.market,
            "subject": self.subject,
            "expected": self.expected,
            "found": self.found,
        }

    def __str__(self) -> str:
        place = " ".join(word for word in (self.account, self.market) if word)
        where = f"{place}: {self.subject}" if place else self.subject
        return f"{where}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True, slots=True)
class AuditCheck:
    """One check over the whole ledger, with every row that fails it."""

    name: str
    meaning: str
    rows: tuple[AuditRow, ...]

    @property
    def ok(self) -> bool:
        return not self.rows

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "ok": self.ok, "rows": [row.to_json() for row in self.rows]}


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found. Notices need a look (old unknown orders, halts) and break no invariant."""

    checks: tuple[AuditCheck, ...]
    notices: tuple[AuditCheck, ...]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    @property
    def differences(self) -> tuple[tuple[str, AuditRow], ...]:
        """Every failing row with the name of its check."""
        return tuple((check.name, row) for check in self.checks for row in check.rows)

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "checks": [check.to_json() for check in self.checks],
            "notices": [notice.to_json() for notice in self.notices],
        }


async def audit(source: LedgerCalls | Fetches, progress: Progress | None = None) -> AuditReport:
    """Run all checks. ``source`` is connected as auditor, worker, risk or owner.

    One statement, hence one snapshot, per market and per account. Changes nothing. Raises
    `DatabaseProblem` through `LedgerCalls`, and the driver's own errors through a connection.
    """
    known = await _read(source, _LIST)
    found: dict[str, list[AuditRow]] = {check["name"]: [] for check in known}
    scopes = await _read(source, _SCOPES)
    for done, scope in enumerate(scopes, start=1):
        if scope["market_id"] is None:
            rows = await _read(source, _ACCOUNT, scope["account_id"])
        else:
            rows = await _read(source, _MARKET, scope["account_id"], scope["market_id"])
        _sort_in(found, rows, scope["account"], scope["market"] if scope["market_id"] else "")
        if progress is not None:
            progress(done, len(scopes))
    _sort_in(found, await _read(source, _LEDGER), "", "")
    checks = [
        (
            check["is_notice"],
            AuditCheck(check["name"], check["meaning"], tuple(found[check["name"]])),
        )
        for check in known
    ]
    return AuditReport(
        checks=tuple(check for is_notice, check in checks if not is_notice),
        notices=tuple(check for is_notice, check in checks if is_notice),
    )


async def _read(source: LedgerCalls | Fetches, query: str, *arguments: int) -> list[Any]:
    if isinstance(source, LedgerCalls):
        return await source.rows(query, *arguments)
    return list(await source.fetch(query, *arguments))


def _sort_in(found: dict[str, list[AuditRow]], rows: list[Any], account: str, market: str) -> None:
    for row in rows:
        found[row["name"]].append(
            AuditRow(account, market, row["subject"], row["expected"], row["found"])
        )

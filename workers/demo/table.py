"""What the demo shows: its progress while it runs, and the table at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.clock import Clock
from workers.demo.course import Course
from workers.demo.stage import Cast
from workers.demo.verdict import Verdict

CONDITIONS: Final = ("doubled", "lost", "over a cap")


def progress(clock: Clock) -> Callable[[str], None]:
    """Tells on standard error what is being done, with the seconds since the start."""
    console = Console(stderr=True, highlight=False)
    started_ns = clock.monotonic_ns()

    def tell(what: str) -> None:
        seconds = (clock.monotonic_ns() - started_ns) // 1_000_000_000
        console.print(Text(f"{seconds:3d} s  {what}"), soft_wrap=True)

    return tell


def show(verdict: Verdict, course: Course, cast: Cast, shown: Mapping[str, Any]) -> None:
    """The table, and what is wrong, if anything is."""
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    for name, value, note in _rows(verdict, course, cast, shown):
        bad = name in CONDITIONS and value != 0
        style = "bold red" if bad else "bold" if name and not name.startswith(" ") else ""
        table.add_row(Text(name, style=style), Text(str(value), style=style), Text(note))
    console.print(table)
    for problem in verdict.problems[:20]:
        console.print(Text(str(problem), style="red"), soft_wrap=True)
    if len(verdict.problems) > 20:
        console.print(Text(f"and {len(verdict.problems) - 20} more", style="red"))


def _rows(
    v: Verdict, course: Course, cast: Cast, shown: Mapping[str, Any]
) -> list[tuple[str, object, str]]:
    kills = ", ".join(course.worker_kills)
    rows: list[tuple[str, object, str]] = [
        ("asked", v.intents, f"in {len(cast.markets)} markets of {cast.source}"),
        ("refused", v.refused, ""),
    ]
    rows += [(f"  {code}", count, "") for code, count in v.refused_by_reason.items()]
    rows += [("not placed", v.not_placed, "admitted, and provably never at the venue")]
    rows += [(f"  {cause}", count, "") for cause, count in v.not_placed_by_cause.items()]
    return [
        *rows,
        ("rejected", v.rejected, "by the venue"),
        ("placed", v.placed, "by the venue's own book"),
        ("  filled", v.filled, f"{v.trades} fills in all"),
        ("  cancelled", v.cancelled, f"{v.filled_in_part} orders were filled in part"),
        ("  expired", v.expired, ""),
        ("  open", v.open, "left at the venue, far from the market"),
        ("replays", v.replays, "same key, same request: the first answer again"),
        ("keys reused", v.key_reused, "same key, another request: refused"),
        ("fate unknown", shown["unknown"], "for a while; each was resolved by evidence"),
        *_faults(shown.get("faults", {})),
        ("kills", len(course.worker_kills), f"of the worker: {kills}"),
        ("writer kills", course.writer_kills, "in the middle of a burst; started again"),
        ("doubled", v.duplicates, "counted in the venue's own book"),
        ("lost", v.lost, "orders and fills, on either side"),
        ("over a cap", v.cap_breaches, "at any moment"),
        ("reconcile", v.reconciled, ""),
        ("audit", "ok" if v.audit_ok else "RED", ""),
        ("seconds", shown["seconds"], f"seed {shown['seed']}"),
    ]


def _faults(struck: Mapping[str, int]) -> list[tuple[str, object, str]]:
    kinds = ", ".join(f"{name} {count}" for name, count in struck.items())
    return [("faults", sum(struck.values()), f"of the venue: {kinds}")] if struck else []

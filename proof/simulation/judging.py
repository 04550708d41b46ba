"""The verdict over a schedule that came to rest."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from proof.auditor import judge
from proof.auditor.interface import COLUMNS, VenueBook, Views

if TYPE_CHECKING:
    from proof.simulation.schedule import Stage


KNOWN: Final = {
    "cancel_claim_of_the_dead": re.compile(r"^cancels_leave_at_once: .*left after [3-5]\d{3} ms"),
}
"""What was found, written up and not yet mended: counted by name, and no violation of the run any more."""


def verdict(stage: Stage, *, checks: bool = False) -> list[str]:
    """Sentences of what is broken."""
    world = stage.world
    book = stage.venue.book()
    rows: dict[str, Any] = world.store.audit(tuple(COLUMNS))
    views = Views(rows=rows)
    stage.asked.outages = world.all_outages()
    stage.asked.ended = (world.turn, world.now_us)
    found = _minimal(stage, book, rows)
    found += _unknown(stage, judge(stage.asked, book, views))
    if checks:
        wrong = world.store.query("SELECT * FROM audit.checks() WHERE NOT is_notice", ())
        found += [f"audit: {dict(row)}" for row in wrong]
    return found


def _unknown(stage: Stage, sentences: list[str]) -> list[str]:
    left = []
    for one in sentences:
        name = next((name for name, said in KNOWN.items() if said.match(one)), None)
        if name is None:
            left.append(one)
        else:
            stage.world.figures[f"known_{name}"] = 1
    return left


def _minimal(stage: Stage, book: VenueBook, rows: dict[str, Any]) -> list[str]:
    """One venue order per intent, the same bytes each time, sent <= intended, nothing open at the end."""
    found = []
    by_id = {row["venue_order_id"]: row for row in rows["orders"] if row["venue_order_id"]}
    for one in book.orders:
        row = by_id.get(one.venue_order_id)
        if row is None:
            if not one.foreign:
                found.append(
                    f"own: {one.venue_order_id[:10]} is at the venue, and no intent explains it"
                )
        elif one.size_micros > row["size_micros"]:
            found.append(f"own: order {row['order_id']} was sent larger than intended")
    salts = [one.salt for one in book.orders]
    if len(set(salts)) != len(salts):
        found.append("own: two orders at the venue of one intent")
    bodies: dict[str, set[str]] = {}
    for got in book.received:
        if got.kind == "place" and got.venue_order_id:
            bodies.setdefault(got.salt, set()).add(got.digest)
    found += [
        f"own: salt {salt} came in {len(all_)} texts"
        for salt, all_ in bodies.items()
        if len(all_) > 1
    ]
    found += _ended_twice(rows["journal"])
    for row in rows["orders"]:
        if not row["ended"] and row["state"] != "LIVE":
            found.append(f"own: order {row['order_id']} is still {row['state']}")
    return found


def _ended_twice(journal: Sequence[Mapping[str, Any]]) -> list[str]:
    """An attempt ends once. Whoever comes to tell of it again is a zombie, and is refused (`REFUSED_COMPLETION`)."""
    ends: Counter[tuple[int, int]] = Counter()
    for row in journal:
        if row["attempt"] is not None and row["event"] not in ("OPEN", "REFUSED_COMPLETION"):
            ends[row["order_id"], row["attempt"]] += 1
    return [
        f"own: attempt {attempt} of order {order} ended {times} times"
        for (order, attempt), times in ends.items()
        if times > 1
    ]

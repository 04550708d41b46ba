"""What the demo needs of a venue: prices to begin with, misbehaviour, time that passes, its own book."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from app.ledger.calls import LedgerCalls
from app.venue.paper import PaperOrder
from workers.demo.exposure import VenueMoment
from workers.demo.facts import Trade
from workers.demo.script import Ground


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the demo waits, in seconds."""

    dies: float
    """Until a worker that is to die at a point has reached it."""
    settles: float
    """Until nothing moves any more, once nobody asks for anything."""


@dataclass(frozen=True, slots=True)
class VenueFacts:
    """The venue's own book: every order it ever took, our parts of its trades, and how it came to that."""

    book: tuple[PaperOrder, ...]
    trades: tuple[Trade, ...]
    moments: tuple[VenueMoment, ...]
    arrivals: Mapping[str, str] = field(default_factory=dict)
    """Every order id of which a copy arrived, taken or not, to what became of the copies."""
    faults: Mapping[str, int] = field(default_factory=dict)
    """What went wrong on order, and how often."""


class DemoVenue(Protocol):
    """A venue of the demo."""

    @property
    def patience(self) -> Patience: ...

    @property
    def reconciliations(self) -> int:
        """How often ledger and venue are compared at the end; the last one must be clean."""
        ...

    async def worker_env(self) -> dict[str, str]:
        """The settings of a worker, as the environment of a process of its own."""
        ...

    async def grounds(self) -> list[Ground]:
        """Open the markets' books and tell their best prices."""
        ...

    async def misbehave(self, number: int) -> None:
        """Order what is to go wrong from this round on."""
        ...

    async def behave(self) -> None:
        """No fault from now on; what has struck already goes on to its end."""
        ...

    async def let_time_pass(self) -> None:
        """A venue does not stop when a worker dies. Runs until it is cancelled."""
        ...

    async def unsettled(self, ledger: LedgerCalls) -> Sequence[tuple[str, int]]:
        """What still moves in ledger or venue, by name."""
        ...

    async def facts(self, ledger: LedgerCalls) -> VenueFacts:
        """Its own book, for the judgement."""
        ...

    async def aclose(self) -> None: ...


def statement(name: str) -> str:
    """The text of ``sql/<name>.sql``."""
    return (Path(__file__).resolve().parent / "sql" / f"{name}.sql").read_text("utf-8")

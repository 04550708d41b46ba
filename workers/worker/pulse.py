"""Tells the ledger how long ago something was last known to be alive, as old as it is.

What was told may stand still on its way to the database, and be carried out much later. Its age was right when
it left, and would make it fresh then. So the moment itself is told too, by the database's own clock: reckoned
from what that clock showed in an earlier answer, and from how much time has gone by here since.
"""

from __future__ import annotations

from app.ledger.calls import storable
from workers.worker.context import Context


class Pulse:
    """One pulse of one account, for the holder of its lease."""

    def __init__(self, context: Context, account: str, kind: str) -> None:
        self._context = context
        self._account = account
        self._kind = kind
        self._term: int | None = None
        self._shown: tuple[int, int] | None = None
        """The database's clock in its last answer (microseconds), and ours when that was here (nanoseconds):
        an answer that was long on its way makes what is reckoned from it older, never younger.
        """

    async def take(self, term: int) -> str:
        """From now on it is told under this term. The chain's id where it has one."""
        taken = await self._context.calls.value("take_pulse", self._account, self._kind, term)
        self._term = term
        self._note(taken["at_us"])
        return taken["chain_id"] or ""

    async def tell(
        self, since_ns: int, *, chain_id: str | None = None, problem: str | None = None
    ) -> bool:
        """Alive since that monotonic reading, or not, with the problem. False: another holder has taken over."""
        told = await self._context.calls.value(
            "beat_pulse",
            self._account,
            self._kind,
            self._term,
            storable(chain_id) if chain_id is not None else None,
            self._context.elapsed_ms(since_ns),
            storable(problem) if problem is not None else None,
            self._by_its_clock(since_ns),
        )
        self._note(told["at_us"])
        return bool(told["mine"])

    def _note(self, at_us: int) -> None:
        self._shown = (at_us, self._context.ports.clock.monotonic_ns())

    def _by_its_clock(self, since_ns: int) -> int | None:
        if self._shown is None:
            return None
        at_us, noted_ns = self._shown
        return at_us + (since_ns - noted_ns) // 1_000

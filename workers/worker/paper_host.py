"""Looks after the paper venue for a worker: its own database sessions, keys, markets and passing time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from app.clock import Ports, SeededRng
from app.config import Settings
from app.db.failures import translated
from app.ledger.calls import LedgerCalls
from app.money import parse_micros
from app.venue.interface import Found
from app.venue.matching import Rules
from app.venue.paper import PaperBook, PaperMarket, PaperVenue, order_hasher
from app.venue.polymarket.signing import SignatureType, Signer
from app.withdrawal.paper import PaperTreasury
from workers.statements import statement
from workers.worker.book_notes import NOTE_EVERY_MS, BookNotes, Noted, best_first
from workers.worker.context import AccountKey, Context, ExtraPass, ExtraRun

PACE_MS: Final = 200
FOLLOW_EVERY_MS: Final = 1_000
NOTED_PER_PASS: Final = 200
"""Books that are read in one pass; with more of them each has its turn."""


def paper_key(account: str) -> AccountKey:
    """The throw-away key of a paper account: the same in every process, worth nothing anywhere."""
    seed = int.from_bytes(hashlib.sha256(f"paper|{account}".encode()).digest(), "big")
    signer = Signer.ephemeral(SeededRng(seed).bits)
    return AccountKey(
        signer, signer.address, signer.address, SignatureType.EOA, owner=f"paper-{account}"
    )


class PaperHost:
    """A `Host` over the paper venue. ``pool`` must be the venue's own: its commits are never the ledger's."""

    def __init__(self, pool: Any, calls: LedgerCalls, ports: Ports, settings: Settings) -> None:
        self._calls = calls
        self._settings = settings
        self._neg_risk: set[str] = set()
        self._keys: dict[str, AccountKey] = {}
        self._treasury = PaperTreasury(pool, ports.clock)
        self._clock = ports.clock
        self._book = PaperBook(pool)
        self._followed: list[str] = []
        self._turn = 0
        settle_ms = settings.paper_settle_ms
        self.venue = PaperVenue(
            pool,
            ports,
            seed=settings.paper_seed,
            hash_body=order_hasher(self._neg_risk),
            rules=Rules(mine_after_ms=settle_ms // 2, confirm_after_ms=settle_ms - settle_ms // 2),
            find_market=self._find_market,
            poll_ms=settings.poll_ms,
        )

    def key(self, account: str) -> AccountKey:
        if account not in self._keys:
            self._keys[account] = paper_key(account)
        return self._keys[account]

    def treasury(self, account: str) -> PaperTreasury:
        """The same for every account: paper money leaves for nowhere."""
        return self._treasury

    def note_market(self, token_id: str, *, neg_risk: bool) -> None:
        if neg_risk:
            self._neg_risk.add(token_id)

    async def prepare(self, *, to_trade: bool) -> None:
        """Open the account, which anybody may on paper."""
        if not to_trade:
            return
        await self._calls.value(
            "open_paper_account",
            self._settings.account,
            parse_micros(self._settings.paper_collateral, what="LEDGER_PAPER_COLLATERAL"),
            self._settings.quarantine_ms,
        )

    async def preflight(self, account: str) -> str:
        """Always ready."""
        return ""

    async def listed_tokens(self, account: str) -> Found[Sequence[str]]:
        """None: only the ledger knows."""
        return Found([])

    def passes(self, context: Context) -> Sequence[ExtraPass]:
        notes = BookNotes(context)

        async def follow() -> bool:
            return await self.follow(context, notes)

        async def note() -> bool:
            return await self.note_books(notes)

        return (
            ("pace", self.pace, PACE_MS),
            ("followed", follow, FOLLOW_EVERY_MS),
            ("book notes", note, NOTE_EVERY_MS),
        )

    def runs(self, context: Context) -> Sequence[ExtraRun]:
        return ()

    async def aclose(self) -> None:
        """Nothing is held."""

    async def pace(self) -> bool:
        """Let the venue's own time pass. Whether anything moved."""
        rows = await self._calls.rows(
            "SELECT o.token_id FROM ledger.outcome o JOIN ledger.market m USING (market_id) WHERE m.neg_risk"
        )
        self._neg_risk.update(row["token_id"] for row in rows)
        return await self.venue.step() > 0

    async def follow(self, context: Context, notes: BookNotes) -> bool:
        """Whose books matter now. They are opened: a limit on prices may wait for one before the first order."""
        accounts = sorted(context.shared.known)
        rows = await self._calls.rows(statement("followed_markets"), accounts)
        followed = [row["token_id"] for row in rows]
        if fresh := sorted(set(followed) - set(self._followed)):
            await self.venue.open_books(fresh)
        self._followed = followed
        notes.keep(set(followed))
        return False

    async def note_books(self, notes: BookNotes) -> bool:
        """Give the ledger the books as they are now; its limits on prices judge by them."""
        if not self._followed:
            return False
        start = self._turn % len(self._followed)
        turn = self._followed[start : start + NOTED_PER_PASS]
        self._turn = start + len(turn)
        seen_ns = self._clock.monotonic_ns()
        with translated():
            depth = await self._book.depth(turn)
        await notes.note(
            Noted(token, best_first(bids, falling=True), best_first(asks, falling=False), seen_ns)
            for token, (bids, asks) in sorted(depth.items())
        )
        return False

    async def _find_market(self, token_id: str) -> PaperMarket | None:
        rows = await self._calls.rows(
            "SELECT m.condition_id, m.tick_micros, m.min_size_micros, m.fee_rate_micros, "
            "array_agg(o.token_id ORDER BY o.outcome) AS tokens "
            "FROM ledger.market m JOIN ledger.outcome o USING (market_id) "
            "WHERE m.market_id = (SELECT x.market_id FROM ledger.outcome x WHERE x.token_id = $1) "
            "AND m.tick_micros IS NOT NULL AND m.min_size_micros IS NOT NULL GROUP BY m.market_id",
            token_id,
        )
        if not rows:
            return None
        row = rows[0]
        return PaperMarket(
            row["condition_id"],
            tuple(row["tokens"]),
            row["tick_micros"],
            row["min_size_micros"],
            row["fee_rate_micros"],
        )

"""One writer under failover, a process of its own: asks without end, and with the same key until it is told.

Every question is on disk before it is put, and every answer before the next question, so that what was promised
outlives whatever becomes of the database. Told on standard input: ``go``, ``pause``, ``end``; says ``ready`` and
``paused``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import deque
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from app.clock import Ports, Rng, SeededRng
from app.errors import BadInput, Code, DatabaseProblem, LedgerError
from app.ledger import Admission, Intent, Ledger, Refusal
from app.observe import logs
from workers.demo.records import Answer, Ask, Record, read_record
from workers.demo.stage import MAIN
from workers.demo.writers import say

AT_ONCE: Final = 2
PAUSE_S: Final = (0.3, 0.9)
AGAIN_S: Final = 0.1
CENT: Final = 10_000
SELLS_PERCENT: Final = 12
STANDING: Final = 25
"""So many own orders stay where they are; older ones are cancelled, so that books and caps do not fill up."""


@dataclass(frozen=True, slots=True)
class Level:
    """One outcome that is traded: where its book stood at the beginning, in micros."""

    market: str
    outcome: int
    bid: int
    ask: int
    tick: int
    smallest: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a writer is given."""

    name: str
    seed: int
    levels: tuple[Level, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Plan:
        told = json.loads(text)
        return cls(told["name"], told["seed"], tuple(Level(**one) for one in told["levels"]))


def intent(plan: Plan, number: int, rng: Rng) -> Intent:
    """The next wish. In every other market orders rest, in the rest of them they meet the book at once: an account that
    did both in one place would mostly be refused for trading with itself.
    """
    place = rng.bits(32) % len(plan.levels)
    level = plan.levels[place]
    sells = rng.bits(32) % 100 < SELLS_PERCENT
    ticks = rng.bits(32) % 4
    wish = Intent(
        market=level.market,
        outcome=str(level.outcome),
        side="SELL" if sells else "BUY",
        price_micros=level.bid,
        size_micros=level.smallest + (0 if sells else rng.bits(32) % 100 * CENT),
        key=f"{plan.name}-{number}",
        account=MAIN,
        order_class="unwind" if sells else "entry",
    )
    if place % 2 == 0:
        base, away = (level.ask, ticks) if sells else (level.bid, -ticks)
        return replace(wish, price_micros=_priced(level, base, away))
    base, across = (level.bid, -3 - ticks) if sells else (level.ask, 2 + ticks)
    return replace(
        wish,
        price_micros=_priced(level, base, across),
        order_type="FAK" if sells and ticks else "GTC",
    )


def _priced(level: Level, base: int, ticks: int) -> int:
    return max(level.tick, min(1_000_000 - level.tick, base + ticks * level.tick))


class Writer:
    """Asks through one address until it is told to end."""

    def __init__(self, ledger: Ledger, plan: Plan, record: Record, first: int, rng: Rng) -> None:
        self._ledger = ledger
        self._plan = plan
        self._record = record
        self._number = first
        self._rng = rng
        self._clock = ledger.ports.clock
        self._going = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._busy = 0
        self._admitted: deque[tuple[int, Intent]] = deque()

    async def obey(self, commands: asyncio.StreamReader) -> None:
        """Until ``end``, or until nobody is left to tell."""
        tasks = [
            self._ledger.ports.tasks.spawn(self._ask_on(), name=f"ask {i}") for i in range(AT_ONCE)
        ]
        listening = self._ledger.ports.tasks.spawn(self._listen(commands), name="listen")
        done, _ = await asyncio.wait([listening, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in (listening, *tasks):
            task.cancel()
        for task in done:
            task.result()

    async def _listen(self, commands: asyncio.StreamReader) -> None:
        while (line := (await commands.readline()).decode().strip()) not in ("", "end"):
            if line == "go":
                self._going.set()
            else:
                self._going.clear()
                await self._idle.wait()
                say("paused")

    async def _ask_on(self) -> None:
        while True:
            await self._going.wait()
            self._busy += 1
            self._idle.clear()
            try:
                await self._one()
            finally:
                self._busy -= 1
                if not self._busy:
                    self._idle.set()
            await self._clock.sleep(self._rng.uniform(*PAUSE_S))

    async def _one(self) -> None:
        self._number += 1
        wish = intent(self._plan, self._number, self._rng)
        await self._ask(wish, "place")
        roll = self._rng.bits(32) % 100
        if self._admitted and roll < 10:
            await self._ask(self._admitted[roll % len(self._admitted)][1], "again")
        elif self._admitted and roll < 13:
            known = self._admitted[roll % len(self._admitted)][1]
            await self._ask(replace(known, size_micros=known.size_micros + CENT), "reuse")
        while len(self._admitted) > STANDING:
            await self._cancel(self._admitted.popleft()[0])

    async def _ask(self, wish: Intent, via: str) -> None:
        """Until the answer is an answer: a database that is away has told nothing."""
        self._record.write(_question(wish, via, self._clock.now_ms()))
        while True:
            try:
                answer = await self._ledger.try_reserve(wish)
            except DatabaseProblem as problem:
                self._write(wish.key, via, "failed", problem.code)
                await self._clock.sleep(AGAIN_S)
                continue
            break
        if isinstance(answer, Refusal):
            self._write(wish.key, via, "refused", answer.code)
            return
        self._write(wish.key, via, "admitted", admission=answer)
        if via == "place":
            self._admitted.append((answer.order_id, wish))

    async def _cancel(self, order_id: int) -> None:
        while True:
            try:
                await self._ledger.cancel(order_id, reason="made room")
            except DatabaseProblem:
                await self._clock.sleep(AGAIN_S)
            except BadInput:
                return  # there is no such order any more: the judgement says so, the load goes on
            else:
                return

    def _write(
        self,
        key: str,
        via: str,
        status: str,
        code: Code | None = None,
        admission: Admission | None = None,
    ) -> None:
        told = Answer(key, via, self._clock.now_ms(), status, code=code.value if code else "")
        if admission is not None:
            told = replace(
                told,
                order_id=admission.order_id,
                size_micros=admission.size_micros,
                replay=admission.replay,
            )
        self._record.write(told)


def _question(wish: Intent, via: str, at_ms: int) -> Ask:
    request: dict[str, Any] = {"order_type": wish.order_type, "order_class": wish.order_class}
    return Ask(
        wish.key,
        via,
        at_ms,
        MAIN,
        wish.market,
        wish.outcome,
        wish.side,
        wish.price_micros,
        wish.size_micros,
        request,
    )


async def run(plan: Plan, path: Path) -> int:
    """Returns the exit code."""
    ports = Ports.system()
    logs.configure(ports.clock, level="warning", style="json")
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    asks, _ = read_record(path)
    record = Record(path)
    url = os.environ["LEDGER_DATABASE_URL"]
    async with Ledger.open(url, account=MAIN, ports=ports, pool_size=3) as ledger:
        writer = Writer(ledger, plan, record, len(asks), SeededRng(plan.seed))
        say("ready")
        await writer.obey(commands)
    record.close()
    return 0


def main() -> int:
    """``python -m proof.failover.load PLAN RECORD``."""
    plan, record = map(Path, sys.argv[1:])
    try:
        return asyncio.run(run(Plan.of(plan.read_text("utf-8")), record))
    except LedgerError as error:
        sys.stderr.write(f"{error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())

"""One writer, a process of its own: asks without end, and with the same key until it is told.

Every question is on disk before it is put, and every answer before the next question, so that what was promised
outlives whatever becomes of the database. Killed and started again, it first asks once more whatever its record has no
answer to. Told on standard input: ``go``, ``pause``, ``end``; says ``ready`` and ``paused``.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol, TextIO

from app.clock import Ports, Rng, SeededRng
from app.db.connect import Pool, open_pool
from app.db.failures import translated
from app.errors import BadInput, Code, DatabaseProblem, LedgerError, Refused
from app.ledger import Admission, Intent, Ledger, Refusal
from app.ledger.answers import admission_of
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

POINTS: Final = (
    "ask.recorded",
    "answer.received",
    "answer.recorded",
    "cancel.asked",
    "resume.before",
    "resume.after",
)
"""Where ``PROOF_STOP_AT=answer.received:3`` ends a writer with SIGKILL."""

Reached = Callable[[str], None]


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
    pause_s: tuple[float, float] = PAUSE_S
    by_sql: bool = False
    """Through plain statements, and not through the client."""
    forgets: bool = False
    """A planted fault: asks anew, under another key, what it has no answer to."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Plan:
        told = json.loads(text)
        told["levels"] = tuple(Level(**one) for one in told["levels"])
        told["pause_s"] = tuple(told["pause_s"])
        return cls(**told)


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


class Door(Protocol):
    """The way to the ledger: `Ledger`, or plain SQL."""

    async def try_reserve(self, intent: Intent) -> Admission | Refusal: ...

    async def cancel(self, order_id: int, *, reason: str) -> object: ...


class BySql:
    """What a bot in any other language does: one statement for each wish, and the answer of its commit."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def try_reserve(self, intent: Intent) -> Admission | Refusal:
        return admission_of(await self._one("reserve_pending", intent.as_request(MAIN)))

    async def cancel(self, order_id: int, *, reason: str) -> object:
        return await self._one("request_cancel", {"order_id": order_id, "reason": reason})

    async def _one(self, function: str, item: dict[str, Any]) -> dict[str, Any]:
        with translated():
            async with self._pool.acquire() as connection:
                text = await connection.fetchval(
                    f"SELECT ledger.{function}($1::jsonb)", json.dumps([item])
                )
        answer: dict[str, Any] = json.loads(text)[0]
        return answer


class Writer:
    """Asks through one address until it is told to end. ``known``: what earlier lives wrote down."""

    def __init__(
        self,
        door: Door,
        ports: Ports,
        plan: Plan,
        record: Record,
        cancels: TextIO,
        known: tuple[Sequence[Ask], Sequence[Answer]],
        rng: Rng,
        reached: Reached,
    ) -> None:
        self._door = door
        self._tasks = ports.tasks
        self._plan = plan
        self._record = record
        self._cancels = cancels
        self._number = len(known[0])
        self._rng = rng
        self._reached = reached
        self._clock = ports.clock
        self._going = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._busy = 0
        self._open = open_questions(*known)
        self._admitted: deque[tuple[int, Intent]] = deque(standing(*known), maxlen=2 * STANDING)

    async def resume(self) -> None:
        """An answer to every question of an earlier life. It may have been admitted: the key tells."""
        self._reached("resume.before")
        for ask in self._open:
            wish = intent_of(ask)
            if self._plan.forgets:
                wish = replace(wish, key=f"{wish.key}-anew")
            await self._ask(wish, ask.via)
        self._reached("resume.after")

    async def obey(self, commands: asyncio.StreamReader) -> None:
        """Until ``end``, or until nobody is left to tell."""
        tasks = [self._tasks.spawn(self._ask_on(), name=f"ask {i}") for i in range(AT_ONCE)]
        listening = self._tasks.spawn(self._listen(commands), name="listen")
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
            await self._clock.sleep(self._rng.uniform(*self._plan.pause_s))

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
        self._record.write(_question(wish, via, self._clock.now_ms()))
        self._reached("ask.recorded")
        await self._until_told(wish, via)

    async def _until_told(self, wish: Intent, via: str) -> None:
        """Until the answer is an answer: a database that is away has told nothing."""
        while True:
            try:
                answer = await self._door.try_reserve(wish)
            except DatabaseProblem as problem:
                self._write(wish.key, via, "failed", problem.code)
                await self._clock.sleep(AGAIN_S)
                continue
            break
        self._reached("answer.received")
        if isinstance(answer, Refusal):
            self._write(wish.key, via, "refused", answer.code)
            return
        self._write(wish.key, via, "admitted", admission=answer)
        self._reached("answer.recorded")
        if via == "place":
            self._admitted.append((answer.order_id, wish))

    async def _cancel(self, order_id: int) -> None:
        self._cancels.write(
            json.dumps({"order_id": order_id, "at_ms": self._clock.now_ms()}) + "\n"
        )
        while True:
            try:
                await self._door.cancel(order_id, reason="made room")
            except DatabaseProblem:
                await self._clock.sleep(AGAIN_S)
            except (BadInput, Refused):
                return  # there is no such order any more: the judgement says so, the load goes on
            else:
                self._reached("cancel.asked")
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


def intent_of(ask: Ask) -> Intent:
    """The wish that was written down."""
    return Intent(
        market=ask.market,
        outcome=ask.outcome,
        side="SELL" if ask.side == "SELL" else "BUY",
        price_micros=ask.price_micros,
        size_micros=ask.size_micros,
        key=ask.key,
        account=ask.account,
        **ask.request,
    )


def open_questions(asks: Sequence[Ask], answers: Sequence[Answer]) -> list[Ask]:
    """What has no answer yet; a failure is none."""
    last = {(one.key, one.via): one.status for one in answers}
    found = {(one.key, one.via): one for one in asks}
    return [ask for name, ask in found.items() if last.get(name, "failed") == "failed"]


def standing(asks: Sequence[Ask], answers: Sequence[Answer]) -> list[tuple[int, Intent]]:
    """The youngest admitted orders with their wishes, as many as stay where they are."""
    wishes = {one.key: one for one in asks if one.via == "place"}
    admitted = {
        one.key: one.order_id
        for one in answers
        if one.status == "admitted" and one.via == "place" and one.key in wishes
    }
    return [(order_id, intent_of(wishes[key])) for key, order_id in admitted.items()][-STANDING:]


def cancels_of(record: Path) -> Path:
    """Where the writer with this record notes which orders it wants to be cancelled."""
    return record.with_name(record.name.removesuffix(".record.json") + ".cancels")


def from_environment() -> Reached:
    """Death at the point that the environment names, or nothing."""
    name, _, count = os.environ.get("PROOF_STOP_AT", "").partition(":")
    assert name in ("", *POINTS), name
    left = [int(count or "1")]

    def stop(point: str) -> None:
        if point == name:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return stop


@asynccontextmanager
async def door_of(plan: Plan, url: str, ports: Ports) -> AsyncIterator[Door]:
    """Open the plan's way to the ledger."""
    if not plan.by_sql:
        async with Ledger.open(url, account=MAIN, ports=ports, pool_size=3) as ledger:
            yield ledger
        return
    pool = await open_pool(url, role_hint="sql", max_size=3)
    try:
        yield BySql(pool)
    finally:
        pool.terminate()


async def run(plan: Plan, path: Path) -> int:
    """Returns the exit code."""
    ports = Ports.system()
    logs.configure(ports.clock, level="warning", style="json")
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    known = read_record(path)
    record = Record(path)
    # Of each life another: the same numbers again would ask under the same keys for the same things.
    rng = SeededRng(plan.seed * 1_000_003 + len(known[0]))
    url = os.environ["LEDGER_DATABASE_URL"]
    # A line at a time: what a cancel was asked for is in the file before it is asked.
    cancels = cancels_of(path).open("a", buffering=1, encoding="utf-8")
    async with door_of(plan, url, ports) as door:
        writer = Writer(door, ports, plan, record, cancels, known, rng, from_environment())
        await writer.resume()
        say("ready")
        await writer.obey(commands)
    record.close()
    cancels.close()
    return 0


def main() -> int:
    """``python -m proof.live.load PLAN RECORD``."""
    plan, record = map(Path, sys.argv[1:])
    try:
        return asyncio.run(run(Plan.of(plan.read_text("utf-8")), record))
    except LedgerError as error:
        sys.stderr.write(f"{error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())

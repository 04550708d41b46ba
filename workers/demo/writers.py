"""One writer of the demo, a process of its own: does its steps, writes down every answer it got.

It is told on standard input what to do (``go ROUND``, ``end``) and says on standard output how far it
is. It may be killed at any instruction and started again: it then does its last round once more, with
the same keys, and must be told the same.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from app.clock import Ports, Rng, SeededRng
from app.errors import Code, LedgerError, Refused
from app.gateway import DesiredOrder, Gateway
from app.ledger import Admission, Intent, Ledger, OrderView, Refusal
from app.observe import logs
from workers.demo.records import Answer, Ask, Record, read_record
from workers.demo.script import QUIET, Step, set_key
from workers.demo.stage import MAIN

AT_ONCE: Final = 3
HOLD_S: Final = 0.35
"""How long an evaluation holds its market after it placed its set: others meet it locked."""

REPLACED_WITHIN_S: Final = 20


class Writer:
    """Carries out the steps of one plan."""

    def __init__(
        self, ledger: Ledger, record: Record, known: tuple[list[Ask], list[Answer]], rng: Rng
    ) -> None:
        self._ledger = ledger
        self._gateway = Gateway(ledger, ttl_ms=3_000)
        self._record = record
        self._clock = ledger.ports.clock
        self._rng = rng
        asks, answers = known
        self._asked = {ask.key: ask for ask in asks if ask.via not in ("again", "reuse")}
        self._admitted = {one.key: one.order_id for one in answers if one.status == "admitted"}
        last = {one.key: one.status for one in answers if one.via == "replace"}
        self._waiting = {key for key, status in last.items() if status == "asked"}

    async def play(self, steps: list[Step]) -> None:
        """One round: the steps in small bursts, then keys again, keys reused, and cancels."""
        for start in range(0, len(steps), AT_ONCE):
            await asyncio.gather(*(self._do(step) for step in steps[start : start + AT_ONCE]))
            await self._clock.sleep(self._rng.uniform(0, 0.12))
        keys = [key for key in self._admitted if self._asked[key].via == "place"]
        for key in self._some(keys, 2):
            await self._place(Intent(**self._asked[key].request), "again")
        for key in self._some(keys, 1):
            request = self._asked[key].request
            other = request | {"size_micros": request["size_micros"] + 10_000}
            await self._place(Intent(**other), "reuse")
        await self._cancel_some()

    async def end(self) -> None:
        """What became of the replacements asked for."""
        deadline = self._clock.monotonic_ns() + REPLACED_WITHIN_S * 1_000_000_000
        while self._waiting and self._clock.monotonic_ns() < deadline:
            for key in sorted(self._waiting):
                await self._look_at_replacement(key)
            await self._clock.sleep(0.1)

    # --- steps ------------------------------------------------------------------------------------

    async def _do(self, step: Step) -> None:
        if step.do == "set":
            await self._set(step)
        elif step.do == "replace":
            await self._replace(step.intents[0])
        else:
            await self._place(Intent(**step.intents[0]), "place")

    async def _place(self, intent: Intent, via: str) -> None:
        self._write_ask(intent, via)
        self._write_answer(intent.key, via, await self._ledger.try_reserve(intent))

    async def _replace(self, wanted: dict[str, Any]) -> None:
        key = wanted["key"]
        if key in self._asked and self._asked[key].via == "place":
            await self._place(Intent(**self._asked[key].request), "place")
            return
        old_id, intent = await self._what_to_replace(key, wanted)
        if old_id is None:
            await self._place(intent, "place")
            return
        self._write_ask(intent, "replace", old_id)
        try:
            asked = await self._gateway.replace_order(old_id, intent)
        except Refused as refused:
            self._write_answer(key, "replace", Refusal(refused.code, refused.wrong))
            return
        self._waiting.add(key)
        self._write(Answer(key, "replace", self._clock.now_ms(), "asked", replay=asked.replay))

    async def _what_to_replace(self, key: str, wanted: dict[str, Any]) -> tuple[int | None, Intent]:
        """An own live order and what is wanted instead; the same as in an earlier life."""
        if key in self._asked:
            request = dict(self._asked[key].request)
            return request.pop("old_id"), Intent(**request)
        live = [one for one in await self._own_live() if one.side == "BUY"]
        for old in self._pick(live, 1):
            change = {
                "market": old.market,
                "outcome": str(old.outcome),
                "price_micros": old.price_micros,
                "size_micros": old.size_micros + 10_000 * self._roll(60),
            }
            return old.order_id, Intent(**wanted | change)
        return None, Intent(**wanted)

    async def _look_at_replacement(self, key: str) -> None:
        found = await self._ledger.find_by_key(key)
        if found is None or isinstance(found, OrderView) or found.state == "waiting":
            return
        self._waiting.discard(key)
        if found.new_order_id is None:
            self._write_answer(key, "replace", Refusal(Code(found.code), "see the journal"))
            return
        view = await self._ledger.order(found.new_order_id)
        admission = Admission(
            view.order_id, view.price_micros, view.size_micros, replay=False, clamped=False
        )
        self._write_answer(key, "replace", admission)

    async def _set(self, step: Step) -> None:
        wanted = [DesiredOrder(**one) for one in step.intents]
        keys = {set_key(step.revision, one): one for one in step.intents}
        for key, one in keys.items():
            self._write_ask(Intent(market=step.market, key=key, **one), "set")
        told: set[str] = set()
        try:
            async with self._gateway.evaluation(step.market) as evaluation:
                applied = await evaluation.set_desired_orders(
                    wanted,
                    tick_micros=step.tick_micros,
                    revision=step.revision,
                    min_size_micros=step.min_size_micros,
                    classes=("micro_hedge",),
                )
                await self._clock.sleep(HOLD_S)
        except Refused as refused:
            for key in keys:
                self._write_answer(key, "set", Refusal(refused.code, refused.wrong))
            return
        posted = {one.order_id: one.admission for one in applied.posted}
        for view in [*applied.kept, *await self._ledger.orders(list(posted))]:
            if view.key in keys:
                fresh = posted.get(view.order_id)
                replay = fresh is None or fresh.replay
                self._write_answer(
                    view.key,
                    "set",
                    Admission(
                        view.order_id,
                        view.price_micros,
                        view.size_micros,
                        replay=replay,
                        clamped=False,
                    ),
                )
                told.add(view.key)
        for desired, refusal in applied.refused:
            key = desired.intent(step.market, step.revision, origin="desired", strategy="").key
            if key in keys:
                self._write_answer(key, "set", refusal)
                told.add(key)
        for key in keys.keys() - told:
            # An order of an earlier set stands there already: ask for this one by itself.
            await self._place(Intent(market=step.market, key=key, **keys[key]), "place")

    async def _cancel_some(self) -> None:
        live = [one for one in await self._own_live() if QUIET not in one.key]
        quiet = [one for one in await self._own_live() if QUIET in one.key]
        for one in [*self._pick(live, 1), *self._pick(quiet, self._roll(5) // 4)]:
            await self._gateway.cancel_order(one.order_id, "the demo changed its mind")

    async def _own_live(self) -> list[OrderView]:
        standing = await self._ledger.orders(list(self._admitted.values()))
        return [one for one in standing if one.state == "LIVE" and not one.cancel_asked]

    # --- writing down -------------------------------------------------------------------------------

    def _write_ask(self, intent: Intent, via: str, old_id: int | None = None) -> None:
        request = {
            name: getattr(intent, name)
            for name in Intent.__slots__
            if name not in ("mutex_term", "set_id")
        }
        if old_id is not None:
            request["old_id"] = old_id
        ask = Ask(
            intent.key,
            via,
            self._clock.now_ms(),
            intent.account or MAIN,
            intent.market,
            intent.outcome,
            intent.side,
            intent.price_micros,
            intent.size_micros,
            request,
        )
        self._write(ask)
        if via not in ("again", "reuse"):
            self._asked[intent.key] = ask

    def _write_answer(self, key: str, via: str, answer: Admission | Refusal) -> None:
        at_ms = self._clock.now_ms()
        if isinstance(answer, Refusal):
            self._write(Answer(key, via, at_ms, "refused", code=answer.code.value))
            return
        self._write(
            Answer(
                key,
                via,
                at_ms,
                "admitted",
                order_id=answer.order_id,
                size_micros=answer.size_micros,
                replay=answer.replay,
            )
        )
        if via != "reuse":
            self._admitted[key] = answer.order_id

    def _write(self, entry: Ask | Answer) -> None:
        self._record.write(entry)
        if isinstance(entry, Answer):
            say("answered")

    def _pick(self, among: list[OrderView], count: int) -> list[OrderView]:
        return [among[self._roll(len(among))] for _ in range(min(count, len(among)))]

    def _some(self, among: list[str], count: int) -> list[str]:
        return [among[self._roll(len(among))] for _ in range(min(count, len(among)))]

    def _roll(self, below: int) -> int:
        return self._rng.bits(32) % below


def say(word: str) -> None:
    """To the demo, which reads our standard output."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


async def _commands() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def run(rounds: list[list[Step]], record_path: Path, seed: int) -> int:
    """Until told to end, or until nobody is left to tell. Returns the exit code."""
    ports = Ports.system()
    logs.configure(ports.clock, level="warning", style="json")
    commands = await _commands()
    record = Record(record_path)
    url = os.environ["LEDGER_DATABASE_URL"]
    async with Ledger.open(url, account=MAIN, ports=ports, pool_size=3) as ledger:
        writer = Writer(ledger, record, read_record(record_path), SeededRng(seed))
        say("ready")
        while line := (await commands.readline()).decode().split():
            if line[0] == "end":
                await writer.end()
                break
            await writer.play(rounds[int(line[1])])
            say(f"done {line[1]}")
    record.close()
    return 0


def main() -> int:
    """``python -m workers.demo.writers PLAN RECORD SEED``."""
    plan, record, seed = sys.argv[1:]
    rounds = [
        [Step(**step) for step in steps] for steps in json.loads(Path(plan).read_text("utf-8"))
    ]
    try:
        return asyncio.run(run(rounds, Path(record), int(seed)))
    except LedgerError as error:
        sys.stderr.write(f"{error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())

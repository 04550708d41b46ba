"""What the actors of a schedule set out to do: who starts, who asks for what, what the rest of the world does."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from app.errors import LedgerError
from app.gateway import DesiredOrder
from app.ledger.intents import Intent
from proof.simulation.actors import Bot, Worker
from proof.simulation.stage import SHARE, Place, places


class Set(Protocol):
    """What a scenario may arrange."""

    @property
    def chance(self) -> random.Random: ...

    def worker(self, number: int, *, after_ms: int = 0) -> Worker: ...

    def bot(self, number: int, script: Callable[[Bot], Awaitable[None]]) -> Bot: ...

    def operator(self, script: Callable[[Bot], Awaitable[None]]) -> Bot: ...

    def at(self, after_ms: float, deed: Callable[[], object]) -> None: ...

    def venue_does(self, deed: str, **arguments: Any) -> None: ...

    def cut_streams(self) -> None: ...

    def place_foreign(self) -> None: ...

    def transfer_faults(self, *kinds: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """One order as it was drawn: the same after every restart of its bot."""

    place: Place
    outcome: int
    side: str
    cents: int
    shares: int
    key: str
    options: dict[str, Any] = field(default_factory=dict)

    def intent(self) -> Intent:
        return Intent(
            market=self.place.condition_id,
            outcome=str(self.outcome),
            side=self.side,  # type: ignore[arg-type]
            price_micros=self.cents * 10_000,
            size_micros=self.shares * SHARE,
            key=self.key,
            **self.options,
        )


def _draw(
    scene: Set, name: str, *, cents: tuple[int, ...] = (30, 35, 38, 60, 62), **options: Any
) -> Wanted:
    chance = scene.chance
    return Wanted(
        places()[chance.randrange(2)],
        chance.randrange(2),
        "BUY",
        chance.choice(cents),
        chance.randrange(5, 25),
        name,
        options,
    )


async def _ask(bot: Bot, wanted: Wanted) -> int | None:
    """The order's id, or None where it was refused."""
    try:
        return (await bot.gateway.place_order_with_guards(wanted.intent())).order_id
    except LedgerError as error:
        if getattr(error, "code", "") in ("NOT_DURABLE", "DATABASE_UNREACHABLE"):
            raise
        return None


async def _settle(bot: Bot, *orders: int | None) -> None:
    """Wait a while for their ends; what takes longer goes on without the bot."""
    for one in orders:
        if one is None:
            continue
        try:
            await bot.ledger.settled(one, timeout_s=1.5)
        except TimeoutError:
            continue


def _sell_into(scene: Set, wanted: Wanted, after_ms: int, shares: int) -> None:
    """Somebody sells to our resting order."""
    token = wanted.place.tokens[wanted.outcome]
    price = f"0.{wanted.cents:02d}"
    scene.at(
        after_ms,
        lambda: scene.venue_does(
            "trade", token_id=token, side="SELL", price=price, size=str(shares)
        ),
    )


# --- the scenarios --------------------------------------------------------------------------------


def place(scene: Set) -> None:
    """Two bots place single orders."""
    scene.worker(1)
    for number in (1, 2):
        mine = [_draw(scene, f"place {number} {n}") for n in range(scene.chance.randrange(1, 4))]

        async def script(bot: Bot, mine: list[Wanted] = mine) -> None:
            ids = [await _ask(bot, one) for one in mine]
            await _settle(bot, *ids)

        scene.bot(number, script)


def batch(scene: Set) -> None:
    """A wanted set of orders, then another one, by way of the market mutex; a second bot wants the same market."""
    scene.worker(1)
    where = places()[scene.chance.randrange(2)]
    for number in (1, 2):
        sets = [
            [
                DesiredOrder(
                    outcome=str(scene.chance.randrange(2)),
                    side="BUY",
                    price_micros=scene.chance.choice((30, 33, 36, 39, 60)) * 10_000,
                    size_micros=scene.chance.randrange(5, 12) * SHARE,
                )
                for _ in range(scene.chance.randrange(2, 5))
            ]
            for _ in range(2)
        ]

        async def script(
            bot: Bot, sets: list[list[DesiredOrder]] = sets, where: Place = where
        ) -> None:
            for turn, wanted in enumerate(sets):
                revision = f"{bot.name} {turn}"
                try:
                    await bot.gateway.set_desired_orders(
                        where.condition_id, wanted, tick_micros=10_000, revision=revision
                    )
                except LedgerError as error:
                    if str(getattr(error, "code", "")) in ("NOT_DURABLE", "DATABASE_UNREACHABLE"):
                        raise
                await bot.sleep(700)

        scene.bot(number, script)


def partial(scene: Set) -> None:
    """A resting order is filled in parts while it stands, and its settlement may fail."""
    scene.worker(1)
    mine = _draw(scene, "partial", cents=(45, 48))
    other = _draw(scene, "partial other", cents=(45, 48))
    for one in (mine, other):
        for _ in range(scene.chance.randrange(1, 4)):
            _sell_into(scene, one, scene.chance.randrange(500, 5_000), scene.chance.randrange(1, 9))
    if scene.chance.random() < 0.3:
        scene.venue_does("fate", fate=scene.chance.choice(("FAIL", "RETRY")), after_ms=500)

    async def script(bot: Bot) -> None:
        order = await _ask(bot, mine if bot.name.endswith("1") else other)
        await _settle(bot, order)
        if order is not None and bot.name.endswith("1"):
            await bot.ledger.cancel(order)

    scene.bot(1, script)
    scene.bot(2, script)


def cancel(scene: Set) -> None:
    """Cancels that race with the send, with fills, and with each other."""
    scene.worker(1)
    orders = [_draw(scene, f"cancel {n}", cents=(35, 45)) for n in range(3)]
    waits = [scene.chance.choice((0, 5, 20, 100, 800)) for _ in orders]
    for one in orders[:2]:
        _sell_into(scene, one, scene.chance.randrange(300, 3_000), scene.chance.randrange(2, 30))

    async def script(bot: Bot) -> None:
        for one, wait in zip(orders, waits, strict=True):
            order = await _ask(bot, one)
            if order is not None:
                await bot.sleep(wait)
                await bot.ledger.cancel(order)

    async def sweep(bot: Bot) -> None:
        await bot.sleep(waits[0] * 3)
        await bot.ledger.cancel_all(reason="operator")

    scene.bot(1, script)
    scene.operator(sweep)


def replace(scene: Set) -> None:
    """An order is replaced while it may be filling."""
    scene.worker(1)
    first = _draw(scene, "replace first", cents=(45,))
    second = Wanted(
        first.place, first.outcome, "BUY", 46, scene.chance.randrange(5, 25), "replace second"
    )
    other = _draw(scene, "replace other")
    _sell_into(scene, first, scene.chance.randrange(200, 3_000), scene.chance.randrange(1, 12))
    wait = scene.chance.choice((0, 10, 300, 1_200))

    async def script(bot: Bot) -> None:
        order = await _ask(bot, first)
        if order is None:
            return
        await bot.sleep(wait)
        try:
            await bot.gateway.replace_order(order, second.intent())
            await bot.ledger.replaced(second.key, timeout_s=4)
        except TimeoutError:
            return
        except LedgerError as error:
            if str(getattr(error, "code", "")) in ("NOT_DURABLE", "DATABASE_UNREACHABLE"):
                raise

    async def beside(bot: Bot) -> None:
        await _settle(bot, await _ask(bot, other))

    scene.bot(1, script)
    scene.bot(2, beside)


def halt(scene: Set) -> None:
    """An operator halts a scope in the middle of everything, and resumes it later."""
    scene.worker(1)
    mine = [_draw(scene, f"halt {n}", cents=(35, 45, 60)) for n in range(4)]
    scope, subject = scene.chance.choice(
        (("global", ""), ("account", "main"), ("market", mine[0].place.condition_id))
    )
    when, long = scene.chance.randrange(0, 1_500), scene.chance.randrange(500, 3_000)
    _sell_into(scene, mine[0], when + 100, 4)

    async def script(bot: Bot) -> None:
        for one in mine:
            await _ask(bot, one)
            await bot.sleep(200)

    async def operate(bot: Bot) -> None:
        await bot.sleep(when)
        version = await bot.ledger.halt(scope, subject, "proof", by="operator")  # type: ignore[arg-type]
        await bot.sleep(long)
        await bot.calls.value("clear_halt", scope, subject, version, "proof", "operator")

    scene.bot(1, script)
    scene.operator(operate)


def withdraw(scene: Set) -> None:
    """Money is withdrawn while orders stand: they are drained first."""
    scene.worker(1)
    mine = [_draw(scene, f"withdraw {n}", cents=(35, 45)) for n in range(2)]
    kinds = [scene.chance.choice(("", "drop_answer", "lost", "late", "unread")) for _ in range(2)]
    scene.transfer_faults(*kinds)
    amount = scene.chance.randrange(10, 60) * SHARE

    async def script(bot: Bot) -> None:
        for one in mine:
            await _ask(bot, one)
            await bot.sleep(500)

    async def operate(bot: Bot) -> None:
        await bot.sleep(900)
        to = "0x" + "12" * 20
        await bot.calls.value(
            "start_withdrawal",
            "main",
            amount,
            to,
            "withdrawal 1",
            "proof",
            "operator",
            30_000,
            120_000,
        )

    scene.bot(1, script)
    scene.operator(operate)


def start(scene: Set) -> None:
    """Intents wait before the first worker comes up; it is stopped in order and another one starts."""
    first = scene.worker(1, after_ms=600)
    mine = [_draw(scene, f"start {n}") for n in range(3)]

    async def script(bot: Bot) -> None:
        for one in mine:
            await _ask(bot, one)
            await bot.sleep(scene.chance.randrange(50, 900))

    scene.bot(1, script)
    scene.at(scene.chance.randrange(1_500, 3_500), first.stop)
    scene.worker(2, after_ms=3_000)


def reconcile(scene: Set) -> None:
    """The stream tells nothing; orders fill and are cancelled behind our back; only comparisons can tell."""
    scene.worker(1)
    mine = [_draw(scene, f"reconcile {n}", cents=(45, 48)) for n in range(2)]
    scene.venue_does("fault", faults=[{"name": "frames_lost", "times": 0}])
    for one in mine:
        _sell_into(scene, one, scene.chance.randrange(800, 3_000), scene.chance.randrange(2, 30))
    if scene.chance.random() < 0.4:
        scene.at(3_000, lambda: scene.venue_does("cancel", address=""))

    async def script(bot: Bot) -> None:
        await _settle(bot, await _ask(bot, mine[0]), await _ask(bot, mine[1]))

    async def look(bot: Bot) -> None:
        await bot.sleep(2_500)
        await bot.ledger.standing_orders()

    scene.bot(1, script)
    scene.operator(look)


def stream(scene: Set) -> None:
    """The user stream is cut, repeats, swaps and loses frames while orders fill."""
    scene.worker(1)
    mine = [_draw(scene, f"stream {n}", cents=(45, 48, 60)) for n in range(3)]
    names = scene.chance.sample(
        ("frames_twice", "frames_swapped", "frames_lost", "stream_drop", "stream_silence"), 2
    )
    scene.venue_does("fault", faults=[{"name": name, "times": 0, "ppm": 300_000} for name in names])
    for one in mine:
        _sell_into(scene, one, scene.chance.randrange(300, 4_000), scene.chance.randrange(2, 12))
    scene.at(scene.chance.randrange(300, 4_000), scene.cut_streams)

    async def script(bot: Bot) -> None:
        for one in mine:
            await _ask(bot, one)
            await bot.sleep(300)

    async def beside(bot: Bot) -> None:
        await bot.sleep(600)
        await bot.ledger.cancel_all(mine[0].place.condition_id, reason="operator")

    scene.bot(1, script)
    scene.operator(beside)


def takeover(scene: Set) -> None:
    """Two workers at once: one dies or stands still, the other takes over, the first comes back as a zombie."""
    scene.worker(1)
    scene.worker(2, after_ms=scene.chance.choice((0, 300)))
    for number in (1, 2):
        mine = [_draw(scene, f"takeover {number} {n}") for n in range(3)]

        async def script(bot: Bot, mine: list[Wanted] = mine) -> None:
            ids = []
            for one in mine:
                ids.append(await _ask(bot, one))
                await bot.sleep(150)
            if ids[0] is not None:
                await bot.ledger.cancel(ids[0])

        scene.bot(number, script)


# --- the small ones -------------------------------------------------------------------------------


def one(scene: Set) -> None:
    """A single order, whatever befalls it."""
    scene.worker(1)
    mine = _draw(scene, "one")

    async def script(bot: Bot) -> None:
        await _settle(bot, await _ask(bot, mine))

    scene.bot(1, script)


def ended(scene: Set) -> None:
    """An order and its cancel."""
    scene.worker(1)
    mine, wait = _draw(scene, "ended", cents=(35, 45)), scene.chance.choice((0, 5, 20, 100, 400))

    async def script(bot: Bot) -> None:
        order = await _ask(bot, mine)
        if order is not None:
            await bot.sleep(wait)
            await bot.ledger.cancel(order)

    scene.bot(1, script)


def sold(scene: Set) -> None:
    """An order that rests is filled, in one part or in two."""
    scene.worker(1)
    mine = _draw(scene, "sold", cents=(45, 48))
    for _ in range(scene.chance.randrange(1, 3)):
        _sell_into(scene, mine, scene.chance.randrange(300, 1_500), scene.chance.randrange(2, 25))

    async def script(bot: Bot) -> None:
        await _settle(bot, await _ask(bot, mine))

    scene.bot(1, script)


def pair(scene: Set) -> None:
    """Two orders of one market behind one another, and an operator who cancels everything."""
    scene.worker(1)
    first = _draw(scene, "pair first", cents=(35, 45, 60))
    second = Wanted(first.place, first.outcome, "BUY", 33, first.shares, "pair second")
    wait = scene.chance.choice((100, 400, 900))

    async def script(bot: Bot) -> None:
        await _ask(bot, first)
        await _ask(bot, second)

    async def sweep(bot: Bot) -> None:
        await bot.sleep(wait)
        await bot.ledger.cancel_all(reason="operator")

    scene.bot(1, script)
    scene.operator(sweep)


SCENARIOS: Final[dict[str, Callable[[Set], None]]] = {
    made.__name__: made
    for made in (
        place, batch, partial, cancel, replace, halt, withdraw, start, reconcile, stream, takeover,
    )
}  # fmt: skip

SMALL: Final[dict[str, Callable[[Set], None]]] = {
    made.__name__: made for made in (one, ended, sold, pair)
}
"""One market, one order or two: cheap, for numbers. Crash points are counted in the others."""

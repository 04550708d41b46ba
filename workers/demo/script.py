"""What the writers ask in the demo: 400 intents in bursts that meet every limit. Pure, from a seed.

A step is one thing a writer does in a round; an intent is one idempotency key. Some steps belong to
two writers at once (the same key, the same request, racing), and some keys are asked again later,
with the same request and with another one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import gcd, lcm
from typing import Any, Final

from app.clock import Rng
from app.money import MICROS
from workers.demo.stage import MAIN, SMALL, STRANGE, DemoMarket

INTENTS: Final = 400
WRITERS: Final = 8
ROUNDS: Final = 8
SET_SIZE: Final = 4
SETS_IN_ROUND: Final = {2: 2, 4: 2, 6: 2, 7: 2}
"""Round, and how many desired sets are asked for in it, all for the same market."""

HALTED_MARKET: Final = 4
SUSPENDED_MARKET: Final = 6
HALT_IN: Final = 4
SUSPEND_IN: Final = 5
STAGED: Final = {
    HALTED_MARKET: (HALT_IN,),
    SUSPENDED_MARKET: (1, 3, SUSPEND_IN, 6),
    -1: (5, 6, 7),
}
"""Place of a market and the rounds in which it is asked for more than others: a market is halted for
a round, another is suspended, and the window of the last one ends."""

QUIET: Final = "quiet"
"""Word in the key of an order so far from the market that it never fills; left open at the end."""


@dataclass(frozen=True, slots=True)
class Ground:
    """A market as the script sees it: with the best prices of each outcome before the first order."""

    market: DemoMarket
    bids: tuple[int, int]
    asks: tuple[int, int]

    def price(self, base: int, ticks: int) -> int:
        """``base`` moved by ``ticks``, kept within what trades."""
        tick = self.market.tick_micros
        return max(tick, min(MICROS - tick, base + ticks * tick))


@dataclass(frozen=True, slots=True)
class Step:
    """``do``: place, replace (an own live order; placed if there is none), or set (a desired set)."""

    do: str
    intents: tuple[dict[str, Any], ...]
    """Fields of `app.ledger.Intent`, or of a `DesiredOrder` with its future key."""
    market: str = ""
    revision: str = ""
    tick_micros: int = 0
    min_size_micros: int = 0


@dataclass(slots=True)
class Script:
    """Steps by round and writer."""

    rounds: list[list[list[Step]]] = field(
        default_factory=lambda: [[[] for _ in range(WRITERS)] for _ in range(ROUNDS)]
    )
    keys: list[str] = field(default_factory=list)
    """Every key that is to be asked for, once."""
    twins: int = 0
    """Steps that two writers ask at the same time."""


def write(grounds: Sequence[Ground], rng: Rng, intents: int = INTENTS) -> Script:
    """The whole script: exactly ``intents`` keys."""
    return _Author(grounds, rng).write(intents)


class _Author:
    def __init__(self, grounds: Sequence[Ground], rng: Rng) -> None:
        self._grounds = grounds
        self._rng = rng
        self._script = Script()
        self._hot: list[Ground] = []
        self._bads = 0
        first: tuple[tuple[int, Callable[[Ground], tuple[str, dict[str, Any]]]], ...] = (
            (30, self._resting),
            (26, self._taking),
            (14, self._quiet),
            (5, self._at_once),
            (3, self._crossing_post_only),
            (4, self._hurried),
            (4, self._selling),
            (3, self._small_account),
            (9, self._bad),
        )
        self._early = first
        self._late = (*first, (10, self._selling), (9, self._replacing))

    def write(self, intents: int) -> Script:
        sets = sum(SETS_IN_ROUND.values()) * SET_SIZE
        singles = [(intents - sets) // ROUNDS] * ROUNDS
        singles[0] += intents - sets - sum(singles)
        for number, count in enumerate(singles):
            self._hot = [self._pick(self._grounds) for _ in range(5)] + self._staged(number)
            for i in range(count):
                self._single(number, i % WRITERS)
            for i in range(SETS_IN_ROUND.get(number, 0)):
                self._set(number, (number + i) % WRITERS, i)
        return self._script

    def _staged(self, number: int) -> list[Ground]:
        """Markets to which something is done in this round."""
        places = [place for place, rounds in STAGED.items() if number in rounds]
        # Asked for beside a set only once: elsewhere the set itself is to fill the minute.
        places += [_place_of_sets(number)] if number == max(SETS_IN_ROUND) else []
        return [self._grounds[place % len(self._grounds)] for place in places]

    # --- single intents ---------------------------------------------------------------------------

    def _single(self, number: int, writer: int) -> None:
        ground = self._pick(self._hot if self._roll(100) < 55 else self._grounds)
        kinds = self._late if number >= 3 else self._early
        at = self._roll(sum(weight for weight, _ in kinds))
        make = kinds[-1][1]
        for weight, kind in kinds:
            if at < weight:
                make = kind
                break
            at -= weight
        word, wanted = make(ground)
        key = f"r{number}-w{writer}-{len(self._script.keys):03d}-{word}"
        step = Step("replace" if word == "replace" else "place", ({"key": key} | wanted,))
        self._script.keys.append(key)
        self._script.rounds[number][writer].append(step)
        if step.do == "place" and self._roll(100) < 8:
            twin = (writer + 1 + self._roll(WRITERS - 1)) % WRITERS
            self._script.rounds[number][twin].append(step)
            self._script.twins += 1

    def _buy(self, ground: Ground, price: int, outcome: int, **more: Any) -> dict[str, Any]:
        return {
            "account": MAIN,
            "market": ground.market.condition_id,
            "outcome": str(outcome),
            "side": "BUY",
            "price_micros": price,
            "size_micros": self._size(ground),
        } | more

    def _resting(self, ground: Ground) -> tuple[str, dict[str, Any]]:
        at = self._roll(2)
        price = ground.price(ground.bids[at], -self._roll(3))
        return "rest", self._buy(ground, price, at, post_only=self._roll(4) == 0)

    def _taking(self, ground: Ground) -> tuple[str, dict[str, Any]]:
        at = self._roll(2)
        return "take", self._buy(ground, ground.price(ground.asks[at], 2 + self._roll(4)), at)

    def _quiet(self, ground: Ground) -> tuple[str, dict[str, Any]]:
        at = self._roll(2)
        price = ground.price(ground.bids[at], -18 - self._roll(3))
        return QUIET, self._buy(ground, price, at, valid_for_ms=60_000)

    def _at_once(self, ground: Ground) -> tuple[str, dict[str, Any]]:
        at = self._roll(2)
        kind = ("FOK", "FAK")[self._roll(2)]
        ticks = (-30, 4)[self._roll(2)]
        price = ground.price(ground.asks[at], ticks)
        size = _whole_cents(price, self._size(ground))
        return kind.lower(), self._buy(ground, price, at, order_type=kind, size_micros=size)

    def _crossing_post_only(self, ground: Ground) -> tuple[str, dict[str, Any]]:
        at = self._roll(2)
        price = ground.price(ground.asks[at], 8)
        return "cross", self._buy(ground, price, at, post_only=True)

    def _hurried(self, ground: Ground) -> tuple[str, dict[str, Any]]:
        """Wanted for a moment only: not sent late, and given up while its fate is unknown."""
        at = self._roll(2)
        price = ground.price(ground.bids[at], -2)
        return "hurry", self._buy(ground, price, at, valid_for_ms=(1, 150, 900)[self._roll(3)])

    def _selling(self, ground: Ground) -> tuple[str, dict[str, Any]]:
        at = self._roll(2)
        price = ground.price(ground.bids[at], -3 - self._roll(3))
        size = ground.market.min_size_micros
        return "sell", self._buy(
            ground, price, at, side="SELL", size_micros=size, order_class="unwind"
        )

    def _small_account(self, ground: Ground) -> tuple[str, dict[str, Any]]:
        account = (SMALL, SMALL, STRANGE)[self._roll(3)]
        return account, self._buy(ground, ground.price(ground.bids[0], 0), 0, account=account)

    def _bad(self, ground: Ground) -> tuple[str, dict[str, Any]]:
        good = self._buy(ground, ground.price(ground.bids[0], 0), 0)
        tick, unit = ground.market.tick_micros, ground.market.min_size_micros
        changes: tuple[tuple[str, dict[str, Any]], ...] = (
            ("offtick", {"price_micros": good["price_micros"] + tick // 2}),
            ("price0", {"price_micros": 0}),
            ("price1", {"price_micros": MICROS}),
            ("size0", {"size_micros": 0}),
            ("sizeneg", {"size_micros": -unit}),
            ("sizehuge", {"size_micros": 10**17}),
            ("tiny", {"size_micros": 10_000}),
            ("oddcost", {"order_type": "FOK", "size_micros": unit + 10_000}),
            ("nomarket", {"market": "0x" + "00" * 32}),
            ("nooutcome", {"outcome": "Maybe"}),
            ("noaccount", {"account": "nobody"}),
            ("nevervalid", {"valid_for_ms": 0}),
        )
        word, change = changes[self._bads % len(changes)]
        self._bads += 1
        return word, good | change

    def _replacing(self, ground: Ground) -> tuple[str, dict[str, Any]]:
        at = self._roll(2)
        return "replace", self._buy(ground, ground.price(ground.bids[at], -4), at)

    # --- desired sets -----------------------------------------------------------------------------

    def _set(self, number: int, writer: int, place: int) -> None:
        # All sets of a round want the same market: whoever comes second finds it locked.
        ground = self._grounds[_place_of_sets(number) % len(self._grounds)]
        revision = f"r{number}-w{writer}-set{place}"
        intents = tuple(
            {
                "outcome": str(i % 2),
                "side": "BUY",
                # At the floor of the market too each has a level of its own: two wanted orders on one
                # level are one order, under a key that nobody here wrote down.
                "price_micros": max(
                    ground.price(ground.bids[i % 2], -16 - 3 * place - i),
                    ground.market.tick_micros * (SET_SIZE - i),
                ),
                "size_micros": ground.market.min_size_micros + (number + i) * 10_000,
                "order_class": "micro_hedge",
            }
            for i in range(SET_SIZE)
        )
        market = ground.market
        self._script.keys += [set_key(revision, one) for one in intents]
        step = Step(
            "set",
            intents,
            market.condition_id,
            revision,
            market.tick_micros,
            market.min_size_micros,
        )
        self._script.rounds[number][writer].insert(0, step)

    # --- chance -------------------------------------------------------------------------------------

    def _size(self, ground: Ground) -> int:
        """One to two and a half times the smallest order, in hundredths of a share."""
        unit = ground.market.min_size_micros
        return (unit + unit * self._roll(150) // 100) // 10_000 * 10_000

    def _pick(self, among: Sequence[Ground]) -> Ground:
        return among[self._roll(len(among))]

    def _roll(self, below: int) -> int:
        return self._rng.bits(48) % below


def _whole_cents(price_micros: int, size_micros: int) -> int:
    """The next size whose cost has two decimals, as an order that never rests must have."""
    step = MICROS * 10_000 // gcd(price_micros, MICROS * 10_000)
    return -(-size_micros // lcm(step, 10_000)) * lcm(step, 10_000)


def _place_of_sets(number: int) -> int:
    """A market with the narrow limiter, and in a later round the same one again: its minute is full then."""
    return number * 5 + 2


def set_key(revision: str, wanted: dict[str, Any]) -> str:
    """The key that the gateway gives to an order of a set: revision, class, outcome, side, price,
    type.
    """
    words = (
        revision,
        wanted["order_class"],
        wanted["outcome"],
        wanted["side"],
        wanted["price_micros"],
        "GTC",
    )
    return ":".join(map(str, words))

"""Headers of an answer: how long to wait, what is left of the budget, when the venue answered."""

from __future__ import annotations

from typing import Final

from app.venue.polymarket import answers
from app.venue.polymarket.answers.pacing import MOST_WAIT_MS, answered_at_ms
from app.venue.polymarket.asking import judge
from app.venue.polymarket.wire import Endpoint, Exchange, Phase
from proof.fuzzing.answers import STATUSES, whole
from proof.fuzzing.bending import ODD_NUMBERS, ODD_TEXTS, bent, encoded
from proof.fuzzing.model import Random, Target, require, steady

_NAMES: Final = (
    "retry-after", "date", "content-type", "content-length", "poly-ratelimit-remaining", "poly-ratelimit-reset",
    "poly-ratelimit-tier", "poly-ratelimit-warning",
)  # fmt: skip
_DATES: Final = (
    "Tue, 17 Nov 2026 10:00:00 GMT", "Tuesday, 17-Nov-26 10:00:00 GMT", "Tue Nov 17 10:00:00 2026",
    "Tue, 17 Nov 2026 10:00:00 +2500", "Tue, 99 Nov 2026 10:00:00 GMT", "Tue, 17 Nov 99999 10:00:00 GMT",
    "Mon, 01 Jan 0001 00:00:00 +2359", "Fri, 31 Dec 9999 23:59:59 -2359", "17 Nov 2026",
    "Tue, 17 Nov 2026 25:61:61 GMT",
    "Tue, 17 Nov 2026 10:00:00", "0", ",,,", "Tue,", "(", "Tue, 17 Nov 2026 10:00:00 GMT" * 9,
)  # fmt: skip


def make(rng: Random) -> Exchange:
    given = {}
    for name in rng.sample(_NAMES, rng.randrange(1, 5)):
        given[name] = _value(rng, name)
    body = bent(
        rng,
        {"error": "slow down", "retry_after_seconds": rng.choice((1, "1.5", 10**20))},
        rng.randrange(2),
    )
    phase = rng.choice((Phase.DONE, Phase.DONE, Phase.DONE, Phase.READING, Phase.SENDING))
    endpoint = rng.choice(
        (Endpoint.POST_ORDER, Endpoint.DELETE_ORDERS, Endpoint.GET_ORDERS, Endpoint.GET_GEOBLOCK)
    )
    return Exchange(endpoint, phase, rng.choice(STATUSES), given, encoded(rng, body))


def _value(rng: Random, name: str) -> str:
    roll = rng.random()
    if name == "date" or roll < 0.3:
        text = rng.choice(_DATES)
    elif roll < 0.6:
        text = rng.choice(ODD_NUMBERS)
    elif roll < 0.75:
        text = rng.choice(
            (
                "text/html",
                "application/json",
                "gold",
                "true",
                "1794909600",
                "1794909600.5",
                "0.0001",
                "120",
            )
        )
    else:
        text = rng.choice(ODD_TEXTS)
    if rng.random() < 0.2 and text:
        at = rng.randrange(len(text))
        text = (
            text[:at]
            + rng.choice((" ", "-", "9", "\t", ",", "é", ""))
            + text[at + rng.randrange(2) :]
        )
    return text


def check(given: Exchange) -> str:
    wait = answers.stated_wait_ms(given, {"retry_after_seconds": given.headers.get("retry-after")})
    if wait is not None:
        whole(wait, 0, MOST_WAIT_MS, "the time to wait")
    budget = answers.budget_of(given)
    if budget is not None:
        for part in (budget.remaining, budget.reset_ms):
            require(
                part is None or type(part) is int, "misread", "a budget that is no whole number"
            )
        require(len(budget.tier) <= 1_000, "misread", "a tier without bound")
    at_ms = answered_at_ms(given)
    require(at_ms is None or type(at_ms) is int, "misread", "a time that is no whole number")
    mode = answers.mode_of(given)
    if mode is not None:
        require(given.phase in (Phase.DONE, Phase.READING), "misread", "a mode shown by no answer")
        require(
            mode.for_ms is None or 0 <= mode.for_ms <= MOST_WAIT_MS,
            "misread",
            "a mode of another length",
        )
    verdict = judge(given)
    require(verdict.wait_ms >= 0, "misread", "a wait before now")
    if given.phase is not Phase.DONE:
        require(not verdict.ok, "misread", "no answer was taken for service")
    return f"wait {'no' if wait is None else 'yes'}, mode {mode.mode if mode else 'none'}"


TARGETS: Final = (Target("headers", make, steady(check), weight=1.0),)

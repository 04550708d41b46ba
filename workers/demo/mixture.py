"""Which faults of the simulated venue strike in a demo, and when: a function of the seed. Pure.

Most strike by chance, all the time, each on its own. What shuts a venue for a while comes once, in a
round of its own, or the demo would show little else. Left out is what only a person may end (another order's
id in an answer halts the account): nothing would trade after it.
"""

from __future__ import annotations

from typing import Any, Final

from app.clock import Rng
from app.venue.simulator.faults import CATALOGUE

Rule = dict[str, Any]

LEFT_OUT: Final = ("wrong_id",)

PER_MILLE: Final = 20
"""Of all requests that a fault could meet. A placement can meet about thirty of them."""

READS_LESS: Final = 8
"""So much rarer is on a read what may strike anything: a worker is ready only after some dozen of reads
in a row were clean, and it is to trade for the better part of the demo.
"""

LATE_MS: Final = 900
"""Well within the quarantine: what arrives after it is beyond what any ledger can promise."""

_PARAMS: Final[dict[str, Rule]] = {
    "hang": {"ms": 1_500},
    "appear_late": {"ms": LATE_MS},
    "delayed": {"ms": 1_500},
    "settle_fail": {"after_ms": 700},
    "settle_retry": {"after_ms": 700},
    "market_not_ready": {"ms": 800},
    "slow_head": {"ms": 400},
    "slow_body": {"chunk": 64, "ms": 10},
    "stream_silence": {"ms": 1_500},
    "engine_restart": {"for_ms": 1_500, "post_only_ms": 2_000},
    "cancel_only": {"for_ms": 2_000},
    "disabled": {"for_ms": 2_000},
}
"""A demo has no 40 seconds to wait for one order."""

_RARE: Final = {"mass_cancel": 1, "tick_change": 2, "rate_limited": 2, "stream_drop": 4}
"""By chance too, but not more often than this."""

ENDS_IN: Final = ("cancel_only", "disabled")
"""Of these the seed chooses one, for the last round: a worker believes in it for half a minute."""

EPISODES: Final = {2: "restarting", 4: "engine_restart"}
"""Round, and what shuts the venue for a moment in it."""

SHUT_IN: Final = 6
SHUTS: Final = ("closed_only", "geoblock", "html_403")
"""What shuts the account out until somebody lets it in again, and the round in which the seed chooses one of them.
No worker is to die in it: it would not get to its point.
"""

_PLACING: Final = "POST /order*"
_WRITING: Final = (_PLACING, "DELETE *")


def by_chance(per_mille: int = PER_MILLE) -> list[Rule]:
    """The rules that are in force from the first round on."""
    alone = {*LEFT_OUT, *ENDS_IN, *SHUTS, *EPISODES.values()}
    rules: list[Rule] = []
    for name, kind in CATALOGUE.items():
        if name not in alone:
            rule = {"name": name, "times": _RARE.get(name, 0), "ppm": per_mille * 1_000}
            rule |= _PARAMS.get(name, {})
            if kind.where == "*":
                rules += [rule | {"endpoint": one} for one in _WRITING]
                rule |= {"endpoint": "GET *", "ppm": per_mille * 1_000 // READS_LESS}
            rules.append(rule)
    return rules


def of_round(number: int, last: int, rng: Rng) -> list[Rule]:
    """The rules that come with a round."""
    name = EPISODES.get(number, "")
    if number == last:
        name = ENDS_IN[rng.bits(16) % len(ENDS_IN)]
    elif number == SHUT_IN:
        name = SHUTS[rng.bits(16) % len(SHUTS)]
    if not name:
        return []
    skip = rng.bits(16) % 4
    return [{"name": name, "endpoint": _PLACING, "skip": skip, **_PARAMS.get(name, {})}]

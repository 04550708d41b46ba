"""When faults strike: rules that are counted, so that a run is the same for the same seed.

A rule's chance is a function of the seed, the rule's number and how many requests it has seen, so
requests that it does not match cannot change what it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

from app.errors import BadInput, Code
from app.venue.matching.draw import derive_seed, draw
from app.venue.simulator.faults.catalogue import CATALOGUE, FaultKind, Stage

CERTAIN: Final = 1_000_000
_TERMS: Final[Mapping[str, type]] = {
    "endpoint": str,
    "account": str,
    "contains": str,
    "skip": int,
    "times": int,
    "ppm": int,
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a rule may look at. ``text``: path, query and body, or a frame."""

    endpoint: str
    """``METHOD /path/{id}``; for streams ``WS user`` or ``WS market``."""
    account: str = ""
    text: str = ""


@dataclass(slots=True)
class Rule:
    """One ordered fault. Strikes on matching requests after ``skip`` of them, ``times`` times."""

    number: int
    name: str
    endpoint: str = "*"
    account: str = ""
    contains: str = ""
    skip: int = 0
    times: int = 1
    """0: without end."""
    ppm: int = CERTAIN
    params: dict[str, Any] = field(default_factory=dict)
    seen: int = 0
    struck: int = 0

    @property
    def stage(self) -> Stage:
        return CATALOGUE[self.name].stage

    def matches(self, facts: Facts) -> bool:
        return (
            (not self.times or self.struck < self.times)
            and fnmatchcase(facts.endpoint, self.endpoint)
            and self.account in ("", facts.account)
            and self.contains in facts.text
        )

    def strikes(self, seed: int) -> bool:
        """Whether it would strike on the next request it sees."""
        if self.seen < self.skip:
            return False
        own = derive_seed(seed, "fault", str(self.number))
        return self.ppm >= CERTAIN or draw(own, self.seen, CERTAIN) < self.ppm


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault that meets this request."""

    name: str
    params: dict[str, Any]

    @property
    def stage(self) -> Stage:
        return CATALOGUE[self.name].stage


Hits = list[list[int]]
"""Pairs of a rule's number and 1 where it struck, 0 where it only saw the request go by."""


class FaultPlan:
    """All rules, oldest first."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rules: dict[int, Rule] = {}
        self._last = 0

    def add_all(self, wanted: Iterable[Mapping[str, Any]]) -> list[Rule]:
        """Order faults, all of them or none."""
        rules = [self._read(one, self._last + i) for i, one in enumerate(wanted, 1)]
        for rule in rules:
            self._last = rule.number
            self.rules[rule.number] = rule
        return rules

    def add(self, wanted: Mapping[str, Any]) -> Rule:
        """Order a fault. Names and parameters that do not exist are refused."""
        return self.add_all([wanted])[0]

    def _read(self, wanted: Mapping[str, Any], own_number: int) -> Rule:
        given = dict(wanted)
        name = given.pop("name", "")
        kind = CATALOGUE.get(name)
        if kind is None:
            raise _bad(f"no fault is called {name!r}", f"there are: {', '.join(CATALOGUE)}")
        nth = given.pop("nth", None)
        rule = Rule(own_number, name, kind.where, skip=nth - 1 if nth else 0)
        for key, value in given.items():
            if _TERMS.get(key) is type(value):
                setattr(rule, key, value)
            elif type(value) in _kinds(kind, key):
                rule.params[key] = value
            else:
                raise _bad(f"fault {name} has no {key} = {value!r}", f"has: {dict(kind.params)}")
        rule.params = {**kind.params, **rule.params}
        return rule

    def drop(self, number: int | None) -> None:
        """Take one back, or all."""
        if number is None:
            self.rules.clear()
        else:
            self.rules.pop(number, None)

    def decide(self, facts: Facts, stages: frozenset[Stage]) -> tuple[list[Strike], Hits]:
        """What strikes now, and what must be counted for it. Changes nothing."""
        strikes: list[Strike] = []
        hits: Hits = []
        for rule in self.rules.values():
            if rule.stage not in stages or not rule.matches(facts):
                continue
            struck = rule.strikes(self.seed)
            hits.append([rule.number, int(struck)])
            if struck:
                strikes.append(Strike(rule.name, rule.params))
        return strikes, hits

    def count(self, hits: Hits) -> None:
        for number, struck in hits:
            rule = self.rules.get(number)
            if rule is not None:
                rule.seen += 1
                rule.struck += struck


def _kinds(kind: FaultKind, param: str) -> tuple[type, ...]:
    """What a parameter may be: what its usual value is; ``answer`` may be an HTTP status too."""
    if param not in kind.params:
        return ()
    usual = type(kind.params[param])
    return (usual, int) if param == "answer" else (usual,)


def _bad(wrong: str, next_step: str) -> BadInput:
    return BadInput(Code.BAD_REQUEST, wrong, not_done="no fault was set", next_step=next_step)

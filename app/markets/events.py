"""What a market takes from the event it belongs to: names, group, and flags that bind it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from app.markets.fields import Fields

_NOT_SLUG: Final = re.compile(r"[^a-z0-9]+")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EventFacts:
    """Of several events the first that says something counts; of flags every statement is kept."""

    event_id: str | None
    slug: str | None
    title: str | None
    category: str | None
    version: str | None
    start_ms: int | None
    tags: tuple[str, ...]
    tournament: str | None
    closed: bool
    neg_risk: frozenset[bool]
    augmented: frozenset[bool]

    @property
    def group_key(self) -> str | None:
        """``tournament:<name>``, or else ``event:<id>``: markets that win and lose together."""
        if self.tournament:
            return f"tournament:{self.tournament}"
        return f"event:{self.event_id}" if self.event_id else None


def event_facts(market: Fields, parent: Mapping[str, object] | None) -> EventFacts:
    """Read the events of a market: the one it was found in, then those nested in it."""
    events = list(market.children("events"))
    if parent is not None:
        events.insert(0, Fields(parent, prefix="event.", bad=market.bad))
    return EventFacts(
        event_id=_first(e.identifier("id") for e in events),
        slug=_first(e.text("slug") for e in events),
        title=_first(e.text("title") for e in events),
        category=_first(e.text("category") for e in events),
        version=_first(e.text("version") for e in events),
        start_ms=_first(e.instant_ms("startTime") for e in events),
        tags=next((tags for e in events if (tags := tag_slugs(e))), ()),
        tournament=_first(_tournament(e) for e in events),
        closed=True in _said(e.flag("closed") for e in events),
        neg_risk=_said(e.flag("negRisk") for e in events),
        augmented=_said(e.flag("negRiskAugmented") for e in events),
    )


def tag_slugs(fields: Fields) -> tuple[str, ...]:
    """Slugs (or labels) of the ``tags`` list, in its order."""
    named = (tag.text("slug") or tag.text("label") for tag in fields.children("tags"))
    return tuple(name for name in named if name)


def _tournament(event: Fields) -> str | None:
    # League before stage: "Playoffs" alone would put unrelated tournaments in one group.
    metadata = event.child("eventMetadata")
    name = metadata and (metadata.text("league") or metadata.text("tournament"))
    return _NOT_SLUG.sub("-", name.lower()).strip("-") or None if name else None


def _first(values: Iterable[T | None]) -> T | None:
    return next((value for value in values if value is not None), None)


def _said(values: Iterable[bool | None]) -> frozenset[bool]:
    return frozenset(value for value in values if value is not None)

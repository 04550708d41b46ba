"""Structured logs with one schema: JSON on a pipe, readable on a terminal, bursts throttled.

Every line carries ts, level, component, event and run; market, order, intent, attempt and latency_ms
where they apply. Event names in capitals are the ones operators' scripts look for; they never change.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final, TextIO

import structlog

from app.clock import Clock

Logger = Any
"""A structlog bound logger: ``log.info("EVENT", order=7, market="...")``."""

FIXED_FIELDS: Final = ("ts", "level", "component", "event", "run")
_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def configure(
    clock: Clock,
    *,
    level: str = "info",
    style: str = "auto",
    run: str = "",
    stream: TextIO | None = None,
) -> None:
    """Set up logging for this process. ``style`` is auto, json or human; ``run`` marks every line."""
    out = stream or sys.stderr
    human = style == "human" or (style == "auto" and out.isatty())

    def stamp(
        _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        event["ts"] = clock.now_ms()
        event["run"] = run
        return event

    renderer: Any = (
        structlog.dev.ConsoleRenderer() if human else structlog.processors.JSONRenderer(default=str)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            stamp,
            structlog.processors.format_exc_info,
            _fixed_fields_first,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


def get_logger(component: str) -> Logger:
    """A logger whose lines say which part of the product speaks."""
    return structlog.get_logger().bind(component=component)


def _fixed_fields_first(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    rest = {name: value for name, value in event.items() if name not in FIXED_FIELDS}
    return {name: event.get(name, "") for name in FIXED_FIELDS} | rest


class Throttle:
    """Lets the first line of a kind through and then one per period, which says how many were held back.

    A market that is locked a thousand times a second must not drown the one line that matters.
    """

    def __init__(self, clock: Clock, every_s: float = 5.0) -> None:
        self._clock = clock
        self._every_ns = int(every_s * 1e9)
        self._next: dict[tuple[str, str], int] = {}
        self._held: dict[tuple[str, str], int] = {}

    def info(self, log: Logger, event: str, subject: str, **fields: Any) -> bool:
        """Log ``event`` about ``subject`` unless it was logged within the period. Whether it was logged."""
        key = (event, subject)
        now = self._clock.monotonic_ns()
        if now < self._next.get(key, 0):
            self._held[key] = self._held.get(key, 0) + 1
            return False
        if len(self._next) > 10_000:
            self._next.clear()
        self._next[key] = now + self._every_ns
        held = self._held.pop(key, 0)
        log.info(event, **fields, **({"held_back": held} if held else {}))
        return True

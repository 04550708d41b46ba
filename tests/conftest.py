"""Fixtures for all tests."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import structlog

pytest_plugins = ["tests.support.database", "tests.support.life"]


_SLOWEST_FIRST = ("acceptance", "integration", "unit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first: processes that share the files then end at about the same time."""
    rank = {folder: place for place, folder in enumerate(_SLOWEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.parent.name, len(rank)))


def pytest_collection_finish() -> None:
    """Modules and thousands of items stay to the end: no collection of garbage need look at them again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _logs_as_found() -> Iterator[None]:
    """A command configures the whole process; the next test would miss the lines below its level."""
    yield
    structlog.reset_defaults()

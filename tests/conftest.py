"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

pytest_plugins = ["tests.support.database", "tests.support.life"]


@pytest.fixture(autouse=True)
def _logs_as_found() -> Iterator[None]:
    """A command configures the whole process; the next test would miss the lines below its level."""
    yield
    structlog.reset_defaults()

"""One line of the doctor: what was looked at, how it stands, what was seen, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Result = Literal["ok", "warn", "fail", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found."""

    name: str
    result: Result
    seen: str
    next_step: str = ""


def ok(name: str, seen: str) -> Finding:
    return Finding(name, "ok", seen)


def warn(name: str, seen: str, next_step: str = "") -> Finding:
    return Finding(name, "warn", seen, next_step)


def fail(name: str, seen: str, next_step: str) -> Finding:
    return Finding(name, "fail", seen, next_step)


def skipped(name: str, seen: str) -> Finding:
    return Finding(name, "skipped", seen)


def failed(findings: Iterable[Finding]) -> bool:
    """Whether a start would be a mistake."""
    return any(one.result == "fail" for one in findings)

"""``docs/lessons.md``: faults that others had in production, and the named tests that show what happens here."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

from workers.docs.lesson_tests import LESSONS
from workers.docs.sources import GENERATED, Unworded, table

_HEAD: Final = f"""{GENERATED}

# Lessons, and the tests that show them

Each line is a fault that somebody had in production. The test beside it fails if this project had the same fault.
"Open" means that nothing in this release shows it yet: mostly because the part it concerns is not in this release.
"""


def page(root: Path) -> str:
    """The page as Markdown. Raises `Unworded` for a test that does not exist."""
    known = _tests(root)
    named = {test for lesson in LESSONS for test in lesson.tests}
    if gone := sorted(named - known.keys()):
        raise Unworded("lessons whose tests do not exist (see workers/docs/lesson_tests.py)", gone)
    parts = [_HEAD]
    for subject in dict.fromkeys(lesson.subject for lesson in LESSONS):
        rows = [
            [
                str(lesson.number),
                lesson.fault,
                lesson.here,
                "<br>".join(_link(test, known[test]) for test in lesson.tests) or lesson.open,
            ]
            for lesson in LESSONS
            if lesson.subject == subject
        ]
        parts.append(f"## {subject}\n\n{table(['', 'what happened', 'here', 'shown by'], rows)}\n")
    return "\n".join(parts)


def _link(test: str, path: str) -> str:
    return f"[`{test}`](../{path})"


def _tests(root: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted((root / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.setdefault(node.name, path.relative_to(root).as_posix())
    return found

"""``docs/logs.md``: every event name that a log call or the journal writes, found in the sources."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from workers.docs.sources import GENERATED, modules, require_words, sql_functions, table
from workers.docs.words import JOURNAL, LOGS

LEVELS: Final = ("debug", "info", "warning", "error", "exception", "critical")
_EVENT: Final = re.compile(r"[A-Z][A-Z0-9_]+")
_NOT_FIELDS: Final = ("exc_info",)

_HEAD: Final = f"""{GENERATED}

# Log events

One event is one line: JSON on a pipe, readable text on a terminal (`LEDGER_LOG_FORMAT`). Each line has `ts` (Unix
milliseconds), `level`, `component`, `event` and `run` (the same for one process), and the fields below. A worker's
lines also have `incarnation`, the first eight digits of the id of its claims and attempts in the database. Names in
capitals never change; a script may look for them. No secret is ever a field.

What must be known after a crash is not in the logs but in the journal, which is at the end of this page.
"""

_JOURNAL_HEAD: Final = """
## Journal events

Rows of `ledger.journal`, read as `audit.journal` and per order as `audit.order_timeline`. The events of the state
machine ([state-machine.md](state-machine.md)) are journaled under their own names; these come beside them.
"""


@dataclass(frozen=True, slots=True)
class LogCall:
    """One place that logs."""

    event: str
    level: str
    module: str
    line: int
    fields: tuple[str, ...]


def page(root: Path) -> str:
    """The page as Markdown. Raises `Unworded` for an event without words."""
    calls: dict[str, list[LogCall]] = defaultdict(list)
    for name, tree in modules(root):
        for call in log_calls(name, tree):
            calls[call.event].append(call)
    journal = journal_events(root)
    require_words("log events", set(calls), set(LOGS))
    require_words("journal events", set(journal), set(JOURNAL))
    rows = [_row(event, calls[event]) for event in sorted(calls)]
    parts = [_HEAD, table(["event", "level", "from", "fields", "means"], rows), _JOURNAL_HEAD]
    parts.append(
        table(
            ["event", "written by", "means"],
            [
                [f"`{event}`", ", ".join(f"`{one}`" for one in journal[event]), JOURNAL[event]]
                for event in sorted(journal)
            ],
        )
    )
    return "\n".join(parts) + "\n"


def _row(event: str, calls: list[LogCall]) -> list[str]:
    fields = dict.fromkeys(field for call in calls for field in call.fields)
    return [
        f"`{event}`",
        ", ".join(dict.fromkeys(call.level for call in calls)),
        ", ".join(dict.fromkeys(f"`{call.module}`" for call in calls)),
        ", ".join(fields),
        LOGS[event],
    ]


def log_calls(module: str, tree: ast.Module) -> Iterator[LogCall]:
    """Each call such as ``log.info("EVENT", order=7)``, also where the name comes from a constant
    or from the callers of the function that logs.
    """
    constants = _constants(tree)
    functions = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    for call, function in _calls(tree, functions):
        if not isinstance(call.func, ast.Attribute) or call.func.attr not in LEVELS:
            continue
        fields = tuple(
            keyword.arg
            for keyword in call.keywords
            if keyword.arg and keyword.arg not in _NOT_FIELDS
        )
        for argument in call.args[:2]:  # a throttle takes the logger first
            for event in _texts(argument, constants, function, tree):
                if _EVENT.fullmatch(event):
                    yield LogCall(event, call.func.attr, module, call.lineno, fields)


def _calls(
    tree: ast.Module, functions: list[ast.FunctionDef | ast.AsyncFunctionDef]
) -> Iterator[tuple[ast.Call, ast.FunctionDef | ast.AsyncFunctionDef | None]]:
    """Calls in the order of the source, each with the innermost function around it."""
    inside: dict[ast.Call, ast.FunctionDef | ast.AsyncFunctionDef] = {}
    for function in functions:  # outer ones come first, inner ones overwrite
        for node in ast.walk(function):
            if isinstance(node, ast.Call):
                inside[node] = function
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for call in sorted(found, key=lambda node: (node.lineno, node.col_offset)):
        yield call, inside.get(call)


def _constants(tree: ast.Module) -> dict[str, str]:
    found = {}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        value = getattr(node, "value", None)
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            found.update({one.id: value.value for one in targets if isinstance(one, ast.Name)})
    return found


def _texts(
    node: ast.expr,
    constants: dict[str, str],
    function: ast.FunctionDef | ast.AsyncFunctionDef | None,
    tree: ast.Module,
) -> list[str]:
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.IfExp):
        return [
            text
            for part in (node.body, node.orelse)
            for text in _texts(part, constants, function, tree)
        ]
    if not isinstance(node, ast.Name):
        return []
    if node.id in constants:
        return [constants[node.id]]
    return _given_by_callers(node.id, function, tree) if function is not None else []


def _given_by_callers(
    parameter: str, function: ast.FunctionDef | ast.AsyncFunctionDef, tree: ast.Module
) -> list[str]:
    names = [one.arg for one in (*function.args.args, *function.args.kwonlyargs)]
    if parameter not in names:
        return []
    place = names.index(parameter) - (names[0] in ("self", "cls"))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and function.name == getattr(
            node.func, "attr", getattr(node.func, "id", None)
        ):
            given = [one.value for one in node.keywords if one.arg == parameter]
            given += node.args[place : place + 1]
            found += [one.value for one in given if isinstance(one, ast.Constant)]
    return [text for text in found if isinstance(text, str)]


def journal_events(root: Path) -> dict[str, list[str]]:
    """Event to functions for what is journaled by name, not through the state machine."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, text in sql_functions(root):
        for match in re.finditer(r"_journal\(([^;]*?);", text, re.DOTALL):
            for event in re.findall(r"'([A-Z][A-Z_]{3,})'", match[1])[:1]:
                if name not in found[event]:
                    found[event].append(name)
    return found

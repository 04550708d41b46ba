"""``docs/reasons.md`` from `app.errors.Code`, with the places that decide each code, found in the sources."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path
from typing import Final

from app.errors import Code
from workers.docs.sources import GENERATED, modules, require_words, sql_functions, table
from workers.docs.words_codes import CODES, PLACES

_MOST_PLACES: Final = 5
_ONLY_WORDS: Final = ("app.errors", "workers.cli.errors", "workers.cli.next_steps")
"""Modules that speak about every code and decide none."""

_HEAD: Final = f"""{GENERATED}

# Reason codes

A refusal is an answer, not a failure: `{{"status": "refused", "code": …, "detail": …}}` from a SQL function, a
`Refusal` in Python, exit code 1 or 2 from a command. The code is stable; the detail is for people and may
change. Nothing was reserved and nothing will be sent for what was refused, and a refusal leaves the key free.

Misuse is an exception: SQLSTATE `LG001` isolation, `LG002` history that cannot be changed, `LG003` a change of state
that no row of `ledger.transition` allows, `LG004` a call that cannot be read, `LG005` a version that is not the newest.
The message begins with the code.
"""


def page(root: Path) -> str:
    """The page as Markdown. Raises `Unworded` for a code without words."""
    require_words("reason codes", {code.value for code in Code}, set(CODES))
    places = _places(root)
    parts = [_HEAD]
    for title, codes in _groups(root):
        rows = [
            [f"`{code}`", CODES[code][0], CODES[code][1], _shown(PLACES.get(code) or places[code])]
            for code in codes
        ]
        parts.append(
            f"## {title}\n\n{table(['code', 'means', 'what to do', 'decided in'], rows)}\n"
        )
    return "\n".join(parts)


def _groups(root: Path) -> list[tuple[str, list[str]]]:
    """The codes under the comments of the class, in its order."""
    source = (root / "app/errors.py").read_text("utf-8")
    body = source.split("class Code", 1)[1].split("\nclass ", 1)[0]
    groups: list[tuple[str, list[str]]] = []
    for line in body.splitlines():
        if match := re.match(r"    # (.+)", line):
            text = match[1]
            groups.append((text[0].upper() + text[1:], []))
        elif match := re.match(r'    [A-Z_]+ = "([A-Z_]+)"', line):
            groups[-1][1].append(match[1])
    return groups


def _places(root: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    names = "|".join(code.value for code in Code)
    for name, text in sql_functions(root):
        for code in dict.fromkeys(re.findall(rf"'({names})[':]", text)):
            found[code].append(name)
    for name, tree in modules(root):
        if name in _ONLY_WORDS:
            continue
        used = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "Code"
            and node.attr in Code.__members__
        }
        for code in sorted(used):
            found[code].append(name)
    return found


def _shown(places: list[str] | tuple[str, ...]) -> str:
    shown = ", ".join(f"`{place}`" for place in places[:_MOST_PLACES])
    more = len(places) - _MOST_PLACES
    return f"{shown} and {more} more" if more > 0 else shown

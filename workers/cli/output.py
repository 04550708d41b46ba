"""What a command prints: one JSON value, or text for people; progress on standard error alone.

Names and questions of markets are other people's text. Control characters in them would move the
cursor of whoever looks, so they are shown as question marks.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, TextIO, TypeAlias

from app.money import format_micros
from workers.cli.state import state

Row: TypeAlias = Mapping[str, Any]
Column: TypeAlias = tuple[str, Callable[[Row], object]]
"""Title, and how its cell is read from a row."""


_SHORT: Final = 12
"""A text up to this long is never folded."""
_GAP: Final = 2


def write_json(value: object) -> None:
    """One JSON value on standard output, on one line where it is not shown to a person."""
    indent = 2 if sys.stdout.isatty() else None
    _write(sys.stdout, json.dumps(value, default=_plain, indent=indent))


def emit(value: object, show: Callable[[], None]) -> None:
    """``value`` as JSON if that was asked for, else what ``show`` prints."""
    if state().as_json:
        write_json(value)
    else:
        show()


def say(text: str = "") -> None:
    """A line on standard output."""
    _write(sys.stdout, clean(text))


def note(text: str) -> None:
    """A line on standard error, for what is not the answer. Also with ``--json``."""
    _write(sys.stderr, clean(text))


def table(columns: Sequence[Column], rows: Iterable[Row], *, empty: str) -> None:
    """A Rich table on a terminal that is wide enough, else plain aligned columns (nothing cut, nothing
    left out; a terminal wraps them by itself).
    """
    titles = [title for title, _ in columns]
    cells = [[clean(text(read(row))) for _, read in columns] for row in rows]
    if not cells:
        say(empty)
        return
    widths = [max(len(line[i]) for line in (titles, *cells)) for i in range(len(titles))]
    if sys.stdout.isatty() and _rich_table(titles, cells, widths):
        return
    for line in (titles, *cells):
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        say("  ".join(padded).rstrip())


def pairs(rows: Iterable[tuple[str, object]]) -> None:
    """Names and values, one a line."""
    known = [(name, text(value)) for name, value in rows]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        say(f"{name.ljust(width)}  {value}".rstrip())


def field(name: str) -> Callable[[Row], object]:
    """Reads a column as it is."""
    return lambda row: row[name]


def micros(name: str) -> Callable[[Row], object]:
    """Reads a column of micros as a decimal."""
    return lambda row: decimal(row[name])


def decimal(value: int | None) -> str:
    """Micros as a decimal, nothing for nothing."""
    return "" if value is None else format_micros(value)


def age(seconds: int | None) -> str:
    """A duration a person can take in: ``42s``, ``3m05s``, ``7h12m``, ``4d03h``."""
    if seconds is None:
        return ""
    for unit, size, below, part in (
        ("d", 86_400, "h", 3_600),
        ("h", 3_600, "m", 60),
        ("m", 60, "s", 1),
    ):
        if seconds >= size:
            return f"{seconds // size}{unit}{seconds % size // part:02d}{below}"
    return f"{seconds}s"


def counted(number: int, word: str) -> str:
    """``1 market``, ``2 markets``."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def text(value: object) -> str:
    """A value as a person reads it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, list | tuple):
        return ", ".join(text(item) for item in value)
    return str(value)


def clean(line: str) -> str:
    """The same without what a terminal would act upon."""
    return "".join(c if c.isprintable() else "?" for c in line)


@contextmanager
def progress(what: str) -> Iterator[Callable[[str, float], None]]:
    """Shows on standard error that something takes its time. Yields ``tell(what, seconds)``.

    A spinner on a terminal. Elsewhere one line for each thing waited for, and only once it has
    taken a second.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.text import Text

        with Console(stderr=True).status(Text(what)) as status:
            yield lambda step, _seconds: status.update(Text(step))
        return
    told: set[str] = set()

    def tell(step: str, seconds: float) -> None:
        if seconds >= 1 and step not in told:
            told.add(step)
            note(f"{step} ...")

    yield tell


def _write(stream: TextIO, line: str) -> None:
    """A line, at once. A reader that left early (``orders | head``) is no error, and takes nothing
    from the exit code.
    """
    try:
        stream.write(line + "\n")
        stream.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _rich_table(
    titles: Sequence[str], cells: Sequence[Sequence[str]], widths: Sequence[int]
) -> bool:
    """Show it, folding long texts where need be; False where the terminal is too narrow even so (Rich
    would cut the short ones and leave out the long ones).
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if sum(min(width, _SHORT) for width in widths) + _GAP * (len(widths) - 1) > console.width:
        return False
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for title, width in zip(titles, widths, strict=True):
        shown.add_column(title, overflow="fold", min_width=min(width, _SHORT))
    for line in cells:
        shown.add_row(*(Text(cell) for cell in line))
    console.print(shown)
    return True


def _plain(value: object) -> object:
    """What JSON has no form for: instants as ISO 8601 in UTC, ids as text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, bytes):
        return value.hex()
    return str(value)

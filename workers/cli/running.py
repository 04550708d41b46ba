"""What runs for longer: the worker and the demo; and the version."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app import __version__
from workers.cli.connect import explaining_missing_roles
from workers.cli.errors import show_interrupted
from workers.cli.output import emit, note, say
from workers.cli.state import Json, state


class DemoVenue(StrEnum):
    """Where the demo may trade."""

    PAPER = "paper"
    POLYMARKET = "polymarket"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("start")(start)
    app.command("demo")(demo)
    app.command("version")(version)


def start(as_json: Json = False) -> None:
    """Run the worker until SIGTERM or Ctrl-C. A second one shares the work.

    Uses the embedded database and the paper venue unless configured. With --json it logs JSON also
    on a terminal.
    """
    from workers.worker.main import run

    settings = state().settings
    if state().as_json:
        settings = settings.model_copy(update={"log_format": "json"})
    raise typer.Exit(explaining_missing_roles(lambda: run(settings)))


def demo(
    markets: Annotated[
        Path | None,
        typer.Option("--markets", help="Gamma JSON to take markets from. Default: the sample."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed, another course.")] = 1,
    venue: Annotated[
        DemoVenue,
        typer.Option("--venue", help="polymarket: the simulated one, with all its faults."),
    ] = DemoVenue.PAPER,
    intents: Annotated[
        int, typer.Option("--intents", min=80, max=4_000, help="How many intents.")
    ] = 400,
    as_json: Json = False,
) -> None:
    """Some hundred orders by many writers on a throw-away database, with kills in the middle.

    Exit code 0 only if nothing was lost, doubled or over a cap.
    """
    from workers.demo.main import Wanted, run

    if not state().as_json:
        note("This takes up to three minutes. Your own database is not touched.")
    try:
        code = run(Wanted(markets, seed, venue.value, intents), state().as_json)
    except KeyboardInterrupt:
        code = show_interrupted(
            "the demo was not finished; its processes and its database are gone",
            f"repeat it: ledger-worker demo --venue {venue.value} --seed {seed}",
        )
    raise typer.Exit(code)


def version(as_json: Json = False) -> None:
    """Show the version."""
    emit({"version": __version__}, lambda: say(f"ledger-worker {__version__}"))

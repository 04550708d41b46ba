"""``ledger-worker simulator``: the venue with all its faults in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.errors import BadInput, Code
from workers.cli.state import Json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("simulator")(simulator)


def simulator(
    data: Annotated[
        Path, typer.Option("--data", help="Folder of its store. The same folder: the same venue.")
    ] = Path("simulator"),
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="0: any free one.")] = 8790,
    control_port: Annotated[
        int, typer.Option("--control-port", min=0, max=65_535, help="0: any free one.")
    ] = 0,
    tls_port: Annotated[
        int | None,
        typer.Option("--tls-port", min=0, max=65_535, help="Also TLS with HTTP/2, on this port."),
    ] = None,
    at_ms: Annotated[
        int | None,
        typer.Option("--at", min=0, help="A fresh venue's clock stands at this Unix time, in ms."),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE, such as seed=7 or mine_after_ms=200. Repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Polymarket's documented interfaces on loopback, over the paper venue's matching core.

    Its first line on standard output is JSON: addresses and ports. Ends on SIGTERM; after a kill it
    goes on from its store with nothing lost that it had answered.
    """
    from app.venue.simulator.process import Options, run

    options = Options(data, port, control_port, tls_port, at_ms, _settings(setting or []))
    raise typer.Exit(run(options))


def _settings(pairs: list[str]) -> dict[str, bool | int]:
    found: dict[str, bool | int] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if value in ("true", "false"):
            found[name] = value == "true"
        elif value.isdecimal():
            found[name] = int(value)
        else:
            raise BadInput(
                Code.BAD_SETTING,
                f"--set {pair!r} is not NAME=NUMBER, NAME=true or NAME=false",
                not_done="the simulator was not started",
            )
    return found

"""``keys derive``: the API key of the signing key, into a file of its owner."""

from __future__ import annotations

from typing import Annotated

import typer

from app.errors import BadInput, Code
from workers.cli.output import emit, note, progress, say
from workers.cli.state import Json, state


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    group.command("derive")(derive)
    app.add_typer(group, name="keys", help="The API key of the signing key.")


def derive(
    to: Annotated[str, typer.Option("--to", metavar="FILE", help="A new file, of mode 0600.")],
    make: Annotated[
        bool, typer.Option("--make", help="Make one if there is none; may end another key.")
    ] = False,
    nonce: Annotated[int, typer.Option("--nonce", min=0, max=2**63 - 1)] = 0,
    as_json: Json = False,
) -> None:
    """Ask the venue for the API key and write its three settings to FILE. Prints its id alone."""
    from workers.doctor import keys

    settings = state().settings
    if not to:
        raise BadInput(
            Code.BAD_REQUEST,
            "--to is empty",
            not_done="nothing was asked of the venue",
            next_step="name a new file",
        )
    with progress(f"asking {settings.polymarket_clob_url}"):
        key_id = keys.derive(settings, to, nonce=nonce, make=make)
    emit({"status": "written", "api_key": key_id, "file": to}, lambda: say(f"{key_id} is in {to}"))
    note("store it where LEDGER_SECRETS points, then send the worker SIGHUP")

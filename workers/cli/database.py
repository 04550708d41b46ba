"""``db``: the embedded server. It is started by whoever needs it and stopped by nobody but a person."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer

from app.errors import BadInput, Code
from workers.cli.errors import COULD_NOT
from workers.cli.output import emit, pairs, progress, say
from workers.cli.state import Json, state

if TYPE_CHECKING:
    from app.db.access import Role
    from app.db.embedded import EmbeddedConfig


class Login(StrEnum):
    """Whom an address is for."""

    OWNER = "owner"
    WORKER = "worker"
    TRADER = "trader"
    RISK = "risk"
    AUDITOR = "auditor"


class Mode(StrEnum):
    """How the server is stopped."""

    SMART = "smart"
    FAST = "fast"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    group.command("start")(start)
    group.command("stop")(stop)
    group.command("status")(status)
    group.command("url")(url)
    app.add_typer(group, name="db", help="The embedded server: start, stop, status, url.")


def start(as_json: Json = False) -> None:
    """Start the embedded server, or find it running. Makes it on first use."""
    from app.db import embedded

    config = _embedded_config("started")
    with progress("starting the embedded server") as tell:
        embedded.start(config, progress=tell)
    emit({"status": "running", "home": str(config.home)}, lambda: say(f"running in {config.home}"))


def stop(
    mode: Annotated[
        Mode, typer.Option("--mode", help="fast ends sessions, smart waits for them.")
    ] = Mode.FAST,
    as_json: Json = False,
) -> None:
    """Stop the embedded server. Workers on it lose their connection and record nothing meanwhile."""
    from app.db import embedded

    config = _embedded_config("stopped")
    with progress("stopping the embedded server") as tell:
        stopped = embedded.stop(config, "smart" if mode is Mode.SMART else "fast", progress=tell)
    words = "stopped" if stopped else "it was not running"
    emit({"status": "stopped", "was_running": stopped}, lambda: say(words))


def status(as_json: Json = False) -> None:
    """What is there, without touching it. Exit code 2 where it cannot be used as it is."""
    settings = state().settings
    if settings.database_url is not None:
        from app.db.url import masked

        found: dict[str, Any] = {
            "state": "configured",
            "url": masked(settings.database_url.get_secret_value()),
        }
        emit(
            found,
            lambda: say(f"LEDGER_DATABASE_URL is used, not the embedded server: {found['url']}"),
        )
        return
    from app.db import embedded
    from app.db.access import embedded_config

    seen = embedded.status(embedded_config(settings))
    found = {
        "state": seen.state.value,
        "home": str(seen.home),
        "server_version": seen.server_version,
        "pid": seen.pid,
        "detail": seen.detail,
        "next": _NEXT.get(seen.state.value, "").format(pid=seen.pid),
    }
    emit(found, lambda: pairs((name, value) for name, value in found.items() if value))
    if found["next"]:
        raise typer.Exit(COULD_NOT)


_NEXT: Final = {
    "unusable": "ledger-worker db start tells what can be done; nothing was touched",
    "not answering": "see whether process {pid} is paused (kill -CONT {pid}) or the machine overloaded",
}
"""State to what to do, where it cannot be used as it is."""


def url(
    role: Annotated[
        Login, typer.Option("--role", help="Owner: by peer, for the user of the server and root.")
    ] = Login.OWNER,
    as_json: Json = False,
) -> None:
    """Print an address for psql. For any role but the owner it holds the password: keep it."""
    from app.db.access import owner_url, role_url

    settings = state().settings
    with progress("starting the embedded server") as tell:
        if role is Login.OWNER or settings.database_url is not None:
            address = owner_url(settings, tell)
        else:
            address = role_url(settings, cast("Role", role.value), tell)
    emit({"url": address, "role": role.value}, lambda: say(address))


def _embedded_config(verb: str) -> EmbeddedConfig:
    settings = state().settings
    if settings.database_url is not None:
        raise BadInput(
            Code.BAD_REQUEST,
            "LEDGER_DATABASE_URL names another server, which is not the embedded one",
            not_done=f"nothing was {verb}",
            next_step="unset LEDGER_DATABASE_URL to use the embedded server",
        )
    from app.db.access import embedded_config

    return embedded_config(settings)

"""The simulator as a process: opens its store and its ports, says so in one line, runs until told."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO

from app.clock import Ports
from app.venue.simulator.certificates import make_certificates
from app.venue.simulator.channels import Channel, MarketChannel, UserChannel
from app.venue.simulator.control_server import Control
from app.venue.simulator.faults.bending import Delivery
from app.venue.simulator.journal import Journal
from app.venue.simulator.messages import Request
from app.venue.simulator.service import Service
from app.venue.simulator.wire.http1 import Handle, Upgrade
from app.venue.simulator.wire.http2 import Http2
from app.venue.simulator.wire.server import LOOPBACK, Listener
from app.venue.simulator.wire.sockets import Socket

JOURNAL: Final = "venue.journal"
SOON_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Options:
    """Ports of 0 are free ones. ``settings``: changes to the venue's, recorded in its journal."""

    data: Path
    port: int = 0
    control_port: int = 0
    tls_port: int | None = None
    at_ms: int | None = None
    """A fresh venue's clock stands there until it is moved."""
    settings: dict[str, Any] = field(default_factory=dict)


class Process:
    """One run."""

    def __init__(self, options: Options, ports: Ports, out: TextIO) -> None:
        self._options = options
        self._ports = ports
        self._out = out
        self._stopped = asyncio.Event()
        self._failure: BaseException | None = None
        self._listeners: list[Listener] = []

    async def run(self) -> int:
        """Serve until SIGTERM, SIGINT or the control endpoint ends it; the exit code."""
        journal = Journal(self._options.data / JOURNAL, self._ports)
        try:
            service = Service(journal, self._ports)
            replayed = service.start(self._options.settings, self._options.at_ms)
            ready = await self._open(service)
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stopped.set)
            clock = self._ports.tasks.spawn(self._keep_time(service), name="simulator time")
            self._out.write(json.dumps({**ready, "replayed": replayed}) + "\n")
            self._out.flush()
            await self._stopped.wait()
            await self._ports.clock.sleep(SOON_S)  # an answer that says so is on its way out
            clock.cancel()
        finally:
            for listener in self._listeners:
                listener.close()
            journal.close()
        return 1 if self._failure is not None else 0

    async def _keep_time(self, service: Service) -> None:
        try:
            await service.run()
        except Exception as error:
            self._fail(error)
            raise

    def _fail(self, error: BaseException) -> None:
        """A mistake of the simulator itself: it says so and ends, rather than answer on."""
        self._failure = error
        traceback.print_exception(error, file=sys.stderr)
        self._stopped.set()

    async def _open(self, service: Service) -> dict[str, Any]:
        control = Control(service, self._stopped.set)
        wire = Wire(service, self._ports)
        deeds = self._listener(control.handle)
        api = self._listener(service.handle, sockets=wire.sockets, http2=wire.http2)
        control_port = await deeds.open(self._options.control_port)
        port = await api.open(self._options.port)
        ready = {
            "ready": True,
            **addresses(f"{LOOPBACK}:{port}", secure=False),
            "control_url": f"http://{LOOPBACK}:{control_port}/control",
            "port": port,
            "control_port": control_port,
        }
        if self._options.tls_port is None:
            return ready
        made = make_certificates(self._options.data / "tls", self._ports.clock.now_ms())
        secured = self._listener(
            service.handle, sockets=wire.sockets, http2=wire.http2, tls=made.server_context()
        )
        tls_port = await secured.open(self._options.tls_port)
        names = addresses(f"{LOOPBACK}:{tls_port}", secure=True)
        secure = {f"tls_{name}": value for name, value in names.items()}
        files = {"ca_path": str(made.authority.resolve()), "tls_port": tls_port}
        return {**ready, **secure, **files, "tls_url": secure["tls_clob_url"]}

    def _listener(self, handle: Handle, **abilities: Any) -> Listener:
        async def guarded(request: Request) -> Delivery:
            try:
                return await handle(request)
            except Exception as error:
                self._fail(error)
                raise

        made = Listener(guarded, self._ports, self._fail, **abilities)
        self._listeners.append(made)
        return made


class Wire:
    """What the API's ports can do beside HTTP/1.1."""

    def __init__(self, service: Service, ports: Ports) -> None:
        self._service = service
        self._ports = ports

    def sockets(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Upgrade:
        return Socket(reader, writer, self._channel).upgrade

    def _channel(
        self, path: str, send: Callable[[str], None], drop: Callable[[], None]
    ) -> Channel | None:
        venue, hub = self._service.venue, self._service.hub
        if path == "/ws/user":
            return UserChannel(venue, hub, send, drop)
        return MarketChannel(hub, send, drop) if path == "/ws/market" else None

    async def http2(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        handle: Handle,
        first: bytes,
    ) -> None:
        most = self._service.venue.settings.goaway_after
        await Http2(reader, writer, handle, self._ports, most).run(first)


def addresses(host: str, *, secure: bool) -> dict[str, str]:
    """Where everything is, by name."""
    base, sockets = ("https", "wss") if secure else ("http", "ws")
    return {
        "clob_url": f"{base}://{host}",
        "gamma_url": f"{base}://{host}/gamma",
        "data_url": f"{base}://{host}/data-api",
        "relayer_url": f"{base}://{host}/relayer",
        "user_ws_url": f"{sockets}://{host}/ws/user",
        "market_ws_url": f"{sockets}://{host}/ws/market",
    }


def run(options: Options) -> int:
    """The whole process."""

    async def work() -> int:
        return await Process(options, Ports.system(), sys.stdout).run()

    return asyncio.run(work())

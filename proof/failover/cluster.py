"""A three-node Postgres under Patroni, with three members of etcd and an HAProxy, on loopback addresses.

What a node has to do with the others and with etcd goes over lines that can be cut; its clients reach it directly or
through HAProxy. A fault strikes one node; `revive` undoes it and lets the node come back as Patroni wants it.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from app.clock import Clock, Ports
from proof.failover import configuration
from proof.failover.configuration import ADMIN, REPLICATION, Place
from proof.failover.packages import Programs
from proof.failover.programs import Crew, kill, server_processes
from proof.machine import ROOT

NODES: Final = 3
ASK_S: Final = 1.5
TURN_S: Final = 0.1
DATABASE: Final = "ledger"
MEMORY: Final = Path("/dev/shm")  # noqa: S108 - below it a folder of its own is made


class ClusterFailed(Exception):
    """The cluster did not get where it must be; the text holds the last words of its programs."""


@dataclass(slots=True)
class Node:
    """One machine, as far as loopback can show one."""

    place: Place
    folder: Path
    patroni: subprocess.Popen[bytes] | None = None
    etcd: subprocess.Popen[bytes] | None = None
    frozen: list[int] = field(default_factory=list)
    cut: bool = False

    @property
    def name(self) -> str:
        return self.place.name

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def reachable(self) -> bool:
        return self.patroni is not None and not self.frozen and not self.cut


@dataclass(frozen=True, slots=True)
class Member:
    """A node as the cluster itself sees it."""

    name: str
    role: str
    state: str
    timeline: int


class Cluster:
    """Running nodes; made by `running_cluster`."""

    def __init__(
        self,
        crew: Crew,
        programs: Programs,
        places: Sequence[Place],
        port: int,
        passwords: Mapping[str, str],
        clock: Clock,
    ) -> None:
        self._crew = crew
        self._programs = programs
        self._clock = clock
        self._passwords = passwords
        self._lines: asyncio.subprocess.Process | None = None
        self._haproxy: subprocess.Popen[bytes] | None = None
        self._http = httpx.AsyncClient(timeout=ASK_S, trust_env=False)
        self.port = port
        self.nodes = {one.name: Node(one, crew.own_folder(one.name)) for one in places}

    # --- starting and ending ------------------------------------------------------------------------

    async def start(self, durable: Mapping[str, Any]) -> None:
        """Everything, until three nodes replicate and HAProxy leads to the primary."""
        places = [node.place for node in self.nodes.values()]
        await self._start_lines(places)
        for node in self.nodes.values():
            self._start_etcd(node)
        for node in self.nodes.values():
            text = configuration.patroni(
                node.place, node.folder, self._programs.postgres, self._passwords, durable
            )
            self._crew.own_file(node.folder / "patroni.yml", text)
            self._start_patroni(node)
        file = self._crew.own_file(
            self._crew.folder / "haproxy.cfg", configuration.haproxy(places, self.port)
        )
        self._haproxy = self._crew.start(
            self._programs.haproxy, ["-db", "-f", str(file)], self._crew.folder / "haproxy.log"
        )
        await self.until_whole(90, synchronous=bool(durable["synchronous_mode"]))

    async def aclose(self) -> None:
        await self._http.aclose()
        if self._lines is not None and self._lines.returncode is None:
            self._lines.kill()
            await self._lines.wait()
        for node in self.nodes.values():
            self._let_go(node)
        self._crew.close([node.data for node in self.nodes.values()])

    async def _start_lines(self, places: Sequence[Place]) -> None:
        lines: list[Any] = []
        for one in places:
            lines += [
                [one.name, [one.host, one.postgres_line], [one.host, one.postgres]],
                [one.name, [one.host, one.rest_line], [one.host, one.rest]],
            ]
            for line, other in zip(one.etcd_lines, places, strict=True):
                lines.append([one.name, [one.host, line], [other.host, other.etcd_client]])
        self._lines = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proof.live.lines", json.dumps(lines)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
            start_new_session=True,
        )
        await self._line_said("ready")

    async def _tell_lines(self, word: str) -> None:
        assert self._lines is not None
        assert self._lines.stdin is not None
        self._lines.stdin.write(f"{word}\n".encode())
        await self._line_said(word)

    async def _line_said(self, word: str) -> None:
        assert self._lines is not None
        assert self._lines.stdout is not None
        said = await asyncio.wait_for(self._lines.stdout.readline(), 20)
        if said.decode().strip() != word:
            raise ClusterFailed(f"the lines said {said!r} instead of {word!r}")

    def _start_etcd(self, node: Node) -> None:
        places = [one.place for one in self.nodes.values()]
        arguments = configuration.etcd(node.place, places, node.folder / "etcd")
        node.etcd = self._crew.start(self._programs.etcd, arguments, node.folder / "etcd.log")

    def _start_patroni(self, node: Node) -> None:
        file = str(node.folder / "patroni.yml")
        node.patroni = self._crew.start(self._programs.patroni, [file], node.folder / "patroni.log")

    # --- faults ---------------------------------------------------------------------------------------

    def kill_machine(self, node: Node) -> None:
        """SIGKILL to all of it: Patroni, every process of Postgres, and its member of etcd."""
        for process in (node.patroni, node.etcd):
            if process is not None:
                self._crew.signal(process, signal.SIGKILL)
        for pid in server_processes(node.data):
            kill(pid, signal.SIGKILL)
        for process in (node.patroni, node.etcd):
            if process is not None:
                self._crew.bury(process)
        node.patroni = node.etcd = None

    def kill_server(self, node: Node) -> None:
        """SIGKILL to the postmaster alone: Patroni sees it, and must not start it again as a primary."""
        for pid in server_processes(node.data)[:1]:
            kill(pid, signal.SIGKILL)

    def freeze(self, node: Node) -> None:
        """SIGSTOP to Patroni and Postgres: connections stay, nothing answers."""
        assert node.patroni is not None
        kill(node.patroni.pid, signal.SIGSTOP)
        node.frozen.append(node.patroni.pid)
        servers = server_processes(node.data)
        for pid in servers[:1]:  # no new child from here on
            kill(pid, signal.SIGSTOP)
        node.frozen += server_processes(node.data)
        for pid in node.frozen[2:]:
            kill(pid, signal.SIGSTOP)

    async def cut(self, node: Node) -> None:
        """No word any more between this node and the others, nor etcd. Its clients still reach it."""
        node.cut = True
        await self._tell_lines(f"cut {node.name}")

    async def revive(self, node: Node) -> None:
        """Undo whatever befell it."""
        self._let_go(node)
        if node.cut:
            await self._tell_lines(f"heal {node.name}")
            node.cut = False
        if node.etcd is None:
            self._start_etcd(node)
        if node.patroni is None:
            self._start_patroni(node)

    def _let_go(self, node: Node) -> None:
        for pid in reversed(
            node.frozen
        ):  # the postmaster first, Patroni last: the worst order for us
            kill(pid, signal.SIGCONT)
        node.frozen.clear()

    # --- looking --------------------------------------------------------------------------------------

    async def members(self) -> list[Member]:
        """As a reachable node sees the cluster; empty where none answers."""
        for node in self.nodes.values():
            if not node.reachable:
                continue
            try:
                answer = await self._http.get(f"http://{node.place.host}:{node.place.rest}/cluster")
                found = answer.json()["members"]
            except (httpx.HTTPError, ValueError, KeyError):
                continue
            return [
                Member(one["name"], one["role"], one["state"], int(one.get("timeline", 0)))
                for one in found
            ]
        return []

    async def leader(self) -> Member | None:
        """The node that holds the lock and runs as primary."""
        for one in await self.members():
            if one.role == "leader" and one.state == "running" and await self._serves(one.name):
                return one
        return None

    async def _serves(self, name: str) -> bool:
        """Whether this node itself says that it is the primary: HAProxy asks the same."""
        node = self.nodes[name]
        if not node.reachable:
            return False
        try:
            place = node.place
            answer = await self._http.get(f"http://{place.host}:{place.rest}/primary")
        except httpx.HTTPError:
            return False
        return answer.status_code == 200

    async def until_leader(self, not_this: str, within_s: float) -> Member:
        """The first primary that is another node than ``not_this``."""
        found: list[Member] = []

        async def another() -> bool:
            leader = await self.leader()
            if leader is None or leader.name == not_this:
                return False
            found.append(leader)
            return True

        await self._until(another, within_s, f"another node than {not_this} is the primary")
        return found[0]

    async def until_whole(self, within_s: float, *, synchronous: bool = True) -> Member:
        """A primary, a synchronous standby, and all three nodes on one timeline. The primary."""
        found: list[Member] = []

        async def whole() -> bool:
            members = await self.members()
            leader = await self.leader()
            up = [one for one in members if one.state in ("running", "streaming")]
            same = len({one.timeline for one in up}) == 1
            roles = [one.role for one in up]
            if leader is None or len(up) < NODES or not same:
                return False
            if synchronous and "sync_standby" not in roles:
                return False
            found.append(leader)
            return True

        await self._until(whole, within_s, "all nodes replicate")
        return found[-1]

    async def _until(
        self, condition: Callable[[], Awaitable[bool]], within_s: float, what: str
    ) -> None:
        deadline = self._clock.monotonic_ns() + int(within_s * 1e9)
        while not await condition():
            if self._clock.monotonic_ns() > deadline:
                seen = "; ".join(map(str, await self.members()))
                raise ClusterFailed(
                    f"not within {within_s:.0f} s: {what}. Seen: {seen}\n{self.last_words()}"
                )
            await self._clock.sleep(TURN_S)

    def last_words(self, lines: int = 12) -> str:
        """The end of what Patroni and Postgres said on every node."""
        said: list[str] = []
        for log in sorted(self._crew.folder.glob("**/patroni.log")):
            ends = log.read_text("utf-8", "replace").splitlines()[-lines:]
            said += [f"{log.parent.name}: {line[:300]}" for line in ends]
        return "\n".join(said)

    # --- addresses ------------------------------------------------------------------------------------

    def through_haproxy(self, user: str, password: str, database: str = DATABASE) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def of_all_hosts(self, user: str, password: str, database: str = DATABASE) -> str:
        hosts = ",".join(f"{one.place.host}:{one.place.postgres}" for one in self.nodes.values())
        return f"postgresql://{user}:{password}@{hosts}/{database}?target_session_attrs=read-write"

    def admin_url(self, database: str = DATABASE) -> str:
        return self.through_haproxy(ADMIN, self._passwords[ADMIN], database)


@asynccontextmanager
async def running_cluster(
    programs: Programs, ports: Ports, durable: Mapping[str, Any]
) -> AsyncIterator[Cluster]:
    """A cluster of its own in memory; nothing of it is left afterwards."""
    under = MEMORY if MEMORY.is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="ledger-failover-", dir=under))
    crew = Crew(folder)
    passwords = {name: f"{ports.rng.bits(128):032x}" for name in (ADMIN, REPLICATION)}
    places, port = await free_places()
    cluster = Cluster(crew, programs, places, port, passwords, ports.clock)
    try:
        await cluster.start(durable)
        yield cluster
    finally:
        await cluster.aclose()


async def free_places() -> tuple[list[Place], int]:
    """Ports that nobody listens on, all different on their address."""
    held: list[asyncio.Server] = []

    async def free(host: str) -> int:
        server = await asyncio.start_server(lambda _r, w: w.close(), host, 0)
        held.append(server)
        return int(server.sockets[0].getsockname()[1])

    places = []
    for number in range(1, NODES + 1):
        host = f"127.0.0.{number}"
        places.append(
            Place(
                f"node{number}",
                host,
                postgres=await free(host),
                rest=await free(host),
                etcd_client=await free(host),
                etcd_peer=await free(host),
                postgres_line=await free(host),
                rest_line=await free(host),
                etcd_lines=tuple([await free(host) for _ in range(NODES)]),
            )
        )
    port = await free("127.0.0.1")
    for server in held:
        server.close()
        await server.wait_closed()
    return places, port

"""No module reaches for the clock, for chance, for tasks or for the outside world by itself.

They come in through ``app.clock.Ports``, so that a simulator can own them and a failing run can be
repeated from its seed. One forgotten ``time.time()`` is enough to lose that, and nobody notices for
months. Hence a reader of syntax trees and not a custom.

An exception is an entry in ``ALLOWED`` with its reason; one that is no longer used fails the test.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = ("app", "workers")

MODULES: dict[str, str] = {
    "time": "time",
    "random": "chance",
    "secrets": "chance",
    "threading": "tasks",
    "concurrent.futures": "tasks",
    "multiprocessing": "tasks",
    "socket": "network",
    "socketserver": "network",
    "http.client": "network",
    "http.server": "network",
    "urllib.request": "network",
    "httpx": "network",
    "aiohttp": "network",
    "requests": "network",
    "websockets": "network",
    "hvac": "network",
    "boto3": "network",
    "botocore": "network",
    "asyncpg": "database",
    "psycopg": "database",
    "subprocess": "processes",
}
"""Modules that may not be imported, and the group an exception must name."""

NAMES: dict[str, str] = {
    "asyncio.sleep": "time",
    "datetime.datetime.now": "time",
    "datetime.datetime.utcnow": "time",
    "datetime.datetime.today": "time",
    "datetime.date.today": "time",
    "uuid.uuid1": "chance",
    "uuid.uuid4": "chance",
    "os.urandom": "chance",
    "os.getrandom": "chance",
    "asyncio.create_task": "tasks",
    "asyncio.ensure_future": "tasks",
    "asyncio.to_thread": "tasks",
    "asyncio.TaskGroup": "tasks",
    "asyncio.run_coroutine_threadsafe": "tasks",
    "asyncio.open_connection": "network",
    "asyncio.open_unix_connection": "network",
    "asyncio.start_server": "network",
    "asyncio.start_unix_server": "network",
    "asyncio.create_subprocess_exec": "processes",
    "asyncio.create_subprocess_shell": "processes",
    "os.fork": "processes",
    "os.system": "processes",
    "os.popen": "processes",
}
"""Names that may not be used, called or handed on."""

METHODS: dict[str, str] = {
    "create_task": "tasks",
    "run_in_executor": "tasks",
    "call_later": "time",
    "call_at": "time",
    "create_connection": "network",
    "create_server": "network",
    "create_datagram_endpoint": "network",
    "sock_connect": "network",
}
"""Methods of an event loop or a task group, whatever the variable that holds it is called."""

GROUPS = frozenset(MODULES.values()) | frozenset(NAMES.values())


@dataclass(frozen=True)
class Allowance:
    groups: frozenset[str]
    reason: str


ALLOWED: dict[str, Allowance] = {
    "app/clock.py": Allowance(GROUPS, "the ports themselves"),
    "app/db/": Allowance(
        frozenset({"time", "network", "database", "processes"}),
        "the database is reached from here: the driver, the embedded server's processes and"
        " sockets, and waiting for a server that no simulator owns",
    ),
    "workers/demo/processes.py": Allowance(
        frozenset({"processes"}), "the demo starts real workers and writers, and kills them"
    ),
    "workers/demo/simulated.py": Allowance(
        frozenset({"network"}),
        "the demo orders the faults of the venue it started and reads that venue's own book",
    ),
    "app/venue/polymarket/transport.py": Allowance(
        frozenset({"network"}), "the requests to the venue leave from here, and from nowhere else"
    ),
    "app/venue/polymarket/sockets.py": Allowance(
        frozenset({"network"}), "the streams of the venue come in here, behind `Connect`"
    ),
    "app/secrets/": Allowance(
        frozenset({"tasks", "network"}),
        "the clients of Vault and of AWS bring sockets of their own and block, so they are read in a"
        " thread beside the event loop",
    ),
    "app/venue/simulator/wire/": Allowance(
        frozenset({"network"}), "the simulated venue is a server: here it listens and speaks"
    ),
    "app/db/migrate.py": Allowance(
        frozenset({"tasks"}),
        "Alembic brings an event loop of its own, which needs a thread where one already runs",
    ),
}
"""File, or folder with a slash at its end, to what it may do and why."""


@dataclass(frozen=True)
class Finding:
    line: int
    name: str
    group: str


def findings(source: str) -> list[Finding]:
    """All uses of what ``MODULES``, ``NAMES`` and ``METHODS`` name, in the order of lines."""
    tree = ast.parse(source)
    hidden = set(_type_checking_nodes(tree))
    nodes = [node for node in ast.walk(tree) if node not in hidden]
    aliases = _aliases(nodes)
    found: set[Finding] = set()
    for node in nodes:
        for name, group in _names_in(node, aliases):
            found.add(Finding(getattr(node, "lineno", 0), name, group))
    return sorted(found, key=lambda one: (one.line, one.name))


def _type_checking_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """What stands under ``if TYPE_CHECKING`` never runs."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and _last_part(node.test) == "TYPE_CHECKING":
            for statement in node.body:
                yield from ast.walk(statement)


def _last_part(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _aliases(nodes: Iterable[ast.AST]) -> dict[str, str]:
    """Local name to the dotted name it stands for, from every import in the module."""
    names: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for item in node.names:
                first = item.name.split(".")[0]
                names[item.asname or first] = item.name if item.asname else first
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for item in node.names:
                names[item.asname or item.name] = f"{node.module}.{item.name}"
    return names


def _names_in(node: ast.AST, aliases: dict[str, str]) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        for item in node.names:
            yield from _judge(item.name)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield from _from_import(node)
    elif isinstance(node, ast.Attribute):
        yield from _judge(_dotted(node, aliases))
    elif isinstance(node, ast.Call):
        yield from _call(node, aliases)


def _from_import(node: ast.ImportFrom) -> Iterator[tuple[str, str]]:
    module = node.module or ""
    for item in node.names:
        if item.name == "*":
            # A star hides which names come in, so any name the module could bring counts.
            yield from ((name, group) for name, group in NAMES.items() if _within(name, module))
            yield from _judge(module)
        elif module.split(".")[0] in CODE and item.name in MODULES:
            # `from app.clock import time` would borrow another module's exception.
            yield f"{module}.{item.name}", MODULES[item.name]
        else:
            yield from _judge(f"{module}.{item.name}")


def _call(node: ast.Call, aliases: dict[str, str]) -> Iterator[tuple[str, str]]:
    function = node.func
    called = _dotted(function, aliases)
    texts = [str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)]
    if called in {"__import__", "importlib.import_module"} and texts:
        yield from _judge(texts[0])
    elif called == "getattr" and texts and node.args:
        yield from _judge(f"{_dotted(node.args[0], aliases)}.{texts[0]}")
    elif isinstance(function, ast.Attribute) and function.attr in METHODS:
        yield f".{function.attr}()", METHODS[function.attr]


def _dotted(node: ast.expr, aliases: dict[str, str]) -> str:
    """``a.b.c`` with the import behind ``a`` put in; empty for anything but a chain of names."""
    if isinstance(node, ast.Attribute):
        left = _dotted(node.value, aliases)
        return f"{left}.{node.attr}" if left else ""
    return aliases.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def _judge(dotted: str) -> Iterator[tuple[str, str]]:
    for table in (MODULES, NAMES):
        for name, group in table.items():
            if _within(dotted, name):
                yield name, group


def _within(dotted: str, name: str) -> bool:
    return dotted == name or dotted.startswith(name + ".")


def allowances(path: str) -> list[str]:
    """The entries of ``ALLOWED`` that cover a file."""
    return [key for key in ALLOWED if path == key or (key.endswith("/") and path.startswith(key))]


def permitted(path: str, group: str) -> bool:
    return any(group in ALLOWED[key].groups for key in allowances(path))


def modules() -> list[str]:
    return sorted(
        path.relative_to(ROOT).as_posix() for top in CODE for path in (ROOT / top).rglob("*.py")
    )


def test_no_module_reaches_past_the_ports() -> None:
    bad = [
        f"{path}:{one.line}: {one.name} ({one.group})"
        for path in modules()
        for one in findings((ROOT / path).read_text(encoding="utf-8"))
        if not permitted(path, one.group)
    ]
    assert not bad, "take it from app.clock.Ports, or give a reason in ALLOWED:\n" + "\n".join(bad)


def test_the_lint_reads_the_modules_there_are() -> None:
    """An empty list would make the test above pass for ever."""
    assert "app/clock.py" in modules()
    assert {one.group for one in findings((ROOT / "app/clock.py").read_text())} >= {
        "time",
        "chance",
        "tasks",
    }


@pytest.mark.parametrize("key", sorted(ALLOWED))
def test_no_exception_is_kept_that_nobody_uses(key: str) -> None:
    used = {
        one.group
        for path in modules()
        if key in allowances(path)
        for one in findings((ROOT / path).read_text(encoding="utf-8"))
    }
    assert used & ALLOWED[key].groups, f"nothing under {key} needs its entry in ALLOWED any more"
    assert ALLOWED[key].reason


def test_ruff_grants_no_exception_that_this_list_lacks() -> None:
    settings: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    ignores: dict[str, list[str]] = settings["tool"]["ruff"]["lint"]["per-file-ignores"]
    granted = {key.rstrip("*") for key, codes in ignores.items() if "TID251" in codes}
    assert granted - {"tests/", "proof/"} <= set(ALLOWED)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import time\n", "time"),
        ("import time as t\nt.time()\n", "time"),
        ("from time import monotonic\n", "time"),
        ("def f():\n    import random\n", "random"),
        ("import secrets\n", "secrets"),
        ("import socket\n", "socket"),
        ("from socket import create_connection\n", "socket"),
        ("import asyncio\nasync def f():\n    await asyncio.sleep(1)\n", "asyncio.sleep"),
        ("import asyncio as aio\nnap = aio.sleep\n", "asyncio.sleep"),
        ("from asyncio import sleep as nap\n", "asyncio.sleep"),
        ("from asyncio import *\n", "asyncio.sleep"),
        ("import asyncio\ngetattr(asyncio, 'sleep')(1)\n", "asyncio.sleep"),
        ("import asyncio\nasyncio.create_task(work())\n", "asyncio.create_task"),
        ("import asyncio\nasyncio.ensure_future(work())\n", "asyncio.ensure_future"),
        ("import asyncio\nasyncio.to_thread(work)\n", "asyncio.to_thread"),
        ("def f(loop):\n    loop.create_task(work())\n", ".create_task()"),
        ("async def f(group):\n    group.create_task(work())\n", ".create_task()"),
        ("def f(loop):\n    loop.call_later(1, work)\n", ".call_later()"),
        ("import datetime\ndatetime.datetime.now()\n", "datetime.datetime.now"),
        ("from datetime import datetime as dt\ndt.utcnow()\n", "datetime.datetime.utcnow"),
        ("from datetime import date\ndate.today()\n", "datetime.date.today"),
        ("import uuid\nuuid.uuid4()\n", "uuid.uuid4"),
        ("from uuid import uuid1\n", "uuid.uuid1"),
        ("import os\nos.urandom(8)\n", "os.urandom"),
        ("import httpx\n", "httpx"),
        ("from asyncpg import Connection\n", "asyncpg"),
        ("import aiohttp.client\n", "aiohttp"),
        ("import urllib\nurllib.request.urlopen('x')\n", "urllib.request"),
        ("import subprocess\n", "subprocess"),
        ("__import__('time')\n", "time"),
        ("import importlib\nimportlib.import_module('random')\n", "random"),
        ("from app.clock import time\n", "app.clock.time"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    x = 1\nimport time\n", "time"),
    ],
)
def test_a_planted_violation_is_found(source: str, name: str) -> None:
    assert name in {one.name for one in findings(source)}


@pytest.mark.parametrize(
    "source",
    [
        "from app.clock import Clock\nasync def f(clock: Clock):\n    await clock.sleep(1)\n",
        "def f(tasks, work):\n    tasks.spawn(work(), name='x')\n",
        "import asyncio\nasyncio.Event()\nasyncio.run(main())\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import asyncpg\n",
        "from datetime import datetime\ndatetime.fromtimestamp(0)\n",
        "import uuid\nuuid.UUID(int=1)\n",
        "import os\nos.getpid()\n",
        "time = 3\nprint(time)\n",
        "import urllib.parse\nurllib.parse.quote('x')\n",
    ],
)
def test_what_goes_through_the_ports_is_left_alone(source: str) -> None:
    assert findings(source) == []


def test_an_exception_covers_its_groups_only() -> None:
    assert permitted("app/db/embedded.py", "database")
    assert not permitted("app/db/embedded.py", "chance")
    assert not permitted("app/database.py", "database")
    assert not permitted("app/ledger/api.py", "database")

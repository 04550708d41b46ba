"""Starts workers and simulators as processes of their own without each of them loading its modules anew.

One process per test session has imported everything and does nothing but fork: a child is as much a process as any
(its own pid, files, environment; it dies of a SIGKILL), only the two thirds of a second of imports are saved, several
hundred times. Linux and macOS.
"""

from __future__ import annotations

import array
import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
_MOST = 1 << 20


class Child:
    """A forked process, as `subprocess.Popen` shows one, as far as tests look."""

    def __init__(self, starter: Starter, pid: int, stdout: IO[str] | None) -> None:
        self._starter = starter
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code (negative after a signal), or None while it runs."""
        if self.returncode is None:
            self.returncode = self._starter.code_of(self.pid, 0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code; `subprocess.TimeoutExpired` if it still runs then."""
        if self.returncode is None:
            self.returncode = self._starter.code_of(self.pid, timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Nothing where it has ended already."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Starter:
    """The process that forks, and this side of the line to it. Calls may come from any thread."""

    def __init__(self, module: str = "tests.support.forking") -> None:
        """``module``, run with the number of its end of the line, is to `serve` it."""
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        self._codes: dict[int, int] = {}
        self._started: list[int] = []
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno())],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # an interruption is for us: we end it, and it the others
            )
        atexit.register(self.close)

    def start(
        self,
        what: str,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        log: Path,
        piped: bool = False,
    ) -> Child:
        """``what`` is ``worker``, ``command`` or what ``module`` knows. With ``piped`` its output can be read, else it
        goes to the log too.
        """
        reader, writer = os.pipe() if piped else (-1, -1)
        with log.open("ab") as file:
            order = {"what": what, "argv": list(arguments), "env": dict(env), "cwd": str(cwd)}
            files = [writer if piped else file.fileno(), file.fileno()]
            with self._lock:
                socket.send_fds(self._line, [json.dumps(order).encode()], files)
                while not self._started:
                    self._hear(None)
                pid = self._started.pop()
        if piped:
            os.close(writer)
        return Child(self, pid, os.fdopen(reader, encoding="utf-8") if piped else None)

    def code_of(self, pid: int, timeout: float | None) -> int | None:
        """The exit code of a child, waiting for at most so long."""
        ends = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._lock:
                while select.select([self._line], [], [], 0)[0]:
                    self._hear(0)
                if pid in self._codes:
                    return self._codes[pid]
            left = None if ends is None else ends - time.monotonic()
            if left is not None and left <= 0:
                return None
            # not under the lock: other threads wait for other children on the same line
            select.select([self._line], [], [], 0.05 if left is None else min(left, 0.05))

    def _hear(self, timeout: float | None) -> None:
        if not select.select([self._line], [], [], timeout)[0]:
            return
        said = self._line.recv(_MOST)
        assert said, "the process that starts others has ended"
        told = json.loads(said)
        if "started" in told:
            self._started.append(told["started"])
        else:
            self._codes[told["ended"]] = told["code"]

    def close(self) -> None:
        """Ends it and whatever it started."""
        self._line.close()
        self._process.wait()


@cache
def starter() -> Starter:
    """Of this test session."""
    return Starter()


# ------------------------------------------------------------------------------- the other process


def of_tests() -> dict[str, Callable[[], Any]]:
    """What tests start; all of it is imported here, once."""
    import app.venue.simulator.process  # noqa: F401
    import workers.cli.main
    import workers.cli.simulator
    from tests.support import worker_process

    return {"worker": worker_process.run, "command": workers.cli.main.main}


def serve(line: socket.socket, targets: Mapping[str, Callable[[], Any]]) -> None:
    """Fork on request; tell who has ended. At the end of the line all children end."""
    running: set[int] = set()
    # A collection of garbage would write to every page that a child shares with this process, and copy it.
    gc.collect()
    gc.freeze()
    try:
        # A line whose other end died without a word breaks where something is said into it.
        with suppress(BrokenPipeError, ConnectionResetError):
            _serve(line, targets, running)
    finally:
        for pid in running:
            os.kill(pid, signal.SIGKILL)
        for pid in running:
            os.waitpid(pid, 0)


def _serve(
    line: socket.socket, targets: Mapping[str, Callable[[], Any]], running: set[int]
) -> None:
    heard, wake = os.pipe()
    for end in (heard, wake):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    while True:
        ready, _, _ = select.select([line.fileno(), heard], [], [])
        if heard in ready:
            os.read(heard, 4096)
            for pid, code in _ended():
                running.discard(pid)
                line.send(json.dumps({"ended": pid, "code": code}).encode())
        if line.fileno() in ready:
            order, files = _asked(line)
            if order is None:
                return
            pid = os.fork()
            if pid == 0:
                line.close()
                _become(order, files, targets[order["what"]])
            for file in files:
                os.close(file)
            running.add(pid)
            line.send(json.dumps({"started": pid}).encode())


def _ended() -> list[tuple[int, int]]:
    found = []
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            found.append((pid, os.waitstatus_to_exitcode(status)))
    return found


def _asked(line: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    size = array.array("i").itemsize
    said, files, _, _ = socket.recv_fds(line, _MOST, 2 * size)
    return (json.loads(said) if said else None), files


def _become(order: dict[str, Any], files: list[int], target: Any) -> None:
    """In the child: nothing of the starter is left but its modules."""
    code: Any = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for wanted, file in zip((1, 2), files, strict=True):
            os.dup2(file, wanted)
            os.close(file)
        os.chdir(order["cwd"])
        os.environ.clear()
        os.environ.update(order["env"])
        sys.argv = ["ledger-worker", *order["argv"]]
        code = target()
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - the end of a process: told as an interpreter tells it
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), of_tests())

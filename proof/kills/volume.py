"""A disk of the database's own, in a file: it can be full, or fall read-only under a running server.

Mounting needs root. Falling read-only is ext4's own answer to an error (``errors=remount-ro``), here on order: what was
written and not synced is lost with it, as when a machine loses its power.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from app.clock import Clock
from tests.support.servers import memory

SIZE: Final = 1 << 30
UNMOUNT_S: Final = 10.0
_STEPS: Final = (1 << 26, 1 << 20, 1 << 12)
_NEEDED: Final = ("mount", "umount", "losetup", "mkfs.ext4", "e2fsck")
_GUARD: Final = """
read -r _
[ -d "$1" ] || exit 0
for file in "$1"/disk/*/pg/postmaster.pid; do
  read -r pid < "$file" && tr '\\0' ' ' < "/proc/$pid/cmdline" | grep -qF "$1" || continue
  kill -KILL "$pid" $(pgrep -P "$pid")
done
umount -l "$1/disk"
rm -rf "$1"
"""


class VolumeFailed(Exception):
    """A disk could not be made or mended; the text is what the program said."""


def _program(name: str) -> str | None:
    return shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")


def _run(*words: str | Path, fine: Sequence[int] = (0,)) -> None:
    command = [_program(str(words[0])) or words[0], *words[1:]]
    done = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode not in fine:
        raise VolumeFailed(f"{words[0]} ended with {done.returncode}: {done.stdout.strip()[:300]}")


class Volume:
    """A folder that is a disk of its own. Made by `volume`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "disk"
        self._image = folder / "disk.ext4"
        self._filler = self.folder / "filler"

    def make(self) -> None:
        self.folder.mkdir(mode=0o755)
        with self._image.open("wb") as file:
            file.truncate(SIZE)
        _run("mkfs.ext4", "-q", "-m", "0", self._image)
        self._mount()

    def _mount(self) -> None:
        _run("mount", "-o", "loop,errors=remount-ro", self._image, self.folder)
        self.folder.chmod(0o755)

    def fill(self) -> None:
        """Not a byte is left."""
        with self._filler.open("wb") as file:
            end = 0
            for step in _STEPS:
                try:
                    while True:
                        os.posix_fallocate(file.fileno(), end, step)
                        end += step
                except OSError:
                    continue

    def empty(self) -> None:
        """There is room again."""
        self._filler.unlink(missing_ok=True)

    def fall(self) -> None:
        """Read-only from this moment, for whoever has files open too; what was not synced is gone."""
        _run("mount", "-o", "remount,abort", self.folder)

    async def mend(self, clock: Clock) -> None:
        """What an operator does about it. Nobody may have a file open there any more."""
        deadline = clock.monotonic_ns() + int(UNMOUNT_S * 1e9)
        while True:
            try:
                _run("umount", self.folder)
                break
            except VolumeFailed:
                if clock.monotonic_ns() > deadline:
                    raise
                await clock.sleep(0.05)
        _run("e2fsck", "-fy", self._image, fine=(0, 1))
        self._mount()

    def close(self) -> None:
        if os.path.ismount(self.folder):
            _run("umount", "-l", self.folder)


@contextmanager
def volume() -> Iterator[Volume | None]:
    """A disk in memory, removed afterwards whatever becomes of us; None where mounting is not ours to do."""
    if os.geteuid() != 0 or None in map(_program, _NEEDED):
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="ledger-kills-", dir=memory()))
    folder.chmod(0o755)
    guard = subprocess.Popen(
        ["/bin/sh", "-c", _GUARD, "sh", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )
    made: Volume | None = Volume(folder)
    try:
        try:
            assert made is not None
            made.make()
        except VolumeFailed:  # a container without the privilege or without loop devices
            made = None
        yield made
    finally:
        if made is not None:
            made.close()
        shutil.rmtree(folder, ignore_errors=True)
        assert guard.stdin is not None
        guard.stdin.close()
        guard.wait()

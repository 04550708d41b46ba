"""A few real kills of everything that can die, judged; and a disk that is full, read-only and mended."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.clock import Ports, SeededRng
from app.db.embedded.processes import is_running
from proof.kills import part
from proof.kills.field import field
from proof.kills.rounds import play
from proof.kills.volume import volume
from proof.parts import Request

SECONDS = 2.0


@pytest.mark.campaign
async def test_a_few_kills_of_everybody_lose_and_double_nothing(tmp_path: Path) -> None:
    async with field(Ports.system(), 1, tmp_path, disk=False) as made:
        played, judgement = await play(0, "", made, SeededRng(1), SECONDS)
        processes = [seat.life.child.pid for seat in made.crowd.seats if seat.life is not None]
        assert judgement.problems == ()
        assert not played.unserved
        assert len(played.kills) >= 3
        assert judgement.verdict.intents > 0
        assert len(judgement.placed_ms) == judgement.verdict.placed > 0
        folder = made.postgres.server.config.home
    assert [pid for pid in processes if is_running(pid)] == []
    assert not os.path.lexists(folder)  # noqa: ASYNC240 - a look, after everything has ended


async def test_a_disk_can_be_full_fall_and_be_mended() -> None:
    clock = Ports.system().clock
    with volume() as made:
        if made is None:
            pytest.skip("mounting is not ours to do here")
        kept = made.folder / "kept"
        with kept.open("wb") as file:
            file.write(b"synced")
            file.flush()
            os.fsync(file.fileno())
        made.fill()
        with pytest.raises(OSError, match="No space left"):
            (made.folder / "more").write_bytes(bytes(8192))
        made.empty()
        (made.folder / "more").write_bytes(bytes(8192))
        made.fall()
        with pytest.raises(OSError, match="Read-only"):
            (made.folder / "other").write_bytes(b"other")
        await made.mend(clock)
        assert kept.read_bytes() == b"synced"
        mounted = made.folder
    assert not os.path.lexists(mounted)  # noqa: ASYNC240 - likewise


@pytest.mark.campaign
def test_what_is_planted_is_found(tmp_path: Path) -> None:
    share = part.run(Request(seed=1, seconds=1, short=True, workdir=tmp_path, only=part.PLANT))
    assert share.figures["planted_found"] == share.figures["planted_runs"] > 0
    assert not share.violations

"""The part ``failover``: as many failovers under load as the budget allows, each judged.

``only`` names one kind of blow (see `proof.failover.rounds`), or ``planted``: the same with asynchronous replication,
which must be found to lose orders.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from app.clock import Ports, SeededRng
from app.errors import BadInput, Code, LedgerError
from proof.failover import packages
from proof.failover.cluster import Cluster, ClusterFailed, running_cluster
from proof.failover.configuration import DURABLE, PLANTED
from proof.failover.ground import furnish
from proof.failover.rounds import KINDS, Round, play
from proof.failover.traffic import ROUTES, Traffic
from proof.live.judging import judged
from proof.live.measuring import middle
from proof.parts import Request, Share, Violation
from workers.demo.processes import Processes

NAME: Final = "failover"
PLANT: Final = "planted"
JUDGED_EVERY: Final = 8
"""Rounds between two judgements: a judgement stops the traffic for some seconds."""

FOR_A_ROUND_S: Final = 45.0
FOR_A_JUDGEMENT_S: Final = 45.0
"""What must be left of the budget for another one to begin."""


@dataclass(slots=True)
class Log:
    """What a run did so far; a failure of the cluster leaves it as it stands."""

    seed: int
    rounds: list[Round] = field(default_factory=list)
    figures: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    """What was told already: an order that is lost is lost in every later round too."""
    lost: int = 0
    judged: int = 0
    """Rounds that a judgement has covered."""

    def tell(self, where: str, found: Iterable[str]) -> int:
        """Keep what is new; how much that was."""
        new = [one for one in dict.fromkeys(found) if one not in self.seen]
        self.seen.update(new)
        self.problems += [f"{where}: {one}" for one in new]
        return len(new)


def run(request: Request) -> Share:
    """Failovers until the budget is used up. Raises `BadInput` where packages are missing."""
    programs = packages.find()
    if request.only not in (None, *KINDS, PLANT):
        raise BadInput(
            Code.BAD_REQUEST,
            f"{request.only!r} is no kind of failover",
            not_done="no failover was tried",
            next_step=f"one of {', '.join((*KINDS, PLANT))}",
        )
    ports = Ports.system()
    began_ns = ports.clock.monotonic_ns()
    log = Log(request.seed)
    asyncio.run(_campaign(request, programs, ports, log, began_ns))
    seconds = (ports.clock.monotonic_ns() - began_ns) / 1e9
    return share_of_planted(log, seconds) if request.only == PLANT else share_of(log, seconds)


def kinds_of(seed: int, only: str | None, count: int) -> list[str]:
    """The blows of a run: each kind equally often, in an order that the seed chooses."""
    rng = SeededRng(seed)
    found: list[str] = []
    while len(found) < count:
        # Where a node is cut off without a standby that confirms, what it goes on confirming is lost.
        turn = ["cut"] if only == PLANT else [only] if only else list(KINDS)
        while turn:
            found.append(turn.pop(rng.bits(32) % len(turn)))
    return found[:count]


async def _campaign(
    request: Request, programs: packages.Programs, ports: Ports, log: Log, began_ns: int
) -> None:
    def left_s() -> float:
        return request.seconds - (ports.clock.monotonic_ns() - began_ns) / 1e9

    with tempfile.TemporaryDirectory(prefix="failover-", dir=request.workdir) as name:
        folder = Path(name)
        processes = Processes(folder)
        durable = PLANTED if request.only == PLANT else DURABLE
        try:
            async with running_cluster(programs, ports, durable) as cluster:
                await _under_load(request, cluster, processes, folder, ports, log, left_s)
        except (ClusterFailed, LedgerError) as error:
            log.problems.append(f"the campaign could not go on: {error}")
        finally:
            if log.problems:
                for line in processes.tails(4):
                    request.report(line)
            await processes.end_all()


async def _under_load(
    request: Request,
    cluster: Cluster,
    processes: Processes,
    folder: Path,
    ports: Ports,
    log: Log,
    left_s: Callable[[], float],
) -> None:
    # Even seeds of the demo's venue: plain HTTP, and no switch that cancels everything in an outage.
    stage, addresses = await furnish(cluster, ports, 2 * request.seed)
    traffic = Traffic(stage, addresses, ports, processes, folder)
    try:
        await traffic.start()
        await _rounds(request, cluster, traffic, ports, log, left_s)
    finally:
        await traffic.aclose()
        if log.problems:
            request.report(cluster.last_words(6))


async def _rounds(
    request: Request,
    cluster: Cluster,
    traffic: Traffic,
    ports: Ports,
    log: Log,
    left_s: Callable[[], float],
) -> None:
    kinds = kinds_of(request.seed, request.only, 10_000)
    traffic.go()
    while not log.rounds or left_s() > FOR_A_ROUND_S + FOR_A_JUDGEMENT_S:
        number = len(log.rounds)
        done = await play(
            number, kinds[number], cluster, traffic, ports, synchronous=request.only != PLANT
        )
        log.rounds.append(done)
        request.report(str(done))
        where = f"round {number}, {done.kind}"
        log.lost += log.tell(where, (f"lost: {what}" for what in done.lost))
        log.problems += [f"{where}: {route} was not served again" for route in done.unserved]
        if request.only == PLANT:
            return
        if len(log.rounds) - log.judged >= JUDGED_EVERY:
            await _judge(request, traffic, ports, log)
            traffic.go()
    if log.judged < len(log.rounds):
        await _judge(request, traffic, ports, log)
    await traffic.end_writers()


async def _judge(request: Request, traffic: Traffic, ports: Ports, log: Log) -> None:
    rounds = f"rounds {log.judged} to {len(log.rounds) - 1}"
    found = await judged(traffic, ports)
    await traffic.ensure_workers()
    log.judged = len(log.rounds)
    verdict = found.verdict
    log.tell(rounds, found.problems)
    # Counts of the whole ledger so far: the last judgement's stand.
    log.figures.update({"judgements": 1})
    for name, count in {
        "orders_admitted": sum(len(told.orders) for told in traffic.told),
        "orders_placed": verdict.placed,
        "trades": verdict.trades,
        "failed_answers": sum(told.statuses["failed"] for told in traffic.told),
        "replays": verdict.replays,
        "unknown_fates": found.unknown,
        "lost": verdict.lost,
        "doubled": verdict.duplicates,
    }.items():
        log.figures[name] = count
    codes: Counter[str] = sum((told.codes for told in traffic.told), Counter())
    request.report(
        f"judged {rounds}: {verdict.placed} placed, {verdict.trades} trades, lost {verdict.lost}, "
        f"doubled {verdict.duplicates}, problems {len(found.problems)}; {dict(codes)}; "
        f"not placed {verdict.not_placed_by_cause}, rejected {verdict.rejected}"
    )


# --- the share ------------------------------------------------------------------------------------------


def share_of(log: Log, seconds: float) -> Share:
    """What is reported."""
    figures = Counter(log.figures)
    figures["rounds"] = len(log.rounds)
    figures["failovers"] = sum(one.leader != one.struck for one in log.rounds)
    # Found at a new primary and again by the judgement, an order is lost once.
    figures["lost"] = max(figures["lost"], log.lost)
    figures["not_judged"] = len(log.rounds) - log.judged
    outages = [
        f"{log.seed}:{one.number}:{one.kind}:{route}:{ms}"
        for one in log.rounds
        for route, ms in one.outage_ms.items()
    ]
    return Share(
        NAME,
        seconds,
        figures=dict(figures),
        sets={"without_service_ms": outages},
        table=[_row(log, kind) for kind in KINDS if any(one.kind == kind for one in log.rounds)],
        violations=[
            Violation(log.seed, what, f"make prove PART={NAME} SEED={log.seed}")
            for what in log.problems
        ],
    )


def share_of_planted(log: Log, seconds: float) -> Share:
    """Of a run that must lose orders: a violation if it did not, and no failover that counts."""
    lost = log.lost
    found = [] if lost else ["asynchronous replication lost nothing: the check does not check"]
    return Share(
        NAME,
        seconds,
        figures={"planted_runs": 1, "planted_found": int(lost > 0), "planted_lost": lost},
        violations=[
            Violation(log.seed, what, f"make prove PART={NAME} SEED={log.seed} ONLY={PLANT}")
            for what in found
        ],
    )


def _row(log: Log, kind: str) -> Mapping[str, Any]:
    rounds: Sequence[Round] = [one for one in log.rounds if one.kind == kind]
    row: dict[str, Any] = {
        "key": f"{kind} {log.seed}",
        "the primary is struck by": kind,
        "seed": log.seed,
        "failovers": sum(one.leader != one.struck for one in rounds),
    }
    for route in ROUTES:
        gaps = [one.outage_ms[route] for one in rounds]
        row[f"without service through {route}, median and most, s"] = (
            f"{middle(gaps) / 1000:.1f}, {max(gaps) / 1000:.1f}"
        )
    row["back after, most, s"] = f"{max(one.rejoined_ms for one in rounds) / 1000:.1f}"
    return row

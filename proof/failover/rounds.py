"""One round: traffic flows, the primary is struck, another serves, the struck one comes back and replicates.

Kinds of blows: ``machine`` kills all of the node at once, its member of etcd too; ``server`` kills the postmaster and
leaves Patroni; ``freeze`` stops Patroni and Postgres and wakes them when another is primary; ``cut`` takes the node's
lines to the others and to etcd, while its clients still reach it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from app.clock import Ports
from proof.failover.cluster import Cluster, Node
from proof.failover.traffic import ROUTES, Traffic
from proof.live.judging import lost_so_far
from proof.live.measuring import longest_gap

KINDS: Final = ("machine", "cut", "server", "freeze")
STEADY_S: Final = 3.0
AFTERWARDS_S: Final = 1.0
LEADER_S: Final = 60.0
SERVED_S: Final = 60.0
WHOLE_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Round:
    """What happened in one round."""

    number: int
    kind: str
    struck: str
    leader: str
    promoted_ms: int
    """Until Patroni had another primary."""
    outage_ms: dict[str, int]
    """By route: the longest time in which nobody there was admitted."""
    rejoined_ms: int
    """From the end of the fault until all three nodes replicated again."""
    lost: tuple[str, ...]
    unserved: tuple[str, ...]
    """Routes that were not served any more."""
    lasted_ms: int

    def __str__(self) -> str:
        gaps = ", ".join(f"{route} {ms / 1000:.1f} s" for route, ms in self.outage_ms.items())
        return (
            f"{self.number}: {self.kind} of {self.struck}, then {self.leader}; without service: {gaps}; "
            f"back after {self.rejoined_ms / 1000:.1f} s; lost {len(self.lost)}; round {self.lasted_ms / 1000:.0f} s"
        )


async def play(
    number: int,
    kind: str,
    cluster: Cluster,
    traffic: Traffic,
    ports: Ports,
    *,
    synchronous: bool = True,
) -> Round:
    """One whole round. Raises `ClusterFailed` where the cluster itself does not come back."""
    clock = ports.clock
    began_ms = clock.now_ms()
    await cluster.until_whole(WHOLE_S, synchronous=synchronous)
    await traffic.ensure_workers()
    for route in ROUTES:
        await traffic.served_since(route, began_ms, SERVED_S)
    await clock.sleep(STEADY_S)
    # Once more: a busy machine may have changed the primary by itself meanwhile.
    before = await cluster.until_whole(WHOLE_S, synchronous=synchronous)
    node = cluster.nodes[before.name]
    struck_ms = clock.now_ms()
    await _strike(kind, cluster, node)
    leader = await cluster.until_leader(node.name, LEADER_S)
    promoted_ms = clock.now_ms()
    await traffic.served_since("haproxy", promoted_ms, SERVED_S)
    await clock.sleep(AFTERWARDS_S)
    undone_ms = clock.now_ms()
    await cluster.revive(node)
    unserved = [
        route for route in ROUTES if not await traffic.served_since(route, promoted_ms, SERVED_S)
    ]
    await cluster.until_whole(WHOLE_S, synchronous=synchronous)
    whole_ms = clock.now_ms()
    outages = {
        route: longest_gap(
            [at for told in traffic.told if told.route == route for at in told.admitted_ms],
            struck_ms,
            whole_ms,
        )
        for route in ROUTES
    }
    lost = await lost_so_far(traffic)
    return Round(
        number,
        kind,
        node.name,
        leader.name,
        promoted_ms - struck_ms,
        outages,
        whole_ms - undone_ms,
        tuple(lost),
        tuple(unserved),
        clock.now_ms() - began_ms,
    )


async def _strike(kind: str, cluster: Cluster, node: Node) -> None:
    if kind == "cut":
        await cluster.cut(node)
        return
    blows: dict[str, Callable[[Node], None]] = {
        "machine": cluster.kill_machine,
        "server": cluster.kill_server,
        "freeze": cluster.freeze,
    }
    blows[kind](node)

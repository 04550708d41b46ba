"""What is traded on the cluster: schema, logins, an account, markets; and the venue beside it with its own store."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import cast

from app.clock import Ports
from app.db.access import LOGIN_ROLES
from app.db.connect import open_connection
from app.db.credentials import set_role_password
from app.db.embedded import Server
from app.db.migrate import upgrade
from proof.failover.cluster import DATABASE, Cluster
from proof.live.ground import cast_of, fill
from workers.demo.stage import PREFIX, Stage


@dataclass(frozen=True, slots=True)
class Addresses:
    """Stands where the demo has its embedded server: the logins' addresses, here of the cluster."""

    cluster: Cluster
    passwords: dict[str, str]

    def url(self, role: str | None = None) -> str:
        if role is None:
            return self.cluster.admin_url()
        return self.cluster.through_haproxy(role, self.passwords[role])

    def of_all_hosts(self, role: str) -> str:
        return self.cluster.of_all_hosts(role, self.passwords[role])


async def furnish(cluster: Cluster, ports: Ports, seed: int) -> tuple[Stage, Addresses]:
    """Schema, logins, account, markets and limits on the cluster's primary."""
    roles = [PREFIX.role(role) for role in LOGIN_ROLES]
    addresses = Addresses(cluster, {role: f"{ports.rng.bits(128):032x}" for role in roles})
    admin = await open_connection(cluster.admin_url("postgres"))
    try:
        await admin.execute(f'CREATE DATABASE "{DATABASE}"')
    finally:
        await admin.close()
    await asyncio.get_running_loop().run_in_executor(
        None, lambda: upgrade(addresses.url(), prefix=PREFIX)
    )
    owner = await open_connection(addresses.url())
    try:
        for role in roles:
            await set_role_password(owner, role, addresses.passwords[role])
    finally:
        await owner.close()
    # The demo's stage asks its server for addresses and for nothing else.
    stage = Stage(cast("Server", addresses), cast_of(ports), seed, "polymarket")
    await fill(stage)
    return stage, addresses

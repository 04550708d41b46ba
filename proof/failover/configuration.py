"""What Patroni, etcd and HAProxy are told. ``docs/running.md`` tells an operator the same in words.

Times are short so that a campaign fits an evening; everything that decides over durability is as in production.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SCOPE: Final = "ledger"
ADMIN: Final = "postgres"
REPLICATION: Final = "replicator"

TTL_S: Final = 6
"""How long the primary's lock lives without renewal. Not less than loop_wait + 2 * retry_timeout."""
LOOP_S: Final = 1
RETRY_S: Final = 2

DURABLE: Final[Mapping[str, Any]] = {
    "synchronous_mode": True,
    # Without it a primary that lost its last standby goes on alone, and what it then confirms dies with it.
    "synchronous_mode_strict": True,
    "synchronous_node_count": 1,
}
PLANTED: Final[Mapping[str, Any]] = {"synchronous_mode": False}
"""The mistake that the campaign must notice: a commit is confirmed before a second node has it."""

PARAMETERS: Final[Mapping[str, str]] = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "wal_log_hints": "on",
    "wal_level": "replica",
    "hot_standby": "on",
    "max_connections": "120",
    "shared_buffers": "64MB",
    # A server that is killed leaves no segment of shared memory behind on this machine.
    "dynamic_shared_memory_type": "mmap",
    "max_wal_size": "1GB",
    "wal_keep_size": "256MB",
    "wal_sender_timeout": "4s",
    "wal_receiver_timeout": "4s",
    "wal_retrieve_retry_interval": "500ms",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


@dataclass(frozen=True, slots=True)
class Place:
    """One node: its own ports, and the lines by which the others and etcd are reached."""

    name: str
    host: str
    postgres: int
    rest: int
    etcd_client: int
    etcd_peer: int
    postgres_line: int
    rest_line: int
    etcd_lines: tuple[int, ...]


def patroni(
    place: Place,
    folder: Path,
    binaries: Path,
    passwords: Mapping[str, str],
    durable: Mapping[str, Any],
) -> str:
    """Patroni's file: JSON, which is YAML too."""
    return json.dumps(
        {
            "scope": SCOPE,
            "name": place.name,
            "restapi": {
                "listen": f"{place.host}:{place.rest}",
                "connect_address": f"{place.host}:{place.rest_line}",
            },
            # Not etcd3: up to Patroni 3.0.2, which Debian 12 has, a primary that hung for longer than its lock
            # lived may take the lock back from the one that was made primary meanwhile. Version 2 compares first.
            "etcd": {
                "hosts": [f"{place.host}:{port}" for port in place.etcd_lines],
                "use_proxies": True,
            },
            "bootstrap": {
                "dcs": {
                    "ttl": TTL_S,
                    "loop_wait": LOOP_S,
                    "retry_timeout": RETRY_S,
                    "primary_start_timeout": 0,
                    "check_timeline": True,
                    **durable,
                    "postgresql": {
                        "use_pg_rewind": True,
                        "use_slots": True,
                        "remove_data_directory_on_rewind_failure": True,
                        "remove_data_directory_on_diverged_timelines": True,
                        "parameters": dict(PARAMETERS),
                    },
                },
                "initdb": ["data-checksums", {"encoding": "UTF8"}, {"locale": "C.UTF-8"}],
            },
            "postgresql": {
                "listen": f"{place.host}:{place.postgres}",
                "connect_address": f"{place.host}:{place.postgres_line}",
                "data_dir": str(folder / "data"),
                "bin_dir": str(binaries),
                "pgpass": str(folder / "pgpass"),
                "basebackup": {"checkpoint": "fast"},
                "authentication": {
                    "superuser": {"username": ADMIN, "password": passwords[ADMIN]},
                    "replication": {"username": REPLICATION, "password": passwords[REPLICATION]},
                },
                "parameters": {"unix_socket_directories": str(folder)},
                "pg_hba": [
                    "local all all scram-sha-256",
                    "host replication all 127.0.0.0/8 scram-sha-256",
                    "host all all 127.0.0.0/8 scram-sha-256",
                ],
            },
            "watchdog": {"mode": "off"},
        },
        indent=1,
    )


def etcd(place: Place, places: Sequence[Place], data: Path) -> list[str]:
    """Arguments of one member."""
    client = f"http://{place.host}:{place.etcd_client}"
    peer = f"http://{place.host}:{place.etcd_peer}"
    members = ",".join(f"{one.name}=http://{one.host}:{one.etcd_peer}" for one in places)
    return [
        *("--name", place.name, "--data-dir", str(data)),
        *("--listen-client-urls", client, "--advertise-client-urls", client),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
        *("--initial-cluster", members, "--initial-cluster-state", "new"),
        *(
            "--heartbeat-interval",
            "100",
            "--election-timeout",
            "1000",
            "--enable-v2",
            "--logger",
            "zap",
        ),
    ]


def haproxy(places: Sequence[Place], port: int) -> str:
    """One port that leads to the primary, whoever that is.

    A commit that waits for its standby is silent for as long as that takes, hence no time-out on either side; a node
    that is no primary any more loses its sessions at once.
    """
    servers = "\n".join(
        f"    server {one.name} {one.host}:{one.postgres} check addr {one.host} port {one.rest}"
        for one in places
    )
    return f"""\
global
    maxconn 500
defaults
    mode tcp
    retries 0
    timeout connect 2s
    timeout client 24h
    timeout server 24h
    timeout check 1s
    option clitcpka
    option srvtcpka
listen writer
    bind 127.0.0.1:{port}
    option httpchk
    http-check send meth GET uri /primary
    http-check expect status 200
    default-server inter 500ms fastinter 250ms downinter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
{servers}
"""

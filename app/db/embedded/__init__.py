"""The embedded Postgres: the binaries of a wheel under a life cycle of our own.

The wheel's own life cycle stops the server under other processes' transactions when its starter
exits, opens the folders above the data to everybody when run as root, leaves a lock only root can
open, gives up after ten seconds, and lets anybody in without a password. `start` and its neighbours
do none of this.
"""

from app.db.embedded.config import ADMIN_ROLE, EmbeddedConfig
from app.db.embedded.folder import Progress
from app.db.embedded.lifecycle import State, Status, StopMode, start, status, stop
from app.db.embedded.server import Server
from app.db.embedded.throwaway import throwaway

__all__ = [
    "ADMIN_ROLE",
    "EmbeddedConfig",
    "Progress",
    "Server",
    "State",
    "Status",
    "StopMode",
    "start",
    "status",
    "stop",
    "throwaway",
]

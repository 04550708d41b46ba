"""Real kills: workers, writers and Postgres die of SIGKILL under load, beside disks, sockets and clocks that fail."""

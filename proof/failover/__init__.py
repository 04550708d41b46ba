"""Failover under load: three Postgres nodes under Patroni whose primary is killed, frozen and cut off repeatedly."""

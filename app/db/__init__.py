"""Connections to Postgres, and the embedded server that is used where none is configured."""

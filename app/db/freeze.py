"""Writes the frozen SQL of the newest revision from the files. Only while that revision is unreleased.

python -m app.db.freeze
"""

from __future__ import annotations

from app.db.migrate import MIGRATIONS
from app.db.schema import schema_sql

if __name__ == "__main__":
    (MIGRATIONS / "sql" / "0001_upgrade.sql").write_text(schema_sql(), "utf-8")

"""The tables as SQLAlchemy metadata, for programs that query with it. The SQL files are the truth."""

from __future__ import annotations

from sqlalchemy import MetaData

metadata = MetaData()

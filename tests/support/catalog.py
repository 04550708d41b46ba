"""What a database's schemas consist of, as text that can be compared."""

from __future__ import annotations

from typing import Final

import asyncpg

_SCHEMAS: Final = "('ledger', 'audit', 'paper')"
_ACL: Final = "coalesce(array(SELECT unnest({})::text ORDER BY 1), '{{}}')"

QUERIES: Final[dict[str, str]] = {
    "schemas": f"""
        SELECT nspname, pg_get_userbyid(nspowner), {_ACL.format("nspacl")}
        FROM pg_namespace WHERE nspname IN {_SCHEMAS}""",
    "relations": f"""
        SELECT c.oid::regclass, c.relkind, pg_get_userbyid(c.relowner), c.reloptions,
            c.relpersistence, {_ACL.format("c.relacl")}, obj_description(c.oid, 'pg_class'),
            pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname IN {_SCHEMAS}""",
    "columns": f"""
        SELECT c.oid::regclass, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod),
            a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated,
            l.collname, col_description(c.oid, a.attnum), {_ACL.format("a.attacl")}
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        LEFT JOIN pg_collation l ON l.oid = a.attcollation
        WHERE n.nspname IN {_SCHEMAS} AND a.attnum > 0 AND NOT a.attisdropped""",
    "constraints": f"""
        SELECT conrelid::regclass, conname, contype, convalidated, pg_get_constraintdef(k.oid)
        FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
        WHERE n.nspname IN {_SCHEMAS}""",
    "indexes": f"""
        SELECT indexrelid::regclass, indisunique, indisprimary, indisvalid,
            pg_get_indexdef(indexrelid)
        FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IN {_SCHEMAS}""",
    "functions": f"""
        SELECT p.oid::regprocedure, pg_get_functiondef(p.oid), pg_get_userbyid(p.proowner),
            {_ACL.format("p.proacl")}, obj_description(p.oid, 'pg_proc')
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname IN {_SCHEMAS} AND p.prokind IN ('f', 'p')""",
    "views": f"""
        SELECT c.oid::regclass, pg_get_viewdef(c.oid)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname IN {_SCHEMAS} AND c.relkind IN ('v', 'm')""",
    "triggers": f"""
        SELECT tgrelid::regclass, tgname, tgenabled, pg_get_triggerdef(t.oid)
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname IN {_SCHEMAS} AND NOT tgisinternal""",
    "types": f"""
        SELECT t.oid::regtype, t.typtype, {_ACL.format("t.typacl")}, obj_description(t.oid, 'pg_type')
        FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
        WHERE n.nspname IN {_SCHEMAS} AND t.typtype IN ('c', 'e', 'd')""",
    "defaults for what is made later": """
        SELECT pg_get_userbyid(defaclrole), defaclnamespace::regnamespace, defaclobjtype, defaclacl
        FROM pg_default_acl""",
    "policies": f"SELECT * FROM pg_policies WHERE schemaname IN {_SCHEMAS}",
    "transitions": "SELECT * FROM ledger.transition",
    "states": "SELECT * FROM ledger.order_state",
    "events": "SELECT * FROM ledger.order_event",
    "limits": "SELECT * FROM ledger.limits",
    "settings": "SELECT * FROM ledger.setting",
}


async def catalog(conn: asyncpg.Connection) -> dict[str, list[str]]:
    """Section to its rows as sorted text: everything but physical storage."""
    return {
        section: sorted(
            row["line"] for row in await conn.fetch(f"SELECT q::text AS line FROM ({query}) q")
        )
        for section, query in QUERIES.items()
    }


async def foreign_leftovers(conn: asyncpg.Connection) -> list[str]:
    """Objects of the database that are neither the server's own nor Alembic's table of versions."""
    rows = await conn.fetch("""
        SELECT n.nspname AS name FROM pg_namespace n
        WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'public')
        UNION ALL
        SELECT c.oid::regclass::text FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relname NOT LIKE 'ledger_alembic_version%'
        UNION ALL
        SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace
        UNION ALL
        SELECT t.oid::regtype::text FROM pg_type t
        WHERE t.typnamespace = 'public'::regnamespace AND t.typname NOT LIKE '%ledger_alembic_version'
        """)
    return [row["name"] for row in rows]

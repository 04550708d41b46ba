-- purpose: the revision of the schema, without asking alembic.
-- locks:   none.
-- index:   none; one row.
-- fence:   none; it only reads.

SELECT version_num FROM public.ledger_alembic_version

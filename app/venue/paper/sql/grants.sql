-- purpose: who may touch the paper venue: the worker runs it, and nobody else sees it. The auditor sees views only.
-- locks:   none beyond the catalogue's.
-- index:   none.
-- fence:   nobody may delete orders, trades or events: they are the venue's memory, and Duplicated depends on it.

REVOKE ALL ON SCHEMA paper FROM PUBLIC;
GRANT USAGE ON SCHEMA paper TO ${role_worker};
GRANT SELECT ON ALL TABLES IN SCHEMA paper TO ${role_worker};
GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA paper TO ${role_worker};
GRANT DELETE ON paper.arrival, paper.book_level, paper.fault TO ${role_worker};

GRANT SELECT ON public.ledger_alembic_version
TO ${role_worker}, ${role_trader}, ${role_risk}, ${role_auditor};

"""The outbox worker: one short module per task, all on the same loop."""

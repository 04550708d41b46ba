"""Revisions of the schema. Each carries its own frozen SQL."""

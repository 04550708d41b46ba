"""Shared by the tests: servers, databases and builders."""

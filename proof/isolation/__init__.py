"""Isolation: histories of real concurrent sessions, and whether any order of them is a legal one."""

"""Paths, SQLite records and locks."""

"""Runs units of work on the one database. Knows transactions and threads, nothing of what is written.

SQLite: one writer thread, every unit in a savepoint, committed in groups; the caller goes on after the
commit. PostgreSQL: every unit is a transaction of its own.
"""

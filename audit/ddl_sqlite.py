"""SQLite's guards of the log, as SQL text. Knows nothing of how it is run.

The log takes rows at its end and nothing else. ``INSERT OR REPLACE`` fires no DELETE trigger, so the insert
trigger itself refuses whatever does not continue the chain; an explicit rowid could replace a row although its
seq continues, so that is refused too.
"""

from __future__ import annotations

GUARDS = """
DROP TRIGGER IF EXISTS agent_audit_log_no_update
--;
CREATE TRIGGER agent_audit_log_no_update BEFORE UPDATE ON agent_audit_log
BEGIN
    SELECT RAISE(ABORT, 'agent_audit_log is append-only: rows are never changed');
END
--;
DROP TRIGGER IF EXISTS agent_audit_log_no_delete
--;
CREATE TRIGGER agent_audit_log_no_delete BEFORE DELETE ON agent_audit_log
BEGIN
    SELECT RAISE(ABORT, 'agent_audit_log is append-only: rows are never removed');
END
--;
DROP TRIGGER IF EXISTS agent_audit_log_continues
--;
CREATE TRIGGER agent_audit_log_continues BEFORE INSERT ON agent_audit_log
WHEN NOT EXISTS (
        SELECT 1 FROM audit_head
        WHERE tenant_id = NEW.tenant_id AND seq = NEW.seq - 1 AND hash = NEW.prev_hash
    )
    OR EXISTS (SELECT 1 FROM agent_audit_log WHERE rowid = NEW.rowid)
    OR EXISTS (SELECT 1 FROM agent_audit_log WHERE tenant_id = NEW.tenant_id AND seq = NEW.seq)
BEGIN
    SELECT RAISE(ABORT, 'agent_audit_log is append-only: a row must continue seq and prev_hash of its tenant');
END
--;
DROP TRIGGER IF EXISTS agent_audit_log_moves_head
--;
CREATE TRIGGER agent_audit_log_moves_head AFTER INSERT ON agent_audit_log
BEGIN
    SELECT RAISE(ABORT, 'agent_audit_log numbers its rows itself') WHERE NEW.rowid < 1;
    UPDATE audit_head SET seq = NEW.seq, hash = NEW.row_hash WHERE tenant_id = NEW.tenant_id;
END
--;
DROP TRIGGER IF EXISTS audit_head_follows
--;
CREATE TRIGGER audit_head_follows BEFORE UPDATE ON audit_head
WHEN NEW.tenant_id IS NOT OLD.tenant_id
    OR NEW.seq IS NOT OLD.seq + 1
    OR NOT EXISTS (
        SELECT 1 FROM agent_audit_log
        WHERE tenant_id = NEW.tenant_id AND seq = NEW.seq AND row_hash = NEW.hash AND prev_hash = OLD.hash
    )
BEGIN
    SELECT RAISE(ABORT, 'audit_head follows agent_audit_log and is not set by hand');
END
--;
DROP TRIGGER IF EXISTS audit_head_no_delete
--;
CREATE TRIGGER audit_head_no_delete BEFORE DELETE ON audit_head
BEGIN
    SELECT RAISE(ABORT, 'audit_head follows agent_audit_log and is never removed');
END
--;
DROP TRIGGER IF EXISTS audit_head_starts
--;
CREATE TRIGGER audit_head_starts BEFORE INSERT ON audit_head
WHEN NEW.seq IS NOT 0
    OR EXISTS (SELECT 1 FROM audit_head WHERE tenant_id = NEW.tenant_id OR rowid = NEW.rowid)
    OR EXISTS (SELECT 1 FROM agent_audit_log WHERE tenant_id = NEW.tenant_id)
BEGIN
    SELECT RAISE(ABORT, 'audit_head starts at 0, once per tenant');
END
--;
"""

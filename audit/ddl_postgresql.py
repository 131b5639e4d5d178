"""PostgreSQL's guards of the log, as SQL text. Knows nothing of how it is run.

``{schema}`` is put in by `audit.ddl`: a function that runs as the owner must not be led to another table of the
same name. Checks and the move of the head run once per statement, over all its rows.
"""

from __future__ import annotations

GUARDS = """
CREATE OR REPLACE FUNCTION audit_log_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' is append-only: ' || TG_OP || ' is refused',
        ERRCODE = 'integrity_constraint_violation';
END $$
--;
-- Locks where a tenant's chain ends and says where that is; starts the chain if there is none.
CREATE OR REPLACE FUNCTION audit_lock_head(tenant text, OUT seq bigint, OUT hash text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
BEGIN
    SELECT h.seq, h.hash INTO seq, hash FROM audit_head h WHERE h.tenant_id = tenant FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO audit_head (tenant_id, seq, hash)
        VALUES (tenant, 0, encode(sha256(convert_to('countersign audit chain 1' || chr(10) || tenant, 'UTF8')), 'hex'))
        ON CONFLICT DO NOTHING;
        SELECT h.seq, h.hash INTO seq, hash FROM audit_head h WHERE h.tenant_id = tenant FOR UPDATE;
    END IF;
END $$
--;
CREATE OR REPLACE FUNCTION audit_log_continue() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    part record;
    head record;
BEGIN
    FOR part IN SELECT tenant_id, min(seq) AS low, max(seq) AS high, count(*) AS n FROM fresh GROUP BY tenant_id LOOP
        SELECT * INTO head FROM audit_head WHERE tenant_id = part.tenant_id FOR UPDATE;
        IF NOT FOUND OR part.low <> head.seq + 1 OR part.n <> part.high - head.seq OR EXISTS (
            SELECT 1 FROM (
                SELECT prev_hash, row_hash, canonical, lag(row_hash, 1, head.hash) OVER (ORDER BY seq) AS expected
                FROM fresh WHERE tenant_id = part.tenant_id
            ) link
            WHERE prev_hash <> expected
               OR row_hash <> encode(sha256(convert_to(prev_hash || canonical, 'UTF8')), 'hex')
        ) THEN
            RAISE EXCEPTION 'agent_audit_log is append-only: a row must continue seq and prev_hash of its tenant'
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        UPDATE audit_head SET seq = part.high,
            hash = (SELECT row_hash FROM fresh WHERE tenant_id = part.tenant_id AND seq = part.high)
        WHERE tenant_id = part.tenant_id;
    END LOOP;
    RETURN NULL;
END $$
--;
CREATE OR REPLACE FUNCTION audit_head_guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.tenant_id = OLD.tenant_id AND NEW.seq > OLD.seq AND EXISTS (
        SELECT 1 FROM agent_audit_log
        WHERE tenant_id = NEW.tenant_id AND seq = NEW.seq AND row_hash = NEW.hash
    ) THEN
        RETURN NEW;
    END IF;
    -- Where the head is there already, the primary key refuses this one; two first writers may meet.
    IF TG_OP = 'INSERT' AND NEW.seq = 0 AND (
        EXISTS (SELECT 1 FROM audit_head WHERE tenant_id = NEW.tenant_id)
        OR NOT EXISTS (SELECT 1 FROM agent_audit_log WHERE tenant_id = NEW.tenant_id)
    ) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'audit_head follows agent_audit_log and is not set by hand'
        USING ERRCODE = 'integrity_constraint_violation';
END $$
--;
DROP TRIGGER IF EXISTS agent_audit_log_append_only ON agent_audit_log
--;
CREATE TRIGGER agent_audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON agent_audit_log
FOR EACH STATEMENT EXECUTE FUNCTION audit_log_refuse()
--;
DROP TRIGGER IF EXISTS agent_audit_log_continues ON agent_audit_log
--;
CREATE TRIGGER agent_audit_log_continues AFTER INSERT ON agent_audit_log
REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION audit_log_continue()
--;
DROP TRIGGER IF EXISTS audit_head_kept ON audit_head
--;
CREATE TRIGGER audit_head_kept BEFORE DELETE OR TRUNCATE ON audit_head
FOR EACH STATEMENT EXECUTE FUNCTION audit_log_refuse()
--;
DROP TRIGGER IF EXISTS audit_head_follows ON audit_head
--;
CREATE TRIGGER audit_head_follows BEFORE INSERT OR UPDATE ON audit_head
FOR EACH ROW EXECUTE FUNCTION audit_head_guard()
--;
-- ALWAYS: they hold under session_replication_role = replica as well.
ALTER TABLE agent_audit_log ENABLE ALWAYS TRIGGER agent_audit_log_append_only
--;
ALTER TABLE agent_audit_log ENABLE ALWAYS TRIGGER agent_audit_log_continues
--;
ALTER TABLE audit_head ENABLE ALWAYS TRIGGER audit_head_kept
--;
ALTER TABLE audit_head ENABLE ALWAYS TRIGGER audit_head_follows
--;
"""

-- The audit log: who changed what. Written in the transaction of the change, and never again.

-- tenant_id: whose log it is; the platform's own has the id of all zeros, so there is no foreign key. id: when. actor: the
-- user whom the caller named. credential: the id of an API key, or `platform`, `token`, ''. before, after: only what
-- differs. stands_for: how many alike this row is the sample of (refused sign-ins). One table, not cut by days: it is
-- small, lives for a year, and is read by tenant over all of it.
CREATE TABLE audit_log (
    tenant_id  uuid NOT NULL,
    id         uuid NOT NULL,
    kind       text NOT NULL,
    object     text NOT NULL,
    actor      text,
    credential text NOT NULL,
    address    text NOT NULL,
    request_id text NOT NULL,
    changes    json NOT NULL,
    stands_for integer NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX audit_log_by_object ON audit_log (tenant_id, object, id);
CREATE INDEX audit_log_age ON audit_log (id);

-- A row goes only by its age, when retention says so for its transaction, or with its tenant.
CREATE FUNCTION keep_audit_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF current_setting('signalbox.audit_retention', true) = 'on' THEN
            RETURN OLD;
        END IF;
        IF OLD.tenant_id <> '00000000-0000-0000-0000-000000000000' AND NOT EXISTS (
            SELECT FROM tenants t WHERE t.tenant_id = OLD.tenant_id AND t.status IN ('active', 'suspended')) THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_log_rows BEFORE UPDATE OR DELETE ON audit_log FOR EACH ROW EXECUTE FUNCTION keep_audit_log();
CREATE TRIGGER audit_log_whole BEFORE TRUNCATE ON audit_log FOR EACH STATEMENT EXECUTE FUNCTION keep_audit_log();

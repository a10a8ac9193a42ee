"""Triggers of the tests' own in the database: they note whoever changes what has ended."""

from libs.common.db.pool import Connection

_WATCH = """
CREATE SCHEMA witness;
CREATE TABLE witness.rewritten (what text, tenant_id uuid, id uuid, before text, after text);
CREATE FUNCTION witness.note_execution() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO witness.rewritten VALUES ('execution', OLD.tenant_id, OLD.id, OLD.status, NEW.status); RETURN NULL;
END $$;
CREATE FUNCTION witness.note_attempt() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO witness.rewritten VALUES ('attempt', OLD.tenant_id, OLD.execution_id, OLD.status, NEW.status);
    RETURN NULL;
END $$;
CREATE TRIGGER witness AFTER UPDATE ON executions FOR EACH ROW
  WHEN (OLD.finished_at IS NOT NULL AND (OLD.status, OLD.epoch, OLD.finished_at, OLD.executed)
        IS DISTINCT FROM (NEW.status, NEW.epoch, NEW.finished_at, NEW.executed))
  EXECUTE FUNCTION witness.note_execution();
CREATE TRIGGER witness AFTER UPDATE ON action_executions FOR EACH ROW
  WHEN (OLD.status IN ('completed', 'failed', 'skipped', 'cancelled', 'unknown') AND OLD.status <> NEW.status)
  EXECUTE FUNCTION witness.note_attempt();
"""
_IS_WATCHED = "SELECT to_regnamespace('witness') IS NOT NULL"


async def watch(connection: Connection) -> None:
    """From now on the database itself notes whoever changes what has ended."""
    if not await connection.fetchval(_IS_WATCHED):
        await connection.execute(_WATCH)

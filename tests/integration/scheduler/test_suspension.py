"""While a tenant is suspended nothing is started for it in the background; what ends something goes on."""

from libs.common.clock import new_id
from libs.common.db.backfills import claim_backfill
from libs.common.db.jobs import JobFilter, advance_job, claim_job, insert_job
from libs.common.db.pool import Database
from libs.common.db.tenants import set_tenant_status
from tests.integration.db.test_foreign_tenant import everything_of


async def test_jobs_that_start_something_wait_until_the_tenant_is_resumed(database: Database) -> None:
    async with database.connection() as connection:
        owned, retry = await everything_of(connection), new_id()
        await insert_job(connection, owned.tenant, retry, "retry", JobFilter(("failed",)), None)
        await set_tenant_status(connection, owned.tenant, "suspended")
        assert await claim_backfill(connection) is None
        cancel = await claim_job(connection)
        assert cancel is not None and (cancel.id, cancel.kind) == (owned.job.id, "cancel")
        await advance_job(connection, cancel, cancel.position, done=0, passed_over=0, finished=True)
        assert await claim_job(connection) is None
        await set_tenant_status(connection, owned.tenant, "active")
        claimed, backfill = await claim_job(connection), await claim_backfill(connection)
        assert claimed is not None and claimed.id == retry
        assert backfill is not None and backfill.id == owned.job.id

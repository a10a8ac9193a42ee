from tests.integration.db.statements import *
from tests.integration.db.test_statements import *
from tests.conftest import *
async def test_p(database):
    async with database.connection() as c:
        print(sorted(await tables_of_tenants(c)))
        for one in ALL:
            if "reseal" in one.name:
                for n in await plan_of(c, one): print(one.name, n["Node Type"], n.get("Relation Name"), conditions(n))

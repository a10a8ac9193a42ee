"""All dashboards. Every query on them must have an answer in a running installation: a test asks them all."""

from scripts.dashboards.platform import OVERVIEW, TENANT
from scripts.dashboards.servers import SERVERS
from scripts.dashboards.services import EXECUTOR, SCHEDULER, WEBHOOKS

BOARDS = (OVERVIEW, TENANT, WEBHOOKS, SCHEDULER, EXECUTOR, SERVERS)

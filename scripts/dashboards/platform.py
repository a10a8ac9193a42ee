"""The dashboards of the whole installation, and of one tenant."""

from scripts.dashboards.common import LATE, http, processes
from scripts.dashboards.panels import Board, Query, Row, Variable, graph, number, quantiles, rate

_TENANT = Variable(
    "tenant",
    "Tenant",
    "query_result(signalbox_tenant_info)",
    '/slug="(?<text>[^"]+)".*tenant="(?<value>[^"]+)"/',
)
OVERVIEW = Board(
    "signalbox-overview",
    "Signalbox: platform",
    "Does it work, and is it quick?",
    [
        Row(
            "Now",
            [
                number("Services up", 'sum(up{job="signalbox"})'),
                number("Executors alive", "max(signalbox_executors_alive)"),
                number(
                    "Executions/s",
                    'sum(rate(signalbox_executions_total{status!="waiting"}[$__rate_interval]))',
                    unit="ops",
                ),
                number("Under way", "sum(signalbox_executor_running)"),
                number("Backlog", "max(signalbox_backlog_executions)", text=LATE, most=1_000),
                number("Oldest of it", "max(signalbox_backlog_age_seconds)", unit="s", text=LATE, most=60),
                number("Dead letters", "max(signalbox_bus_dead_letters)", most=1),
                number("Stuck (doctor)", "max(sum by (instance) (signalbox_doctor_findings))", most=1),
            ],
        ),
        Row(
            "Work",
            [
                graph("Executions by end", rate("signalbox_executions_total", "status"), unit="ops", stacked=True),
                quantiles(
                    "From trigger to end", "signalbox_execution_seconds", text="Waits and delays of workflows included."
                ),
                quantiles("From trigger to an executor", "signalbox_execution_queued_seconds", text=LATE),
                graph(
                    "Webhook calls by outcome",
                    rate("signalbox_webhook_calls_total", "outcome"),
                    unit="reqps",
                    stacked=True,
                ),
                graph(
                    "Slots of schedules by outcome",
                    rate("signalbox_firings_total", "outcome"),
                    unit="ops",
                    stacked=True,
                ),
                graph(
                    "Backlog",
                    Query("max(signalbox_backlog_executions)", "ready, not taken"),
                    Query("max by (lane) (signalbox_bus_ready_messages)", "messages on the bus, {{lane}}"),
                    text=LATE,
                ),
            ],
        ),
        Row(
            "Fair dispatch",
            [
                graph(
                    "On the bus or running, and the budget",
                    Query("max(signalbox_dispatch_outstanding)", "outstanding"),
                    Query("max(signalbox_dispatch_budget)", "budget of all tenants"),
                    text="At its budget the installation needs more executors, or a larger SIGNALBOX_RUN_BUDGET.",
                ),
                graph(
                    "The fullest window of a tenant",
                    "max(signalbox_dispatch_window_use_max)",
                    unit="percentunit",
                    text="At 100 % what is more of that tenant waits for its turn.",
                ),
                graph(
                    "Waiting for their tenants' turn",
                    Query("max(signalbox_dispatch_held_executions)", "executions"),
                    Query("max(signalbox_dispatch_held_tenants)", "tenants"),
                    Query("max(signalbox_dispatch_held_with_room)", "tenants for whom there is room"),
                ),
                graph("Longest wait for a turn", "max(signalbox_dispatch_held_age_seconds)", unit="s"),
                graph(
                    "Let go",
                    rate("signalbox_dispatched_total", legend="executions a second"),
                    unit="ops",
                ),
                graph("Messages by lane", rate("signalbox_bus_published_total", "lane"), unit="ops", stacked=True),
            ],
        ),
        Row("API", http("gateway")),
        Row(
            "Processes",
            [
                *processes(".+"),
                graph("Live streams and sockets", Query("sum by (kind) (signalbox_live_streams)", "{{kind}}")),
                graph(
                    "Versions",
                    Query("count by (version, python) (signalbox_build_info)", "{{version}} on Python {{python}}"),
                ),
                graph(
                    "Connections to PostgreSQL",
                    Query("sum by (service, state) (signalbox_pool_connections)", "{{service}} {{state}}"),
                    text="Of the pools of all processes.",
                ),
            ],
        ),
    ],
)

_OF = '{tenant="$tenant"}'
TENANT = Board(
    "signalbox-tenant",
    "Signalbox: tenant",
    "One tenant. Which tenants have series of their own is a setting: SIGNALBOX_METRICS_TENANTS.",
    [
        Row(
            "Tenant",
            [
                graph(
                    "Webhook calls by outcome",
                    rate("signalbox_tenant_webhook_calls_total", "outcome", _OF),
                    unit="reqps",
                ),
                graph("Executions by end", rate("signalbox_tenant_executions_total", "status", _OF), unit="ops"),
                graph("Actions by end", rate("signalbox_tenant_actions_total", "status", _OF), unit="ops"),
                graph(
                    "From trigger to end, on average",
                    f"sum(rate(signalbox_tenant_execution_seconds_sum{_OF}[$__rate_interval]))"
                    f" / sum(rate(signalbox_tenant_execution_seconds_count{_OF}[$__rate_interval]))",
                    unit="s",
                ),
                graph("Backlog", Query(f"max(signalbox_tenant_backlog{_OF})", "ready, not taken")),
                graph(
                    "Window",
                    Query(f"max(signalbox_tenant_outstanding{_OF})", "on the bus or running"),
                    Query(f"max(signalbox_tenant_window{_OF})", "window"),
                    Query(f"max(signalbox_tenant_held{_OF})", "waiting for its turn"),
                    text="Told while the tenant has anything under way.",
                ),
                graph(
                    "Share of all executions",
                    f"sum(rate(signalbox_tenant_executions_total{_OF}[$__rate_interval]))"
                    " / sum(rate(signalbox_executions_total[$__rate_interval]))",
                    unit="percentunit",
                ),
            ],
        ),
    ],
    [_TENANT],
)

"""The dashboards of the services that do the work."""

from scripts.dashboards.common import http, processes
from scripts.dashboards.panels import Board, Query, Row, graph, quantiles, rate

WEBHOOKS = Board(
    "signalbox-webhooks",
    "Signalbox: webhooks",
    "What comes in, what is refused and why, and how quickly it is durable.",
    [
        Row(
            "Calls",
            [
                *http("webhooks"),
                graph(
                    "Refused, by the check that did it",
                    rate(
                        "signalbox_webhook_calls_total",
                        "outcome",
                        '{outcome!~"accepted|duplicate|no_match|preflight|challenge"}',
                    ),
                    unit="reqps",
                    text="signature, timestamp: a sender's secret or clock. unavailable, internal: ours.",
                ),
                graph(
                    "Accepted",
                    rate("signalbox_webhook_calls_total", "outcome", '{outcome=~"accepted|duplicate|no_match"}'),
                    unit="reqps",
                ),
                graph(
                    "On the disk while PostgreSQL is away", rate("signalbox_spool_calls_total", "outcome"), unit="reqps"
                ),
            ],
        ),
        Row(
            "Accept",
            [
                quantiles("Time of a commit", "signalbox_accept_flush_seconds", only='{service="webhooks"}'),
                quantiles(
                    "Executions and calls in a commit",
                    "signalbox_accept_flush_items",
                    only='{service="webhooks"}',
                    unit="short",
                ),
                graph("Not committed", rate("signalbox_accept_failures_total", "service"), unit="ops"),
                quantiles(
                    "Time until the broker confirms", "signalbox_bus_publish_seconds", only='{service="webhooks"}'
                ),
                graph(
                    "Messages published",
                    rate("signalbox_bus_published_total", "outcome", '{service="webhooks"}'),
                    unit="ops",
                ),
                quantiles(
                    "Wait for a connection to PostgreSQL", "signalbox_pool_wait_seconds", only='{service="webhooks"}'
                ),
            ],
        ),
        Row("Processes", processes("webhooks")),
    ],
)

SCHEDULER = Board(
    "signalbox-scheduler",
    "Signalbox: scheduler",
    "Schedules, timers, recovery, and what the doctor finds.",
    [
        Row(
            "Schedules",
            [
                quantiles("How late slots fire", "signalbox_schedule_lag_seconds"),
                graph("Slots by outcome", rate("signalbox_firings_total", "outcome"), unit="ops", stacked=True),
                graph(
                    "Due and not looked at",
                    Query("max(signalbox_schedules_overdue)", "schedules"),
                    Query("max(signalbox_schedule_overdue_seconds)", "longest, seconds"),
                ),
                graph(
                    "Lag of single schedules, on average",
                    Query(
                        "sum by (trigger_id) (rate(signalbox_schedule_slot_lag_seconds_sum[$__rate_interval]))"
                        " / sum by (trigger_id) (rate(signalbox_schedule_slot_lag_seconds_count[$__rate_interval]))",
                        "{{trigger_id}}",
                    ),
                    unit="s",
                ),
                graph("Missed in the last hour", 'sum(increase(signalbox_firings_total{outcome="missed"}[1h]))'),
                graph("Time of a look at the installation", Query("signalbox_watch_seconds", "{{instance}}"), unit="s"),
            ],
        ),
        Row(
            "Timers and recovery",
            [
                graph(
                    "Put on the bus again",
                    rate("signalbox_sweep_republished_total", legend="executions a second"),
                    unit="ops",
                ),
                graph(
                    "Taken from dead executors",
                    rate("signalbox_sweep_recovered_total", legend="executions a second"),
                    unit="ops",
                ),
                graph("What the doctor finds", Query("max by (disease) (signalbox_doctor_findings)", "{{disease}}")),
            ],
        ),
        Row("Processes", processes("scheduler")),
    ],
)

EXECUTOR = Board(
    "signalbox-executor",
    "Signalbox: executor",
    "What runs, how it ends, and how quickly it is on record.",
    [
        Row(
            "Executions",
            [
                graph("By end", rate("signalbox_executions_total", "status"), unit="ops", stacked=True),
                quantiles("From trigger to end", "signalbox_execution_seconds", by="status"),
                graph(
                    "Under way",
                    Query("sum by (instance) (signalbox_executor_running)", "{{instance}}"),
                    Query("sum(signalbox_executor_slots)", "places of all executors"),
                ),
                graph(
                    "Claims",
                    rate("signalbox_claims_total", "outcome"),
                    unit="ops",
                    text="lost: somebody else has a newer epoch.",
                ),
                graph("Put down to wait", rate("signalbox_execution_waits_total", "reason"), unit="ops"),
                graph(
                    "Time left on leases",
                    Query('signalbox_worker_lease_seconds{service="executor"}', "{{instance}}"),
                    unit="s",
                ),
            ],
        ),
        Row(
            "Actions",
            [
                graph("By type", rate("signalbox_action_executions_total", "type"), unit="ops", stacked=True),
                graph(
                    "Failed, by type",
                    rate("signalbox_action_executions_total", "type", '{status="failed"}'),
                    unit="ops",
                ),
                graph("Tried again, by type", rate("signalbox_action_retries_total", "type"), unit="ops"),
                quantiles("Time of an action", "signalbox_action_seconds", by="type"),
                graph("Live events", rate("signalbox_live_events_total", "outcome"), unit="ops"),
                graph(
                    "Not tried because it failed just now",
                    Query("max by (breaker) (signalbox_breaker_open)", "{{breaker}}"),
                ),
            ],
        ),
        Row(
            "Journal and bus",
            [
                quantiles(
                    "Time of a commit of the journal", "signalbox_journal_flush_seconds", only='{service="executor"}'
                ),
                quantiles(
                    "Records in a commit", "signalbox_journal_flush_items", only='{service="executor"}', unit="short"
                ),
                graph("Commits tried again", rate("signalbox_journal_retries_total", "service"), unit="ops"),
                graph("Messages by settlement", rate("signalbox_bus_deliveries_total", "outcome"), unit="ops"),
                quantiles(
                    "Wait for a connection to PostgreSQL", "signalbox_pool_wait_seconds", only='{service="executor"}'
                ),
                graph("PostgreSQL was away", rate("signalbox_database_away_total", "service"), unit="ops"),
            ],
        ),
        Row("Processes", processes("executor")),
    ],
)

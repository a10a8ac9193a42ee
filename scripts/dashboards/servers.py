"""The dashboard of the servers behind Signalbox."""

from scripts.dashboards.panels import Board, Query, Row, graph, rate

SERVERS = Board(
    "signalbox-servers",
    "Signalbox: PostgreSQL, RabbitMQ, Redis",
    "PostgreSQL and Redis as the services see them, RabbitMQ by its own plugin (rabbitmq_prometheus).",
    [
        Row(
            "PostgreSQL",
            [
                graph(
                    "Transactions",
                    Query(
                        "max by (outcome) (rate(signalbox_database_transactions_total[$__rate_interval]))",
                        "{{outcome}}",
                    ),
                    unit="ops",
                ),
                graph(
                    "Connections",
                    Query("max by (state) (signalbox_database_connections)", "{{state}}"),
                    Query("max(signalbox_database_max_connections)", "allowed"),
                ),
                graph("Oldest open transaction", "max(signalbox_database_oldest_transaction_seconds)", unit="s"),
                graph(
                    "Rows written",
                    Query(
                        "max by (operation) (rate(signalbox_database_rows_total[$__rate_interval]))", "{{operation}}"
                    ),
                    unit="ops",
                ),
                graph(
                    "Blocks found in memory",
                    'max(rate(signalbox_database_blocks_total{source="memory"}[$__rate_interval]))'
                    " / sum(max by (source) (rate(signalbox_database_blocks_total[$__rate_interval])))",
                    unit="percentunit",
                ),
                graph("Deadlocks", "max(increase(signalbox_database_deadlocks_total[$__rate_interval]))"),
                graph("Size of the database", "max(signalbox_database_bytes)", unit="bytes"),
                graph(
                    "Largest tables",
                    Query("topk(8, max by (table) (signalbox_table_bytes))", "{{table}}"),
                    unit="bytes",
                ),
                graph(
                    "Rows that wait for vacuum",
                    Query("topk(8, max by (table) (signalbox_table_dead_rows))", "{{table}}"),
                ),
            ],
        ),
        Row(
            "RabbitMQ",
            [
                graph(
                    "Ready messages by queue",
                    Query('sum by (queue) (rabbitmq_detailed_queue_messages_ready{queue=~".+"})', "{{queue}}"),
                ),
                graph(
                    "Unacknowledged by queue",
                    Query("sum by (queue) (rabbitmq_detailed_queue_messages_unacked)", "{{queue}}"),
                ),
                graph("Consumers by queue", Query("sum by (queue) (rabbitmq_detailed_queue_consumers)", "{{queue}}")),
                graph(
                    "Messages",
                    rate("rabbitmq_global_messages_received_total", legend="published"),
                    rate("rabbitmq_global_messages_delivered_total", legend="delivered"),
                    rate("rabbitmq_global_messages_redelivered_total", legend="delivered again"),
                    unit="ops",
                ),
                graph("Memory", Query("rabbitmq_process_resident_memory_bytes", "{{instance}}"), unit="bytes"),
                graph("Disk that is free", Query("rabbitmq_disk_space_available_bytes", "{{instance}}"), unit="bytes"),
                graph(
                    "Alarms",
                    Query("max(rabbitmq_alarms_memory_used_watermark)", "memory"),
                    Query("max(rabbitmq_alarms_free_disk_space_watermark)", "disk"),
                    text="1: whoever publishes is blocked.",
                ),
                graph("Connections", Query("sum(rabbitmq_connections)", "open")),
                graph("Usable, as the scheduler sees it", Query("max(signalbox_bus_connected)", "1: yes")),
            ],
        ),
        Row(
            "Redis",
            [
                graph("Usable", Query("max(signalbox_redis_up)", "1: yes")),
                graph(
                    "Memory",
                    Query("max(signalbox_redis_memory_bytes)", "used"),
                    Query("max(signalbox_redis_max_memory_bytes)", "allowed (0: no limit)"),
                    unit="bytes",
                ),
                graph("Connections", "max(signalbox_redis_clients)"),
                graph("Commands", "max(rate(signalbox_redis_commands_total[$__rate_interval]))", unit="ops"),
                graph("Keys thrown away", "max(increase(signalbox_redis_evicted_keys_total[$__rate_interval]))"),
            ],
        ),
    ],
)

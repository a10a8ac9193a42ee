"""Panels that stand on several dashboards."""

from scripts.dashboards.panels import Panel, Query, graph, quantiles, rate

LATE = "Seconds, minutes: look whether executors keep up, and what the database does."


def http(service: str) -> list[Panel]:
    """Panels of one service's requests."""
    only = f'{{service="{service}"}}'
    return [
        graph("Requests by status", rate("signalbox_http_requests_total", "status", only), unit="reqps", stacked=True),
        quantiles("Time to answer", "signalbox_http_request_seconds", only=only),
        graph(
            "Answered with an error (5xx)",
            Query(f"max(signalbox:http_errors:ratio_rate5m{only})", "5 minutes"),
            Query(f"max(signalbox:http_errors:ratio_rate1h{only})", "1 hour"),
            unit="percentunit",
            text="The objective is 0.1 % over 30 days.",
        ),
    ]


def processes(services: str) -> list[Panel]:
    """Panels of the processes of these services, a pattern."""
    only = f'{{job="signalbox", service=~"{services}"}}'
    return [
        graph(
            "Processor time",
            Query(
                f"sum by (service, instance) (rate(process_cpu_seconds_total{only}[$__rate_interval]))",
                "{{service}} {{instance}}",
            ),
            unit="percentunit",
            text="One process uses one core at most: add another.",
        ),
        graph("Memory", Query(f"process_resident_memory_bytes{only}", "{{service}} {{instance}}"), unit="bytes"),
        graph(
            "Event loop lag",
            Query(f"signalbox_event_loop_lag_seconds{only}", "{{service}} {{instance}}"),
            unit="s",
            text="Worst of the last seconds. More than a tenth of a second for long: the process is overloaded.",
        ),
    ]

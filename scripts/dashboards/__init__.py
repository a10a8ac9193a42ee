"""Grafana's dashboards as code: `boards.py` says what is on them, `panels.py` how that is written for Grafana.

`python -m scripts.dashboards` writes `deploy/grafana/*.json`; a test sees to it that those are what the code says.
Plain values instead of a library for dashboards: what is needed of Grafana's format are two kinds of panel.
"""

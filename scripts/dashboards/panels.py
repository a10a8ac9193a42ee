"""A dashboard as values, and as Grafana's JSON (schema 41, Grafana 11 and later)."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

_WIDTH = 24
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


class Query(msgspec.Struct, frozen=True):
    """PromQL, and what each line is called."""

    expr: str
    legend: str = ""


class Panel(msgspec.Struct, frozen=True):
    """`kind`: `timeseries` or `stat`; `unit`: Grafana's name; `text`: what to look for; `most`: red from there on."""

    title: str
    queries: Sequence[Query]
    unit: str = "short"
    text: str = ""
    kind: str = "timeseries"
    width: int = 8
    stacked: bool = False
    most: float | None = None


class Row(msgspec.Struct, frozen=True):
    """Panels under a heading."""

    title: str
    panels: Sequence[Panel]


class Variable(msgspec.Struct, frozen=True):
    """Something that the reader chooses: the answers to `query`, of which `regex` takes value and text."""

    name: str
    label: str
    query: str
    regex: str = ""


class Board(msgspec.Struct, frozen=True):
    """One dashboard."""

    uid: str
    title: str
    text: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = ()


def graph(title: str, *queries: Query | str, unit: str = "short", text: str = "", stacked: bool = False) -> Panel:
    """Lines over time, a third of the width."""
    return Panel(title, [_query(one) for one in queries], unit, text, stacked=stacked)


def number(title: str, query: str, *, unit: str = "short", text: str = "", most: float | None = None) -> Panel:
    """One figure, an eighth of the width."""
    return Panel(title, [Query(query)], unit, text, "stat", 3, most=most)


def quantiles(title: str, histogram: str, *, by: str = "", only: str = "", unit: str = "s", text: str = "") -> Panel:
    """How a histogram's values are spread: half of them, most, nearly all. `by`: for each of these labels' values."""
    names = f"{by}, le" if by else "le"
    spread = f"sum by ({names}) (rate({histogram}_bucket{only}[$__rate_interval]))"
    legend = f"{{{{{by}}}}} " if by else ""
    parts = (0.5, 0.99) if by else (0.5, 0.9, 0.99)
    found = [Query(f"histogram_quantile({part}, {spread})", f"{legend}p{part * 100:g}") for part in parts]
    return Panel(title, found, unit, text)


def rate(counter: str, by: str = "", only: str = "", legend: str = "") -> Query:
    """How often a second, for each value of the label."""
    what = f"rate({counter}{only}[$__rate_interval])"
    return Query(f"sum by ({by}) ({what})" if by else f"sum({what})", legend or (f"{{{{{by}}}}}" if by else "a second"))


def written(board: Board) -> str:
    """The board as the text of its file."""
    return json.dumps(_board(board), indent=2, ensure_ascii=False) + "\n"


def _query(one: Query | str) -> Query:
    return Query(one) if isinstance(one, str) else one


def _board(board: Board) -> dict[str, Any]:
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1}
    return {
        "uid": board.uid,
        "title": board.title,
        "description": board.text,
        "tags": ["signalbox"],
        "schemaVersion": 41,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "links": [
            {"type": "dashboards", "title": "Signalbox", "tags": ["signalbox"], "asDropdown": True, "keepTime": True}
        ],
        "templating": {"list": [source, *map(_variable, board.variables)]},
        "panels": list(_panels(board.rows)),
    }


def _variable(one: Variable) -> dict[str, Any]:
    return {
        "name": one.name,
        "label": one.label,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": one.query, "refId": "values"},
        "regex": one.regex,
        "refresh": 2,
        "sort": 1,
    }


def _panels(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Rows below one another, panels side by side as far as there is room."""
    y, key = 0, 0
    for row in rows:
        key, x, height = key + 1, 0, 0
        yield {
            "id": key, "type": "row", "title": row.title, "collapsed": False, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": _WIDTH, "h": 1},
        }  # fmt: skip
        y += 1
        for panel in row.panels:
            if x + panel.width > _WIDTH:
                x, y, height = 0, y + height, 0
            key, tall = key + 1, 4 if panel.kind == "stat" else 8
            yield _panel(panel, key, {"x": x, "y": y, "w": panel.width, "h": tall})
            x, height = x + panel.width, max(height, tall)
        y += height


def _panel(panel: Panel, key: int, place: dict[str, int]) -> dict[str, Any]:
    lines = panel.kind == "timeseries"
    custom = {"fillOpacity": 30 if panel.stacked else 8, "stacking": {"mode": "normal" if panel.stacked else "none"}}
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.most is not None:
        steps.append({"color": "red", "value": panel.most})
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
    reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    return {
        "id": key,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": _SOURCE,
        "gridPos": place,
        "targets": [
            {
                "refId": chr(ord("A") + index), "datasource": _SOURCE, "expr": query.expr,
                "legendFormat": query.legend or "__auto", "range": lines, "instant": not lines,
                "exemplar": lines and "_bucket" in query.expr,
            }
            for index, query in enumerate(panel.queries)
        ],
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit, "min": 0, "custom": custom if lines else {},
                "color": {"mode": "palette-classic" if lines else "thresholds"},
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "options": {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
        if lines
        else {"reduceOptions": reduce, "colorMode": "value", "graphMode": "area"},
    }  # fmt: skip

"""The dashboards that we ship are what the code says, and such as Grafana can show them."""

import json
from itertools import combinations
from typing import Any

import pytest

from scripts.dashboards.__main__ import FOLDER
from scripts.dashboards.boards import BOARDS
from scripts.dashboards.panels import Board, written

UNITS = {"short", "s", "ops", "reqps", "bytes", "percentunit"}


def panels_of(board: Board) -> list[dict[str, Any]]:
    return json.loads(written(board))["panels"]


def test_the_files_are_those_of_the_code() -> None:
    """Otherwise: `python -m scripts.dashboards`."""
    assert {file.name: file.read_text() for file in FOLDER.glob("*.json")} == {
        f"{board.uid}.json": written(board) for board in BOARDS
    }


def test_each_has_an_address_of_its_own() -> None:
    assert len({board.uid for board in BOARDS}) == len({board.title for board in BOARDS}) == len(BOARDS) == 6


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_panels_have_ids_of_their_own_and_lie_on_nobody(board: Board) -> None:
    panels = panels_of(board)
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_panels_ask_the_chosen_prometheus_and_show_a_unit_of_grafana(board: Board) -> None:
    titles: list[str] = []
    for panel in panels_of(board):
        if panel["type"] == "row":
            titles = []
            continue
        assert panel["title"] not in titles, "two panels of a row with one name"
        titles.append(panel["title"])
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
        for asks in (panel, *panel["targets"]):
            assert asks["datasource"] == {"type": "prometheus", "uid": "${datasource}"}

"""Writes the dashboards. usage: python -m scripts.dashboards"""

from pathlib import Path

from scripts.dashboards.boards import BOARDS
from scripts.dashboards.panels import written

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "grafana"

if __name__ == "__main__":
    for board in BOARDS:
        (FOLDER / f"{board.uid}.json").write_text(written(board))

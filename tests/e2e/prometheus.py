"""A real Prometheus beside the end-to-end tests, with the scrape configuration and the rules that we ship."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import which
from typing import Any

import aiohttp

from libs.common.embedded.process import ChildProcess
from tests.servers import ROOT, free_port

SHIPPED = ROOT / "deploy" / "prometheus"
_START_SECONDS = 60.0


class Prometheus:
    """`prometheus` on a port and a folder of its own; asked over HTTP."""

    def __init__(self, folder: Path, targets: Mapping[str, str]) -> None:
        """`targets`: for each target in the shipped file where it really is."""
        if which("prometheus") is None:
            raise FileNotFoundError("Prometheus is not installed: apt-get install prometheus")
        self.url = f"http://127.0.0.1:{free_port()}"
        folder.mkdir()
        (folder / "prometheus.yml").write_text(_adapted((SHIPPED / "prometheus.yml").read_text(), targets))
        (folder / "signalbox.rules.yml").write_text((SHIPPED / "signalbox.rules.yml").read_text())
        argv = [
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
            "--enable-feature=exemplar-storage",
        ]
        self._process = ChildProcess("Prometheus", argv, log=folder / "prometheus.log")
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Start it and wait until it answers."""
        self._session = aiohttp.ClientSession()
        self._process.start()
        await self._process.wait_ready(self._is_ready, _START_SECONDS)

    async def stop(self) -> None:
        """End it."""
        await self._process.stop()
        if self._session is not None:
            await self._session.close()

    async def ask(self, path: str, **parameters: str) -> Any:
        """What `/api/v1/…` answers. Fails with Prometheus's own words for a query that is none."""
        assert self._session is not None
        async with self._session.get(f"{self.url}/api/v1/{path}", params=parameters) as response:
            answer = await response.json()
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]

    async def values(self, query: str) -> list[float]:
        """The present values of a query that are numbers."""
        found = await self.ask("query", query=query)
        samples: Sequence[Any] = [one["value"] for one in found["result"]]
        return [float(value) for _, value in samples if value != "NaN"]

    async def _is_ready(self) -> bool:
        assert self._session is not None
        try:
            async with self._session.get(f"{self.url}/-/ready") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False


def _adapted(text: str, targets: Mapping[str, str]) -> str:
    """Faster than the shipped file, and with targets that are there."""
    for named, real in targets.items():
        assert named in text
        text = text.replace(f'"{named}"', f'"{real}"')
    return re.sub(r"_interval: 15s", "_interval: 1s", text)

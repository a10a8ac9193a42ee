"""Packages of third parties made visible without installing them: their code on the path, and beside it the metadata
that an installation would have written from their pyproject.toml.
"""

import sys
import tomllib
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from libs.common.actions.installed import GROUP, installed
from tests.servers import ROOT

EXAMPLE = ROOT / "examples" / "actions_package"


def example_metadata(folder: Path) -> None:
    """What installing the example would write."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    write_metadata(folder, project["name"], project["entry-points"][GROUP])


def write_metadata(folder: Path, package: str, entry_points: dict[str, str]) -> None:
    """The metadata of an installed package."""
    info = folder / f"{package.replace('-', '_')}-1.0.0.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0.0\n")
    lines = [f"{name} = {target}" for name, target in entry_points.items()]
    info.joinpath("entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, ""]))


@contextmanager
def visible(*folders: Path) -> Generator[None]:
    """A process that was started with these folders on its path, as far as actions can tell."""
    modules, path = set(sys.modules), list(sys.path)
    sys.path[:0] = [str(folder) for folder in folders]
    installed.cache_clear()
    try:
        yield
    finally:
        sys.path[:] = path
        installed.cache_clear()
        _forget(set(sys.modules) - modules, folders)


def _forget(names: Iterable[str], folders: tuple[Path, ...]) -> None:
    for name in names:
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and Path(file).parent in folders:
            del sys.modules[name]

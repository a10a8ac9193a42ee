"""What every service process does once it is ready."""

import gc
from collections.abc import Iterator

import pytest

from libs.common.runtime import settle_collector


@pytest.fixture(autouse=True)
def collector_as_it_was() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_what_is_there_is_left_alone_and_what_comes_after_is_not() -> None:
    loaded = gc.get_freeze_count()
    before, usual = len(gc.get_objects()), gc.get_threshold()
    settle_collector()
    assert gc.get_freeze_count() > loaded
    assert len(gc.get_objects()) < before / 10
    assert gc.get_threshold() > usual
    cycle: list[object] = []
    cycle.append(cycle)
    del cycle
    assert gc.collect() >= 1

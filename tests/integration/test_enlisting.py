"""Registered models are tried in a process of their own: one that ends it, or never ends, ends nothing else."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams import enlisting
from streams.child import Facts
from streams.enlisting import Enlisted, Enlistment, Places, RayEnlisting
from tests.ray_cluster import connected

pytestmark = pytest.mark.slow

ORDER = Enlistment("bot", (), "soft", 0.5)


@pytest.fixture(scope="module", autouse=True)
def connection(ray_head: Facts) -> Iterator[None]:
    with connected(ray_head):
        yield


@pytest.mark.parametrize(("patience", "code"), [(60.0, "model_crashed"), (0.1, "too_slow")])
async def test_a_model_that_ends_its_process_or_never_ends_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: float, code: str
) -> None:
    def ends(order: Enlistment, places: Places) -> None:
        if patience < 1:
            time.sleep(600)
        os._exit(1)

    monkeypatch.setattr(enlisting, "enlisted", ends)
    found = await RayEnlisting(Places(tmp_path, None, tmp_path, "XNYS"), patience=patience).make(ORDER)
    assert not isinstance(found, Enlisted)
    assert [reason.code for reason in found] == [code]

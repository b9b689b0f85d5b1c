"""What a deployer says of a Ray that is in the way; what it does with one that is not, the integration tests show."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from ray import serve
from ray.exceptions import GetTimeoutError, RayActorError
from ray.serve.exceptions import RayServeException

from serving.deployer import Deployer, NotYet
from serving.replica import NotServing
from serving.version import ServedVersion
from tests.unit.serving.drafts import batch

BATCH = batch(("AAPL",))
WANTED = ServedVersion("bot", 1, "0" * 64, "live", "passed")


@pytest.fixture
def deployer(tmp_path: Path) -> Deployer:
    return Deployer(tmp_path)


@pytest.mark.parametrize(
    "error",
    [RayActorError(), GetTimeoutError("no answer"), RayServeException("no controller"), TimeoutError()],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize(
    "call",
    [lambda deployer: deployer.deploy(WANTED), Deployer.serving, lambda deployer: deployer.delete("bot")],
    ids=["deploy", "serving", "delete"],
)
async def test_what_goes_wrong_with_ray_may_pass(
    deployer: Deployer, monkeypatch: pytest.MonkeyPatch, call: Callable[[Deployer], Awaitable[Any]], error: Exception
) -> None:
    def status() -> None:
        raise error

    monkeypatch.setattr(serve, "status", status)
    with pytest.raises(NotYet) as refused:
        await call(deployer)
    (reason,) = refused.value.reasons
    assert reason.message


async def test_a_version_that_does_not_answer_in_time_may_do_so_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(self: Deployer, *_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Deployer, "_deploy", never)
    with pytest.raises(NotYet, match="deploy_timed_out"):
        await Deployer(tmp_path, patience=0.01).deploy(WANTED)


@pytest.mark.parametrize(
    "error", [RayActorError(), RayServeException("no such application")], ids=lambda error: type(error).__name__
)
async def test_an_ensemble_that_cannot_be_asked_is_not_serving(
    deployer: Deployer, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def get_app_handle(name: str) -> None:
        raise error

    monkeypatch.setattr(serve, "get_app_handle", get_app_handle)
    with pytest.raises(NotServing):
        await deployer.answer("bot", BATCH)

"""Every command in the guides is run, in the order of the page, against a running service.

A block that cannot be is marked in its fence, as in ```sh skip=docker, and listed here; one that needs a program
besides this project's, as in ```sh needs=jq, is skipped where that is not installed.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import ElasticNet
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from orchestrator.features.samples import write_samples
from schemas.topics import SEARCH_REQUESTS, dead_letter_topic
from streams.run_folder import RunFolder
from streams.serve_port import served_at
from tests.service import Service

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs"
GUIDES = ("migration", "troubleshooting", "operations", "retraining")
SKIPPED = {
    "up": "it starts a service, and one runs here",
    "docker": "it needs a Docker engine",
    "ticks": "it needs ticks of months, or a challenger that they have made",
}
NOT_RUN = {
    ("migration", "up"): 2,
    ("operations", "up"): 1,
    ("operations", "docker"): 3,
    ("troubleshooting", "docker"): 1,
    ("retraining", "ticks"): 5,
}
"""How many blocks of each guide are not run, and why."""
PRICES = {"open": "Open", "high": "High", "low": "Low", "close": "Close", "volume": "Volume"}
_FENCE = re.compile(r"^```sh(?P<marks>[^\n]*)\n(?P<commands>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of shell commands in a guide; `number` counts those of the guide from 1."""

    guide: str
    number: int
    marks: dict[str, str]
    commands: str

    def __str__(self) -> str:
        return f"{self.guide}-{self.number}"


def blocks(guide: str) -> list[Block]:
    """A guide's blocks, in their order."""
    found = _FENCE.finditer((DOCS / f"{guide}.md").read_text())
    return [
        Block(guide, number, dict(mark.split("=", 1) for mark in each["marks"].split()), each["commands"])
        for number, each in enumerate(found, 1)
    ]


ALL = [block for guide in GUIDES for block in blocks(guide)]


@pytest.fixture(scope="module")
def work(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which the files of an older service lie, and one dead letter on its topic."""
    folder = tmp_path_factory.mktemp("guides")
    legacy(folder)
    service.produce(SEARCH_REQUESTS, [(b"broken", b"no request")])
    service.await_records(dead_letter_topic(SEARCH_REQUESTS), 1)
    yield folder
    service.command("ensembles", "delete", "goog")
    shutil.rmtree(service.settings.features_folder / "GOOG", ignore_errors=True)


def legacy(folder: Path) -> None:
    """Bars with features as pandas writes them, and a search by GridSearchCV over the same model."""
    write_samples(folder / "samples", ["GOOG"])
    bars = pd.read_parquet(folder / "samples" / "GOOG" / "1d" / "bars.parquet").set_index("event_time")
    bars.index = bars.index.tz_localize(None)  # type: ignore[attr-defined]
    for name in ("features", "models"):
        (folder / "legacy" / name).mkdir(parents=True)
    bars.rename(columns=PRICES).to_parquet(folder / "legacy" / "features" / "GOOG.parquet")
    known = bars.drop(columns=[*PRICES]).assign(target=np.log(bars["close"]).diff().shift(-1)).dropna().loc[:"2011-05"]
    search = GridSearchCV(
        make_pipeline(StandardScaler(), ElasticNet()),
        {"elasticnet__alpha": [1e-5, 1e-4]},
        cv=TimeSeriesSplit(3),
        scoring="neg_mean_squared_error",
    )
    search.fit(known.drop(columns="target"), known["target"])
    joblib.dump(search, folder / "legacy" / "models" / "goog.joblib")


def substituted(commands: str, service: Service) -> str:
    """The commands with the addresses and names of this service."""
    predictions = served_at(RunFolder(service.settings.data_dir)) or "http://127.0.0.1:8000"
    names = {
        "http://127.0.0.1:8110": service.url,
        "http://127.0.0.1:8100": service.url,
        "http://127.0.0.1:8010": predictions,
        "http://127.0.0.1:8000": predictions,
        "127.0.0.1:9092": service.config["bootstrap.servers"],
        "EXPERIMENT": "goog-grid",
        "ENSEMBLE": "goog",
    }
    for written, here in names.items():
        commands = commands.replace(written, here)
    return commands


def needed(block: Block) -> list[str]:
    """The programs besides this project's and the shell's own that a block takes."""
    named = block.marks["needs"].split(",") if "needs" in block.marks else []
    return [*named, *(["curl"] if "curl " in block.commands else [])]


@pytest.mark.parametrize("block", [block for block in ALL if "skip" not in block.marks], ids=str)
def test_a_block_of_a_guide_ends_well(block: Block, service: Service, work: Path) -> None:
    for program in needed(block):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    environment = dict(service.environment) | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", substituted(block.commands, service)],
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{block.commands}\n{done.stdout}\n{done.stderr}"


def test_what_is_not_run_is_listed_with_its_reason() -> None:
    found = [(block.guide, block.marks["skip"]) for block in ALL if "skip" in block.marks]
    assert {why for _, why in found} <= SKIPPED.keys()
    assert {each: found.count(each) for each in found} == NOT_RUN
    assert {mark for block in ALL for mark in block.marks} <= {"skip", "needs"}
    assert all(blocks(guide) for guide in GUIDES)

"""Every strategy with every algorithm, from a message on Kafka to the events that tell how it came out."""

from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from orchestrator.algorithms.base import registered
from orchestrator.core.admission import Limits
from orchestrator.core.lifecycle import State
from orchestrator.search.course import Course
from orchestrator.search.inline import InlineSearch
from orchestrator.store import experiments
from orchestrator.store.database import Database
from schemas.envelope import decode
from schemas.experiments import ExperimentCompleted, SurvivorsSelected
from schemas.topics import EXPERIMENT_EVENTS, TRIAL_EVENTS
from schemas.trials import TrialCached, TrialCompleted, TrialCreated, TrialStoppedEarly
from serving.artifacts import Artifacts
from serving.assemble import EnsembleAssembler
from streams.judging import Judge
from streams.reader import TopicReader
from tests.integration.test_intake_and_relay import Desk, utc_now
from tests.unit.search.combinations import COMBINATIONS, TRIALS, asked
from tests.unit.search.studies import driver_settings, write_market

pytestmark = pytest.mark.slow

TICKERS = ("AAA", "BBB")
ROWS = 320


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(kafka_config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """What Kafka tells of each experiment, all of them run one after the other in this process."""
    directory = tmp_path_factory.mktemp("combinations")
    for ticker in TICKERS:
        write_market(directory / "features", ticker, rows=ROWS)
    settings = driver_settings(directory)
    database = Database.open(settings.database_url)
    await database.upgrade()
    desk = Desk(kafka_config, database)
    desk.judge = Judge(lambda timeframe: set(TICKERS), registered(), Limits())
    assembler = EnsembleAssembler(Artifacts(directory / "artifacts"))
    try:
        desk.produce(
            *(
                {"request_id": f"{desk.mark}-{number}"} | asked(*combination, TICKERS)
                for number, combination in enumerate(COMBINATIONS)
            )
        )
        async with desk.open():
            await desk.settled(len(COMBINATIONS))
            for name in (f"{strategy}-{algorithm}" for strategy, algorithm in COMBINATIONS):
                async with database.transaction() as tx:
                    await experiments.advance(tx, name, State.WAITING, None, datetime.now(UTC))
                await Course(name, settings, InlineSearch(), assembler, database, utc_now).lead()
            # Closing, the relay carries what is left.
    finally:
        await database.close()
    assert desk.failures == []
    said: dict[str, list[Any]] = {}
    for topic in (EXPERIMENT_EVENTS, TRIAL_EVENTS):
        with TopicReader(kafka_config, [topic], since=desk.began) as reader:
            for record in reader.read_to_end():
                said.setdefault((record.key or b"").decode(), []).append(decode(topic.messages, record.value))
    return said


def only(events: list[Any], *kinds: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kinds)]


@pytest.mark.parametrize(("strategy", "algorithm"), COMBINATIONS)
def test_it_runs_from_its_request_to_its_survivors(told: dict[str, list[Any]], strategy: str, algorithm: str) -> None:
    events = told[f"{strategy}-{algorithm}"]
    (completed,) = only(events, ExperimentCompleted)
    created = only(events, TrialCreated)
    ended = only(events, TrialCompleted, TrialCached, TrialStoppedEarly)
    assert sorted(event.trial for event in ended) == sorted(event.trial for event in created)
    assert (completed.finished, completed.failed) == (len(created), 0)
    assert len(created) == TRIALS[strategy]
    assert only(events, TrialCompleted, TrialCached)
    assert only(events, SurvivorsSelected)
    assert {event.tickers for event in created} == {TICKERS if strategy == "multi_ticker_pbt" else TICKERS[:1]}
    parents = [event.parent for event in created if event.parent]
    assert len(parents) == (1 if "pbt" in strategy else 0)

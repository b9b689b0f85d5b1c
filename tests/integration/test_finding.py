"""Finding signals by their ids on a real broker."""

from datetime import timedelta
from typing import Any

import pytest

from schemas.envelope import encode
from schemas.signals import Signal
from schemas.topics import Topic
from streams import finding
from streams.murmur import partition_of
from tests.contracts.store.makers import NOW
from tests.integration.topics import new_topic, produce
from tests.support.signals import signal

pytestmark = pytest.mark.slow

PARTITIONS = 3


@pytest.fixture
def topics(kafka_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Topic]:
    """Topics of the test's own in the places of the contract's, read a few records at a time."""
    found = {name: new_topic(kafka_config, PARTITIONS) for name in ("state", "live", "paper")}
    monkeypatch.setattr(finding, "SIGNAL_STATE", found["state"])
    monkeypatch.setattr(finding, "TOPICS", (found["state"], found["live"], found["paper"]))
    monkeypatch.setattr(finding, "SIGNALS_BY_MODE", found)
    monkeypatch.setattr(finding, "FIRST_BLOCK", 2)
    return found


def bar(number: int, ticker: str = "AAPL", **fields: Any) -> Signal:
    return signal(ticker=ticker, event_time=NOW + timedelta(days=number), **fields)


def say(config: dict[str, Any], topic: Topic, *said: Signal) -> None:
    produce(config, topic, [(partition_of(each.ticker.encode(), PARTITIONS), encode(each)) for each in said])


def test_a_signal_is_found_wherever_it_lies(kafka_config: dict[str, Any], topics: dict[str, Topic]) -> None:
    live = [bar(number, ticker) for number in range(20) for ticker in ("AAPL", "IBM", "MSFT")]
    paper = [bar(number, mode="paper") for number in range(5)]
    revised = bar(0, revision=1, supersedes=live[0].id)
    say(kafka_config, topics["live"], *live, revised)
    say(kafka_config, topics["paper"], *paper)
    say(kafka_config, topics["state"], live[-1])
    produce(kafka_config, topics["live"], [(0, b"{"), (1, live[0].id.encode())])
    told: list[int] = []
    for wanted, on in ((live[0], "live"), (live[-1], "live"), (paper[2], "paper"), (revised, "live")):
        for ticker in (None, wanted.ticker):
            sought = finding.find(kafka_config, wanted.id, ticker, on_progress=told.append)
            assert sought.found is not None
            assert sought.found.signal == wanted
            assert sought.found.topic == topics[on].name
    assert max(told) > 0


def test_of_several_of_one_id_the_first_that_was_published_counts(
    kafka_config: dict[str, Any], topics: dict[str, Topic]
) -> None:
    first, again = bar(1, version=1), bar(1, version=2)
    assert first.id == again.id
    say(kafka_config, topics["live"], first, *(bar(number) for number in range(2, 9)), again)
    say(kafka_config, topics["state"], again)
    sought = finding.find(kafka_config, first.id)
    assert sought.found is not None
    assert sought.found.signal.version == 1


def test_how_far_was_looked_is_told_where_it_is_not_found(
    kafka_config: dict[str, Any], topics: dict[str, Topic]
) -> None:
    say(kafka_config, topics["live"], *(bar(number) for number in range(100)))
    say(kafka_config, topics["paper"], *(bar(number, mode="paper") for number in range(2)))
    whole = finding.find(kafka_config, "0" * 32)
    assert whole.found is None
    assert [(each.records, each.whole) for each in whole.looked] == [(0, True), (100, True), (2, True)]
    near = finding.find(kafka_config, bar(0).id, limit=10)
    assert near.found is None
    _, live, paper = near.looked
    assert not live.whole
    assert paper.whole
    assert 0 < live.records < 100
    assert live.back_to is not None
    elsewhere = finding.find(kafka_config, bar(0).id, "IBM" if other("IBM") else "MSFT")
    assert elsewhere.found is None


def other(ticker: str) -> bool:
    """Whether a ticker has another partition than AAPL."""
    return partition_of(ticker.encode(), PARTITIONS) != partition_of(b"AAPL", PARTITIONS)

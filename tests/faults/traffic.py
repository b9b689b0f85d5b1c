"""Too much of the same, trials that misbehave, and a broker that takes nothing."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from schemas.topics import EXPERIMENT_EVENTS, SIGNALS_BY_MODE
from tests.faults.stage import Stage, Violated
from tests.faults.ticks import answers_to, send_ticks
from tests.integration.test_search import DEADLY, LARGE, SLOW


def asked_a_thousand_times(stage: Stage) -> int:
    """The same work under a thousand ids: one execution, a thousand answers."""
    count = 1000 if stage.whole else 20
    acknowledged = stage.send([stage.search(f"same-{number}") for number in range(count)])
    stage.until(
        lambda: len(stage.notes("evaluated")) > 1 or not stage.unfinished(acknowledged), "every request is answered"
    )
    trained = len(stage.notes("evaluated"))
    if trained != 1:
        raise Violated(f"one configuration was trained {trained} times")
    stage.settle(acknowledged)
    return stage.audit(acknowledged)


def trials_misbehave(stage: Stage) -> int:
    """One eats memory, one dies, one never ends: each fails alone with its reason."""
    grid = {"alpha": [0.01, DEADLY, SLOW, LARGE], "l1_ratio": [0.5]}
    acknowledged = stage.send([stage.search("wild", algorithm="misbehaving", param_grid=grid), stage.search("tame")])
    stage.settle(acknowledged)
    rows = stage.query(
        "SELECT t.configuration, t.reasons FROM trials t JOIN requests r ON r.experiment = t.experiment "
        "WHERE r.request_id = 'wild'"
    )
    found = {json.loads(each)["alpha"]: [one["code"] for one in json.loads(reasons)] for each, reasons in rows}
    if found != {0.01: [], DEADLY: ["worker_failed"], SLOW: ["out_of_time"], LARGE: ["out_of_memory"]}:
        raise Violated(f"trials ended otherwise: {found}")
    return stage.audit(acknowledged) + len(found)


def broker_unreachable_for_producers(stage: Stage) -> int:
    """It refuses what the service tells, and is read from all the same: nothing read counts as done."""
    acknowledged = stage.deploy()
    with _taking_nothing(stage, [topic.name for topic in (*SIGNALS_BY_MODE.values(), EXPERIMENT_EVENTS)]):
        acknowledged += stage.send([stage.search("meanwhile", seed=7)])
        sent_ticks = send_ticks(stage, 30)
        time.sleep(15)
    answered = answers_to(stage, sent_ticks)
    if len(answered) != len(sent_ticks):
        raise Violated(f"{len(answered)} of {len(sent_ticks)} ticks are answered")
    stage.settle(acknowledged)
    return stage.audit(acknowledged) + len(answered)


@contextmanager
def _taking_nothing(stage: Stage, topics: list[str]) -> Iterator[None]:
    """Topics to which nothing can be produced, since everything is too large for them."""
    admin, name = AdminClient(stage.service.config), "max.message.bytes"
    resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
    before = {each.name: answer.result(30)[name].value for each, answer in admin.describe_configs(resources).items()}
    _set(admin, name, dict.fromkeys(topics, "10"))
    try:
        yield
    finally:
        _set(admin, name, before)


def _set(admin: AdminClient, name: str, values: Mapping[str, str]) -> None:
    """Set a configuration entry of topics, by topic."""
    entries = [
        ConfigResource(
            ResourceType.TOPIC,
            topic,
            incremental_configs=[ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)],
        )
        for topic, value in values.items()
    ]
    for answer in admin.incremental_alter_configs(entries).values():
        answer.result(30)

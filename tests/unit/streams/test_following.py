from datetime import datetime

import pytest

from schemas.base import Message
from schemas.envelope import Undecodable, encode
from schemas.topics import ENSEMBLE_EVENTS, EXPERIMENT_EVENTS, TRIAL_EVENTS, Topic
from streams.following import SLACK, RequestStory, event_of
from streams.source import Record
from tests.contracts.store.makers import NOW
from tests.unit.streams.lives import REASONS, REFUSED, Life


def story(
    life: Life, *, deploys: bool = True, request_id: str = "request-mine", since: datetime | None = None
) -> RequestStory:
    told = RequestStory(request_id, deploys, since)
    for topic in life.topics:
        for event in topic:
            told.apply(event)
    return told


def searched(best: float | None = 0.4) -> Life:
    return Life().accepted().began().evaluated([0.4, 0.2]).searched(best)


def test_a_deployed_search_ends_well() -> None:
    told = story(searched().passed().deploying().deployed())
    assert (told.ended, told.succeeded) == (True, True)
    assert told.deployed is not None
    assert (told.experiment, told.trials, told.scored, told.failed, told.best) == ("mine", 2, 2, 0, 0.4)


@pytest.mark.parametrize(("cached", "sentence"), [(0, "failed, best"), (2, "failed, 2 steps of training known before")])
def test_what_was_known_is_told(cached: int, sentence: str) -> None:
    told = RequestStory("request-mine", True)
    life = Life().accepted().began().searched(cached=cached)
    lines = [line for topic in life.topics for event in topic for line in told.apply(event)]
    assert sum(sentence in line for line in lines) == 1


@pytest.mark.parametrize(
    ("life", "deploys", "succeeded"),
    [
        (Life().rejected(), True, False),
        (Life().accepted().began().failed(), True, False),
        (Life().accepted().cancelled(), True, False),
        (searched().refused(), True, False),
        (searched().refused(), False, True),
        (searched().passed(), False, True),
        (searched().refused(overridden=True).deploying().undeployable(), True, False),
    ],
    ids=[
        "rejected",
        "failed",
        "cancelled",
        "refused",
        "refused, not to deploy",
        "passed, not to deploy",
        "undeployable",
    ],
)
def test_every_end_is_an_end(life: Life, deploys: bool, succeeded: bool) -> None:
    told = story(life, deploys=deploys)
    assert (told.ended, told.succeeded) == (True, succeeded)


@pytest.mark.parametrize(
    "life",
    [searched(), searched().passed(), searched().refused(overridden=True), searched().passed().deploying()],
    ids=["searched", "passed", "overridden", "deploying"],
)
def test_a_request_that_deploys_goes_on_after_the_gate(life: Life) -> None:
    assert not story(life).ended


def test_reasons_are_kept_where_it_ends_badly() -> None:
    assert story(Life().rejected()).reasons == REASONS
    assert story(searched().refused()).reasons == REFUSED.reasons
    assert story(searched().passed().deploying().undeployable()).reasons == REASONS


def test_the_rejection_of_a_message_that_was_mended_since_is_not_its_story() -> None:
    life = Life().rejected().accepted()
    told = RequestStory("request-mine", deploys=True, since=NOW + 2 * SLACK)
    for event in life.experiments:
        told.apply(event)
    assert (told.experiment, told.ended, told.heard) == ("mine", False, 1)
    assert story(Life().rejected(), since=NOW + SLACK).ended


def test_a_request_that_attached_follows_the_work_of_another() -> None:
    life = Life().accepted().attached("request-attached").began().evaluated([0.1]).searched(0.1).passed()
    told = story(life, deploys=False, request_id="request-attached")
    assert (told.experiment, told.scored, told.ended) == ("mine", 1, True)


def test_what_others_deploy_of_the_same_search_is_not_the_story_of_one_that_does_not() -> None:
    told = story(searched().refused().deploying().deployed(), deploys=False)
    assert (told.deployed, told.reasons) == (None, REFUSED.reasons)


def test_the_best_score_is_the_search_s_own_word_once_it_is_over() -> None:
    assert story(Life().accepted().began().evaluated([0.4, None, "cached", "failed"])).best == 0.4
    assert story(searched(best=-0.1)).best == -0.1
    assert story(searched(best=None)).best is None


def test_a_failed_trial_is_told_with_its_reason() -> None:
    told = RequestStory("request-mine", deploys=True)
    life = Life().accepted().evaluated(["failed"])
    said = [line for topic in life.topics for event in topic for line in told.apply(event)]
    assert said[-1] == "trial t00000 failed: it broke"


@pytest.mark.parametrize(
    ("topic", "life"),
    [
        (EXPERIMENT_EVENTS, Life().rejected().experiments),
        (TRIAL_EVENTS, Life().evaluated([0.1]).trials),
        (ENSEMBLE_EVENTS, Life().deploying().ensembles),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_an_event_is_read_by_its_topic(topic: Topic, life: list[Message]) -> None:
    for event in life:
        assert event_of(Record(topic.name, 0, 0, b"key", encode(event))) == event
    with pytest.raises(Undecodable):
        event_of(Record(topic.name, 0, 0, b"key", b"{}"))

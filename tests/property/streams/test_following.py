"""A request's story is the same however its events come: topics are not ordered among each other, and events repeat."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.base import Message
from streams.following import RequestStory
from tests.unit.streams.lives import Life

sharpes = st.lists(st.floats(-2, 2) | st.none() | st.sampled_from(["failed", "cached"]), max_size=5)
ends = st.sampled_from(
    ["rejected", "failed", "cancelled", "passed", "refused", "overridden", "deployed", "undeployable", "running"]
)
FOREIGN = (
    Life("other", "request-other")
    .accepted()
    .began()
    .evaluated([1.9, "failed"])
    .searched()
    .passed()
    .deploying()
    .deployed()
)


@st.composite
def lives(draw: st.DrawFn) -> tuple[Life, str, bool]:
    """A life, the request that is followed (its founder's, or one that attached to it), and whether it deploys."""
    life, attached, deploys, end = Life(), draw(st.booleans()), draw(st.booleans()), draw(ends)
    scored = draw(sharpes)
    if end == "rejected":
        return life.rejected(), life.request_id, deploys
    life.accepted(len(scored))
    if attached:
        life.attached("request-attached")
    life.began(len(scored)).evaluated(scored)
    followed = "request-attached" if attached else life.request_id
    if end == "running":
        return life, followed, deploys
    if end in ("failed", "cancelled"):
        return getattr(life, end)(), followed, deploys
    life.searched(draw(st.floats(-2, 2) | st.none()))
    if end in ("passed", "refused"):
        return getattr(life, end)(), followed, deploys
    life = life.passed() if draw(st.booleans()) else life.refused(overridden=True)
    if end == "overridden":
        return life, followed, deploys
    return getattr(life.deploying(), end)(), followed, deploys


@st.composite
def interleaved(draw: st.DrawFn, topics: Sequence[Sequence[Message]]) -> list[Message]:
    """The events of all topics, each topic in its order; of some, a repeat somewhere later."""
    left = [list(topic) for topic in topics if topic]
    found: list[Message] = []
    while left:
        topic = draw(st.sampled_from(left))
        found.append(topic.pop(0))
        if not topic:
            left.remove(topic)
    for position in sorted(draw(st.lists(st.integers(0, len(found)), max_size=6)), reverse=True):
        if position > 0:
            found.insert(position, draw(st.sampled_from(found[:position])))
    return found


def story(request_id: str, deploys: bool, events: Sequence[Message]) -> tuple[dict[str, Any], list[str]]:
    """What a story comes to, and every sentence of it, sorted."""
    told = RequestStory(request_id, deploys)
    sentences = [sentence for event in events for sentence in told.apply(event)]
    public = {each.name: getattr(told, each.name) for each in fields(told) if not each.name.startswith("_")}
    return public | {"heard": told.heard}, sorted(sentences)


@given(lives(), st.data())
def test_events_in_any_interleaving_with_repeats_and_others_among_them_tell_the_same_story(
    told: tuple[Life, str, bool], data: st.DataObject
) -> None:
    life, followed, deploys = told
    expected = story(followed, deploys, [event for topic in life.topics for event in topic])
    events = data.draw(interleaved([*life.topics, *FOREIGN.topics]))
    assert story(followed, deploys, events) == expected


@given(lives(), st.data())
def test_a_repeat_says_nothing(told: tuple[Life, str, bool], data: st.DataObject) -> None:
    life, followed, deploys = told
    following = RequestStory(followed, deploys)
    events = data.draw(interleaved(life.topics))
    for event in events:
        following.apply(event)
    before = repr(following)
    assert [line for event in events for line in following.apply(event)] == []
    assert repr(following) == before

"""Producing search requests and commands, and following what becomes of them."""

import json
import secrets
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event
from typing import Any

from confluent_kafka import Producer

from schemas.base import Message, Reason
from schemas.commands import AddMember, Cancel, Command, Delete, DeployEnsemble, ResendDeadLetter, Resume, RollBack
from schemas.control import Halt, Lift
from schemas.dead_letter import read_dead_letter
from schemas.ensembles import EnsembleDeleted, EnsembleDeployed, EnsembleFailed
from schemas.envelope import Undecodable, decode, encode, headers_of
from schemas.experiments import ExperimentCancelled, ExperimentRejected, ExperimentWaiting, GateRefused
from schemas.retraining import ChallengerShadowing
from schemas.search import SearchRequest
from schemas.topics import (
    COMMANDS,
    CONTROL,
    ENSEMBLE_EVENTS,
    EXPERIMENT_EVENTS,
    RETRAINING_EVENTS,
    SEARCH_REQUESTS,
    Topic,
    dead_letter_topic,
)
from schemas.trace_context import begin_trace
from streams.display import Display
from streams.following import SLACK, RequestStory, event_of, opened
from streams.reader import TopicReader
from streams.source import Record

SOURCE = "/orchestrator/cli"
DELIVERY_SECONDS = 30.0
WONDER_SECONDS = 15.0
"""An accepted request is told of at once."""

Order = Cancel | Resume | DeployEnsemble | AddMember | RollBack | Delete


class NotProduced(Exception):
    """The broker did not take a request or a command.

    Attributes:
        message_id: its id.
        cause: what the client or the broker said.
    """

    def __init__(self, message_id: str, cause: str) -> None:
        self.message_id = message_id
        self.cause = cause
        super().__init__(f"{message_id} was not acknowledged: {cause}")


def made_id(now: datetime) -> str:
    """An id for a command or a request."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


def parse_request(text: str, now: datetime) -> SearchRequest:
    """A request as a person writes it: without a `request_id` it gets one.

    Raises:
        Undecodable: it is no search request, with every fault.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise Undecodable((Reason(code="not_json", message=f"not JSON: {error}"),)) from error
    if isinstance(document, dict):
        document = {"request_id": made_id(now)} | document
    return decode(SearchRequest, json.dumps(document).encode())


def produce_request(config: dict[str, Any], request: SearchRequest, source: str = SOURCE) -> None:
    """Produce a request and wait for the broker's acknowledgement.

    Args:
        config: librdkafka's connection settings.
        request: what is asked for.
        source: who asks, as CloudEvents has it.

    Raises:
        NotProduced: it did not come.
    """
    value = request.model_dump_json(exclude_unset=True).encode()
    _produce(config, SEARCH_REQUESTS, request.request_id, request, request.request_id, value, source)


def produce_command(config: dict[str, Any], command: Command, source: str = SOURCE) -> None:
    """Produce a command and wait for the broker's acknowledgement.

    Raises:
        NotProduced: it did not come.
    """
    _produce(config, COMMANDS, _target(command), command, command.command_id, encode(command), source)


def _target(command: Command) -> str:
    match command:
        case Cancel() | Resume():
            return command.experiment
        case ResendDeadLetter():
            return command.topic
    return command.ensemble


def produce_control(config: dict[str, Any], order: Halt | Lift, source: str = SOURCE) -> None:
    """Produce a halt or a lift and wait for the broker's acknowledgement.

    Raises:
        NotProduced: it did not come.
    """
    _produce(config, CONTROL, order.scope, order, f"{order.scope}:{order.epoch}", encode(order), source)


@dataclass(frozen=True)
class Answer:
    """What has become of a command: `event` tells of it where it was carried out, else `reasons` why not."""

    event: Message | None = None
    reasons: tuple[Reason, ...] = ()


def answer_to(config: dict[str, Any], command: Order, *, patience: float) -> Answer | None:
    """Wait for what becomes of a command; None: nothing is heard of it.

    Args:
        config: librdkafka's connection settings.
        command: that was produced just now.
        patience: seconds to wait.
    """
    deadline = time.monotonic() + patience
    topics = [EXPERIMENT_EVENTS, ENSEMBLE_EVENTS, RETRAINING_EVENTS, dead_letter_topic(COMMANDS)]
    with TopicReader(config, topics, since=command.issued_at - SLACK) as reader:
        while time.monotonic() < deadline:
            for record in reader.read(0.1):
                if answer := _answer_in(record, command):
                    return answer
    return None


def _answer_in(record: Record, command: Order) -> Answer | None:
    if record.topic == dead_letter_topic(COMMANDS).name:
        mine = command.command_id.encode() in (record.value or b"")
        return Answer(reasons=read_dead_letter(record.headers).reasons) if mine else None
    try:
        event = event_of(record)
    except Undecodable:
        # A newer version may tell of what this one does not know.
        return None
    return answered(command, event)


def answered(command: Order, event: Message) -> Answer | None:
    """What an event says of a command; None: nothing, or not yet."""
    match event:
        case ExperimentCancelled() if isinstance(command, Cancel) and event.experiment == command.experiment:
            return Answer(event)
        case ExperimentWaiting() if isinstance(command, Resume) and event.experiment == command.experiment:
            return Answer(event)
        case EnsembleDeployed() | EnsembleDeleted() | ChallengerShadowing() if event.command_id == command.command_id:
            return Answer(event)
        case EnsembleFailed() if event.command_id == command.command_id:
            return Answer(reasons=event.reasons)
        case ExperimentRejected() if event.request_id == command.command_id:
            return Answer(reasons=event.reasons)
        case GateRefused() if event.request_id == command.command_id and not event.verdict.overridden:
            return Answer(reasons=event.verdict.reasons)
    return None


def _produce(
    config: dict[str, Any], topic: Topic, key: str, message: Message, message_id: str, value: bytes, source: str
) -> None:
    # Not idempotent, which would take half a second more: whoever reads knows a message that came twice by its id.
    producer = Producer(config | {"acks": "all"})
    failures: list[str] = []
    producer.produce(
        topic.name,
        key=key.encode(),
        value=value,
        headers=[
            *headers_of(
                message,
                message_id=message_id,
                source=source,
                time=datetime.now(UTC),
                traceparent=str(begin_trace(secrets.token_bytes(24))),
            )
        ],
        on_delivery=lambda error, sent: failures.append(str(error)) if error is not None else None,
    )
    left = producer.flush(DELIVERY_SECONDS)
    if failures or left:
        raise NotProduced(message_id, failures[0] if failures else "no answer from the broker")


def follow_request(
    config: dict[str, Any],
    request_id: str,
    *,
    deploys: bool,
    since: datetime,
    display: Display,
    patience: float | None = None,
    stop: Event | None = None,
) -> RequestStory:
    """Show a request's events as they come, until it ends.

    Args:
        config: librdkafka's connection settings.
        request_id: whose events.
        deploys: the request asks for a deployment, so its story goes on after the gate.
        since: when the request was produced, or a little earlier: an earlier message under its id is not followed.
        display: where to show it.
        patience: seconds without any event of it after which the story is returned as it stands; None: no end.
        stop: set from another thread to return at once.
    """
    story = RequestStory(request_id, deploys, since)
    heard = time.monotonic()
    wondered = False
    with ExitStack() as stack:
        readers = [stack.enter_context(reader) for reader in opened(config, since)]
        activity = stack.enter_context(display.activity(f"search {request_id}"))
        while not story.ended and not (stop is not None and stop.is_set()):
            silence = time.monotonic() - heard
            if patience is not None and silence > patience:
                break
            if silence > WONDER_SECONDS and not story.heard and not wondered:
                wondered = True
                activity.say(
                    "nothing heard yet: does the service run? `orchestrator topics` shows how far it is behind"
                )
            for record in (record for reader in readers for record in reader.read(0.05)):
                try:
                    event = event_of(record)
                except Undecodable:
                    # A newer version may tell of what this one does not know.
                    continue
                before = story.heard
                for sentence in story.apply(event):
                    activity.say(sentence)
                if story.heard != before:
                    heard = time.monotonic()
            if story.trials:
                activity.advance_to(story.scored + story.failed, story.trials, story.best_so_far)
    return story

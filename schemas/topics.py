"""The topic table: what is created, how it is keyed, kept and shaped."""

from dataclasses import dataclass
from typing import Literal, get_args

from schemas import commands, control, ensembles, experiments, retraining, search, signals, ticks, trials
from schemas.base import Message

DAY_MS = 24 * 60 * 60 * 1000
MAX_MESSAGE_BYTES = 1_048_576
DEAD_LETTER_MAX_MESSAGE_BYTES = 2 * MAX_MESSAGE_BYTES
"""Above the input's, since the reasons travel in headers beside the whole original."""


@dataclass(frozen=True)
class Topic:
    """One topic of the contract. `messages` is a model or a discriminated union; None: original bytes."""

    name: str
    key: str
    partitions: int
    messages: object | None
    deduplicated_by: str
    retention_days: int | None = 7
    cleanup: Literal["delete", "compact"] = "delete"
    consumed: bool = False
    """The service reads it, so it has a dead-letter topic."""
    max_message_bytes: int = MAX_MESSAGE_BYTES

    @property
    def dead_letters(self) -> str:
        """Name of the topic that keeps what could not be handled."""
        return f"{self.name}.dlq"

    @property
    def models(self) -> tuple[type[Message], ...]:
        """The message models that the topic carries; none for original bytes."""
        if self.messages is None:
            return ()
        if isinstance(self.messages, type):
            return (self.messages,)
        union, *_ = get_args(self.messages)
        return get_args(union)

    @property
    def config(self) -> dict[str, str]:
        """The broker's topic settings."""
        settings = {"cleanup.policy": self.cleanup, "max.message.bytes": str(self.max_message_bytes)}
        if self.cleanup == "delete" and self.retention_days is not None:
            settings["retention.ms"] = str(self.retention_days * DAY_MS)
        return settings


SEARCH_REQUESTS = Topic(
    "search-requests", "request id", 4, search.SearchRequest, "request id, then search key", consumed=True
)
COMMANDS = Topic("commands", "target name", 1, commands.Command, "command id", consumed=True)
CONTROL = Topic("control", "scope", 1, control.Control, "epoch", None, "compact", consumed=True)
TRIAL_EVENTS = Topic("trial-events", "experiment", 4, trials.TrialEvent, "(experiment, sequence)")
EXPERIMENT_EVENTS = Topic(
    "experiment-events", "experiment", 4, experiments.ExperimentEvent, "(experiment or request, sequence)", 30
)
ENSEMBLE_EVENTS = Topic(
    "ensemble-events", "ensemble", 1, ensembles.EnsembleEvent, "(ensemble, sequence)", None, "compact"
)
RETRAINING_EVENTS = Topic("retraining-events", "ensemble", 1, retraining.RetrainingEvent, "(ensemble, sequence)", 30)
FEATURE_TICKS = Topic(
    "feature-ticks",
    "instrument",
    8,
    ticks.FeatureTick,
    "(instrument, timeframe, event_time, revision)",
    consumed=True,
)
SIGNALS = Topic("signals", "instrument", 8, signals.SignalMessage, "signal id")
SIGNALS_REPLAY = Topic("signals.replay", "instrument", 8, signals.SignalMessage, "signal id")
SIGNALS_SHADOW = Topic("signals.shadow", "instrument", 8, signals.SignalMessage, "signal id")
SIGNALS_PAPER = Topic("signals.paper", "instrument", 8, signals.SignalMessage, "signal id")
SIGNAL_STATE = Topic(
    "signal-state", "ensemble, instrument, timeframe, mode", 8, signals.Signal, "newest", None, "compact"
)

_PRIMARY = (
    SEARCH_REQUESTS,
    COMMANDS,
    CONTROL,
    TRIAL_EVENTS,
    EXPERIMENT_EVENTS,
    ENSEMBLE_EVENTS,
    RETRAINING_EVENTS,
    FEATURE_TICKS,
    SIGNALS,
    SIGNALS_REPLAY,
    SIGNALS_SHADOW,
    SIGNALS_PAPER,
    SIGNAL_STATE,
)


def dead_letter_topic(topic: Topic) -> Topic:
    """The topic that keeps `topic`'s dead letters, de-duplicated by the position they came from."""
    return Topic(
        topic.dead_letters,
        "original",
        1,
        None,
        "source position",
        30,
        max_message_bytes=DEAD_LETTER_MAX_MESSAGE_BYTES,
    )


TOPICS: tuple[Topic, ...] = (*_PRIMARY, *(dead_letter_topic(topic) for topic in _PRIMARY if topic.consumed))
"""Every topic of the contract, dead letters included."""

SIGNALS_BY_MODE: dict[str, Topic] = {
    "live": SIGNALS,
    "replay": SIGNALS_REPLAY,
    "shadow": SIGNALS_SHADOW,
    "paper": SIGNALS_PAPER,
}

"""The file that describes an ensemble version: immutable, and named by the digest of its canonical JSON.

The version's number, its gate verdict and how it is heard (live, shadow, paper) are not in it: the same content may be
proposed twice, judged later and promoted without becoming another ensemble.
"""

import hashlib
import json
from typing import Annotated

from pydantic import Field, ValidationError

from orchestrator.core.dataset import Execution, SessionPolicy, Transform
from orchestrator.core.draft import Calibration
from orchestrator.core.errors import Refused
from orchestrator.core.models import Format
from schemas.base import (
    AlgorithmName,
    Count,
    Digest,
    FeatureName,
    Instant,
    JsonObject,
    Name,
    Number,
    Part,
    Reason,
    Scalar,
    ShortText,
    Ticker,
    Timeframe,
    Voting,
)

Share = Annotated[Number, Field(ge=0, le=1)]


class MalformedManifest(Refused):
    """The JSON is not a manifest, or not the one that the digest names."""


class Knots(Part):
    """A calibrated chance of the right sign by strength: linear between the knots, constant beyond them."""

    strength: Annotated[tuple[Share, ...], Field(min_length=1)]
    """Ascending."""
    chance: Annotated[tuple[Share, ...], Field(min_length=1)]


class MemberRecord(Part):
    """What a member's predictions were worth on one ticker, out of fold."""

    reference: Digest
    """Artifact: its sorted absolute predicted returns, a float64 npy array."""
    reliability: Knots


class Probe(Part):
    """Feature rows and the predictions that the member gave on them when it was assembled."""

    features: tuple[tuple[Number, ...], ...]
    prediction: tuple[Number, ...]


class Member(Part):
    """A survivor or a registered model: it votes on the tickers that it has a record on."""

    member: Name
    trial: Name
    fingerprint: Digest
    metric: Number | None
    """Null: it was not searched for here."""
    configuration: dict[str, Scalar]
    artifact: Digest
    """The predictor's dump, or the model's file."""
    format: Annotated[Format, Field(exclude_if=lambda found: found == "sealed")] = "sealed"
    algorithm: Annotated[AlgorithmName | None, Field(exclude_if=lambda found: found is None)] = None
    """Null: the ensemble's."""
    weight: Annotated[Number, Field(gt=0)]
    feature_names: Annotated[tuple[FeatureName, ...], Field(min_length=1)]
    """In the order in which the predictor takes them."""
    records: Annotated[dict[Ticker, MemberRecord], Field(min_length=1)]
    probe: Probe


class TickerRules(Part):
    """How the members' votes on one ticker become a score."""

    cost: Annotated[Number, Field(ge=0)]
    """Of a change of position by one unit, as a fraction."""
    data_hash: Digest
    reference: Digest | None
    """Artifact: the sorted weighted means of the votes out of fold; null: the mean is the score."""
    reliability: Knots | None
    """By the score's size; null: not enough is known."""
    calibration_id: ShortText
    ranges: Annotated[
        dict[FeatureName, tuple[Number, Number]] | None, Field(exclude_if=lambda found: found is None)
    ] = None
    """By feature, the least and the largest value in training. Absent where they are not known: older versions keep
    their digests."""
    profile: Annotated[Digest | None, Field(exclude_if=lambda found: found is None)] = None
    """Artifact: how the features were distributed in training, a drift profile as JSON. Absent: not known."""


class Outline(Part):
    """What a version is, whoever its members are."""

    ensemble: Name
    experiment: Name | None
    """Null: its members are registered models."""
    algorithm: AlgorithmName
    """Of the members that do not name their own."""
    timeframe: Timeframe
    target_transform: Transform
    horizon: Annotated[Count, Field(ge=1)]
    execution: Execution
    session_policy: SessionPolicy
    calendar: ShortText
    voting: Voting
    calibration: Calibration
    threshold: Share
    exit_threshold: Share
    min_edge_bps: Annotated[Number, Field(ge=0)]


class EnsembleManifest(Outline):
    """Everything that decides what an ensemble version answers."""

    trained_through: Instant
    members: Annotated[tuple[Member, ...], Field(min_length=1)]
    """In the order in which their votes are listed."""
    tickers: Annotated[dict[Ticker, TickerRules], Field(min_length=1)]

    def members_on(self, ticker: str) -> tuple[Member, ...]:
        """Those that vote on `ticker`, in order."""
        return tuple(member for member in self.members if ticker in member.records)

    def document(self) -> JsonObject:
        """The manifest as JSON."""
        document: JsonObject = self.model_dump(mode="json")
        return document

    def content(self) -> bytes:
        """Canonical JSON: sorted keys, no white space, UTF-8."""
        text = json.dumps(self.document(), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()

    @property
    def digest(self) -> str:
        """SHA-256 of `content`."""
        return hashlib.sha256(self.content()).hexdigest()


def read_manifest(content: bytes) -> EnsembleManifest:
    """The manifest that `EnsembleManifest.content` wrote.

    Raises:
        MalformedManifest: a field is missing or wrong; all faults at once.
    """
    try:
        return EnsembleManifest.model_validate_json(content)
    except ValidationError as error:
        raise MalformedManifest(
            Reason(code="malformed_manifest", where=".".join(map(str, fault["loc"]))[:256], message=fault["msg"])
            for fault in error.errors()
        ) from None

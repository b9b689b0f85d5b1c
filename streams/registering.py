"""Registering a model file: read from below one folder, judged, kept, and written down."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from orchestrator.algorithms.formats import format_of, probe, read_model
from orchestrator.core.calendar import is_intraday
from orchestrator.core.dataset import DAILY_HORIZON, INTRADAY_HORIZON, Transform
from orchestrator.core.errors import Refused
from orchestrator.core.models import Format, RegisteredModel
from orchestrator.store import models
from orchestrator.store.database import Database
from schemas.base import Reason
from serving.artifacts import Artifacts
from serving.model_files import read_below


class NotRegistered(Refused):
    """The model is not registered; nothing was written."""


@dataclass(frozen=True)
class Declaration:
    """What the operator says of a model; None: the file says so, or a default holds."""

    algorithm: str
    timeframe: str
    tickers: tuple[str, ...]
    trained_through: datetime
    name: str | None = None
    """None: the file's."""
    kind: Format | None = None
    feature_names: tuple[str, ...] | None = None
    horizon: int | None = None
    target_transform: Transform = "log_return"
    trusts_pickle: bool = False
    """A joblib file may be read: by what runs nothing that it carries, and yet it is code of somebody's."""


async def registered(
    database: Database, artifacts: Artifacts, root: Path, path: str, said: Declaration, *, limit: int, now: datetime
) -> RegisteredModel:
    """Register the file at `path` below `root`, of at most `limit` bytes.

    Raises:
        UnsafePath, OversizeFile: it is not read.
        UnsafePickle, MalformedModel, UnusableModel, UnknownAlgorithm, MissingExtra: it is no model that can serve.
        NotRegistered: what is said of it is wrong, or contradicts what is registered.
    """
    content = read_below(root, path, limit=limit)
    kind = said.kind or format_of(content)
    if kind == "joblib" and not said.trusts_pickle:
        message = (
            "a joblib file is a program that is run to be read. It is read here by what runs only scikit-learn's "
            "estimators; if you know who made it, say so with --trust-pickle, or use the library's own format"
        )
        raise NotRegistered([Reason(code="pickle_not_trusted", where=path[:256], message=message)])
    predictor = read_model(kind, content, said.algorithm, said.feature_names)
    probe(predictor)
    digest = hashlib.sha256(content).hexdigest()
    model = _described(said, Path(path).stem, kind, predictor.feature_names, digest, now)
    artifacts.put(content)
    async with database.transaction() as tx:
        if reasons := await models.register(tx, model):
            raise NotRegistered(reasons)
    return model


def _described(
    said: Declaration, stem: str, kind: Format, feature_names: tuple[str, ...], digest: str, now: datetime
) -> RegisteredModel:
    if said.trained_through > now:
        message = "it is in the future: give the event time of the last bar that it was trained on"
        raise NotRegistered([Reason(code="wrong_field", where="trained_through", message=message)])
    try:
        model = RegisteredModel(
            digest=digest,
            name=said.name or stem,
            format=kind,
            algorithm=said.algorithm,
            feature_names=feature_names,
            tickers=tuple(dict.fromkeys(said.tickers)),
            timeframe=said.timeframe,
            target_transform=said.target_transform,
            horizon=said.horizon or DAILY_HORIZON,
            trained_through=said.trained_through,
            registered_at=now,
        )
    except ValidationError as error:
        raise NotRegistered(
            Reason(code="wrong_field", where=".".join(map(str, fault["loc"]))[:256], message=fault["msg"][:4096])
            for fault in error.errors()
        ) from None
    if said.horizon is None and is_intraday(model.timeframe):
        return model.model_copy(update={"horizon": INTRADAY_HORIZON})
    return model

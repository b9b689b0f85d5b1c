"""What a deleted ensemble still says: nothing is held any more. Nobody serves it, so that nobody needs to be asked."""

import numpy as np

from orchestrator.store.ensembles import Version
from schemas.base import Reason, parse_instant
from serving.answer import BatchAnswer, FeatureBatch
from streams.served import served

_DELETED = (Reason(code="deleted", message="the ensemble was deleted, so nothing is held"),)


def farewell(last: Version, batch: FeatureBatch) -> BatchAnswer:
    """The answer to each tick of a batch in the name of the version that served last: no row is covered."""
    manifest, rows = last.manifest, len(batch.tickers)
    unknown, nobody = np.full(rows, np.nan), np.full((rows, 0), np.nan)
    return BatchAnswer(
        served=served(last),
        experiment=last.experiment,
        voting=manifest["voting"],
        threshold=manifest["threshold"],
        exit_threshold=manifest["exit_threshold"],
        horizon=manifest["horizon"],
        session_policy=manifest["session_policy"],
        trained_through=parse_instant(manifest["trained_through"]),
        members={},
        calibration_ids={},
        worth={},
        covered=np.zeros(rows, dtype=np.bool_),
        raw=unknown,
        opinion=unknown,
        score=unknown,
        confidence=unknown,
        p_correct=unknown,
        edge_bps=unknown,
        votes=np.zeros((rows, 0), dtype=np.int8),
        strengths=nobody,
        confidences=nobody,
        predictions=nobody,
        reasons=(_DELETED,) * rows,
    )

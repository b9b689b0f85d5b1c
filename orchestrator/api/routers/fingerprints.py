"""Fingerprints: what is known and is not trained again, and forgetting it."""

from fastapi import APIRouter
from starlette.responses import Response

from orchestrator.api.asking import Given, NameInPath, Read, answer
from orchestrator.api.views import FingerprintLine, FingerprintStats, View
from orchestrator.store import fingerprints

router = APIRouter(prefix="/fingerprint", tags=["fingerprints"])


class Fingerprints(View):
    """What an experiment has trained that is known."""

    experiment: str
    fingerprints: tuple[FingerprintLine, ...]


class Cleared(View):
    """How many results are known no longer. Trials keep their records, and the ledger its counts."""

    cleared: int


@router.get("/stats", response_model=FingerprintStats, summary="How much is known, and what that has saved")
async def stats(read: Read) -> Response:
    return answer(await read.fingerprint_stats())


@router.get("/{experiment}", response_model=Fingerprints, summary="What an experiment has trained that is known")
async def of_experiment(experiment: NameInPath, read: Read) -> Response:
    return answer(Fingerprints(experiment=experiment, fingerprints=await read.fingerprints(experiment)))


@router.delete("/{experiment}", response_model=Cleared, summary="Forget what an experiment has trained")
async def clear(experiment: NameInPath, read: Read, faces: Given) -> Response:
    known = (await read.line(experiment)).name
    async with faces.database.transaction() as tx:
        return answer(Cleared(cleared=await fingerprints.clear(tx, known)))


@router.delete("", response_model=Cleared, summary="Forget everything that was trained")
async def clear_all(faces: Given) -> Response:
    async with faces.database.transaction() as tx:
        return answer(Cleared(cleared=await fingerprints.clear_all(tx)))

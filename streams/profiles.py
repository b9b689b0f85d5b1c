"""What the features of the versions that serve were like in training, read once for whoever watches and decides."""

import asyncio
from collections.abc import Mapping

import structlog

from orchestrator.core.drift import Profile
from orchestrator.core.errors import Refused
from schemas.base import JsonObject
from serving.artifacts import Artifacts

log = structlog.get_logger(__name__)


def profiles_of(manifest: JsonObject, artifacts: Artifacts) -> dict[str, Profile]:
    """The profiles that a version has of its instruments in training, by ticker.

    Raises:
        ArtifactMissing: one is not kept here.
        ArtifactDamaged: what is kept is not what was put there.
    """
    digests = {ticker: rules.get("profile") for ticker, rules in manifest["tickers"].items()}
    return {
        ticker: Profile.load(artifacts.get(digest)) for ticker, digest in digests.items() if isinstance(digest, str)
    }


class Profiles:
    """The profiles of the version of each ensemble that was asked for last."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._known: dict[str, tuple[int, Mapping[str, Profile]]] = {}

    async def of(self, ensemble: str, version: int, manifest: JsonObject) -> Mapping[str, Profile]:
        """A version's profiles, by ticker; none where they are not kept, or cannot be read now."""
        known = self._known.get(ensemble)
        if known is None or known[0] != version:
            try:
                found: Mapping[str, Profile] = await asyncio.to_thread(profiles_of, manifest, self._artifacts)
            except (Refused, OSError) as error:
                log.error("features_not_watched", ensemble=ensemble, version=version, cause=str(error))
                found = {}
            known = self._known[ensemble] = (version, found)
        return known[1]

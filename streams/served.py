"""A version of the store, as Ray Serve is told of it."""

from dataclasses import replace

from orchestrator.store.ensembles import Version
from serving.version import ServedVersion


def served(version: Version) -> ServedVersion:
    """What Ray Serve is told of a version."""
    return ServedVersion(
        ensemble=version.ensemble,
        version=version.version,
        digest=version.digest,
        mode=version.mode,
        gate="passed" if version.verdict.passed else "overridden",
    )


def beside(challenger: Version) -> ServedVersion:
    """What Ray Serve is told of a version on trial: the same until it serves, also where it is to be promoted."""
    return replace(served(challenger), mode="shadow", beside=True)

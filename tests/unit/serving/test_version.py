from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.core.errors import Refused
from schemas.base import JsonObject
from serving.artifacts import ArtifactDamaged, ArtifactMissing, Artifacts
from serving.assemble import EnsembleAssembler
from serving.manifest import EnsembleManifest, MalformedManifest, read_manifest
from serving.version import ServedVersion, UnusableVersion, load_version, read_configuration
from tests.unit.serving.drafts import candidate, draft


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path)


@pytest.fixture
def served(artifacts: Artifacts) -> ServedVersion:
    assembled = EnsembleAssembler(artifacts).assemble(draft(candidate("t1"), candidate("t2", seed=1)))
    return ServedVersion("bot", 3, assembled.digest, "paper", "overridden")


def rewritten(served: ServedVersion, artifacts: Artifacts, **changes: object) -> ServedVersion:
    """The version with another manifest, whose digest is right."""
    manifest = read_manifest(artifacts.get(served.digest)).model_copy(update=changes)
    return replace(served, digest=artifacts.put(manifest.content()))


def members_with(served: ServedVersion, artifacts: Artifacts, **changes: object) -> JsonObject:
    manifest: EnsembleManifest = read_manifest(artifacts.get(served.digest))
    return {"members": tuple(member.model_copy(update=changes) for member in manifest.members)}


def refusal(served: ServedVersion, artifacts: Artifacts) -> Refused:
    with pytest.raises(Refused) as refused:
        load_version(served, artifacts)
    return refused.value


def test_a_version_loads_what_it_was_assembled_of(served: ServedVersion, artifacts: Artifacts) -> None:
    loaded = load_version(served, artifacts)
    panel = loaded.panels["AAPL"]
    assert [voter.member for voter in panel.voters] == ["t1", "t2"]
    assert panel.calibration.calibration_id == panel.calibration_id


def test_a_replica_reads_the_configuration_that_names_the_version(served: ServedVersion, artifacts: Artifacts) -> None:
    for digest in (None, "0" * 64):
        found, where, key_digest = read_configuration(served.configuration(artifacts.directory, digest))
        assert (found, where.directory, key_digest) == (served, artifacts.directory, digest)


def test_a_missing_manifest_is_refused(served: ServedVersion, artifacts: Artifacts) -> None:
    assert isinstance(refusal(replace(served, digest="0" * 64), artifacts), ArtifactMissing)


@pytest.mark.parametrize("what", ["artifact", "reference"])
def test_a_damaged_predictor_or_calibration_is_refused(served: ServedVersion, artifacts: Artifacts, what: str) -> None:
    member = read_manifest(artifacts.get(served.digest)).members[1]
    digest = member.artifact if what == "artifact" else member.records["AAPL"].reference
    (artifacts.directory / digest).write_bytes(b"something else")
    assert isinstance(refusal(served, artifacts), ArtifactDamaged)


def test_what_is_no_manifest_is_refused_with_every_fault(served: ServedVersion, artifacts: Artifacts) -> None:
    error = refusal(replace(served, digest=artifacts.put(b'{"ensemble": 1}')), artifacts)
    assert isinstance(error, MalformedManifest)
    assert {reason.where for reason in error.reasons} > {"ensemble", "members", "voting"}


def test_another_ensemble_s_manifest_is_refused(served: ServedVersion, artifacts: Artifacts) -> None:
    error = refusal(replace(served, ensemble="other"), artifacts)
    assert [reason.code for reason in error.reasons] == ["foreign_manifest"]


def test_an_algorithm_that_is_not_installed_is_refused(served: ServedVersion, artifacts: Artifacts) -> None:
    error = refusal(rewritten(served, artifacts, algorithm="crystal_ball"), artifacts)
    assert [reason.code for reason in error.reasons] == ["unknown_algorithm"]


def test_a_member_that_does_not_predict_what_it_did_is_refused(served: ServedVersion, artifacts: Artifacts) -> None:
    other = artifacts.put(candidate("t9", alpha=0.1, seed=9).predictor.dump())
    error = refusal(rewritten(served, artifacts, **members_with(served, artifacts, artifact=other)), artifacts)
    assert isinstance(error, UnusableVersion)
    assert [(reason.code, reason.where) for reason in error.reasons] == [("probe_failed", "t1")]


def test_a_predictor_of_other_features_is_refused(served: ServedVersion, artifacts: Artifacts) -> None:
    names = {"feature_names": ("momentum", "volatility_20", "rsi_15")}
    error = refusal(rewritten(served, artifacts, **members_with(served, artifacts, **names)), artifacts)
    assert [reason.code for reason in error.reasons] == ["features_differ"]

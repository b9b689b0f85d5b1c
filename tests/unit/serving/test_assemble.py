from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.core.drift import Profile, profile_of
from orchestrator.core.retention import digests_in
from orchestrator.core.scoring import score_history
from schemas.base import Voting
from serving.artifacts import Artifacts
from serving.assemble import EnsembleAssembler, UnusableCandidates, align
from serving.manifest import read_manifest
from tests.unit.serving.drafts import NAMES, candidate, draft


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path)


def test_the_manifest_says_who_votes_in_which_order(artifacts: Artifacts) -> None:
    members = (candidate("t2"), candidate("t1", alpha=0.05), candidate("t3", "MSFT"))
    assembled = EnsembleAssembler(artifacts).assemble(draft(*members))
    manifest = read_manifest(artifacts.get(assembled.digest))
    assert [member.member for member in manifest.members] == ["t2", "t1", "t3"]
    assert [member.member for member in manifest.members_on("AAPL")] == ["t2", "t1"]
    assert [member.member for member in manifest.members_on("MSFT")] == ["t3"]
    assert manifest.members[0].feature_names == NAMES
    assert manifest.document() == assembled.manifest


def test_the_same_draft_gives_the_same_digest_and_another_order_another(artifacts: Artifacts) -> None:
    assembler, one, two = EnsembleAssembler(artifacts), candidate("t1"), candidate("t2", seed=1)
    assert assembler.assemble(draft(one, two)).digest == assembler.assemble(draft(one, two)).digest
    assert assembler.assemble(draft(one, two)).digest != assembler.assemble(draft(two, one)).digest


def test_ranges_are_written_down_where_they_are_known_and_nothing_is_where_they_are_not(artifacts: Artifacts) -> None:
    known = {"AAPL": dict.fromkeys(NAMES, (-0.1, 1e300))}
    made = replace(draft(candidate("t1"), candidate("t2", "MSFT")), ranges=known)
    assembled = EnsembleAssembler(artifacts).assemble(made)
    manifest = read_manifest(artifacts.get(assembled.digest))
    assert manifest.tickers["AAPL"].ranges == known["AAPL"]
    assert manifest.tickers["MSFT"].ranges is None
    # A version of before there were ranges has the digest that it had.
    assert "ranges" not in assembled.manifest["tickers"]["MSFT"]
    assert manifest.digest == assembled.digest


def test_a_drift_profile_is_kept_beside_the_models_and_named_in_the_manifest(artifacts: Artifacts) -> None:
    profile = profile_of(np.random.default_rng(1).normal(size=(800, len(NAMES))), NAMES, 60)
    assert profile is not None
    made = replace(draft(candidate("t1"), candidate("t2", "MSFT")), profiles={"AAPL": profile})
    assembled = EnsembleAssembler(artifacts).assemble(made)
    tickers = read_manifest(artifacts.get(assembled.digest)).tickers
    kept = tickers["AAPL"].profile
    assert kept is not None
    assert Profile.load(artifacts.get(kept)).dump() == profile.dump()
    # What is not named is pruned one day.
    assert kept in digests_in(assembled.manifest)
    assert "profile" not in assembled.manifest["tickers"]["MSFT"]


@pytest.mark.parametrize(("voting", "thresholds"), [("soft", (0.7, 0.35)), ("hard", (0.0, 0.0))])
def test_a_majority_needs_no_margin(artifacts: Artifacts, voting: Voting, thresholds: tuple[float, float]) -> None:
    assembled = EnsembleAssembler(artifacts).assemble(draft(candidate("t1"), voting=voting))
    assert (assembled.threshold, assembled.exit_threshold) == thresholds
    assert (assembled.manifest["threshold"], assembled.manifest["exit_threshold"]) == thresholds


def test_the_scores_of_the_first_fold_are_missing_and_the_others_are_those_of_a_single_model(
    artifacts: Artifacts,
) -> None:
    only = candidate("t1")
    event_time, score = EnsembleAssembler(artifacts).assemble(draft(only, cost=0.0)).scores["AAPL"]
    assert event_time.tolist() == only.event_time.tolist()
    assert np.isnan(score[only.fold == 0]).all()
    expected = score_history(only.prediction, only.fold)
    assert score[only.fold > 0] == pytest.approx(expected[only.fold > 0], abs=1e-12)


def test_each_ticker_is_calibrated_by_itself(artifacts: Artifacts) -> None:
    alone = EnsembleAssembler(artifacts).assemble(draft(candidate("t1")))
    together = EnsembleAssembler(artifacts).assemble(draft(candidate("t1"), candidate("t2", "MSFT")))
    assert together.manifest["tickers"]["AAPL"] == alone.manifest["tickers"]["AAPL"]
    assert np.array_equal(together.scores["AAPL"][1], alone.scores["AAPL"][1], equal_nan=True)


def test_a_trial_on_several_tickers_is_a_member_on_each_with_its_own_model_and_record(artifacts: Artifacts) -> None:
    one, other, third = candidate("t1"), candidate("t1", "MSFT"), candidate("t2")
    manifest = EnsembleAssembler(artifacts).assemble(draft(one, third, other)).manifest
    assert [(member["member"], member["trial"], list(member["records"])) for member in manifest["members"]] == [
        ("t1-1", "t1", ["AAPL"]),
        ("t2", "t2", ["AAPL"]),
        ("t1-2", "t1", ["MSFT"]),
    ]
    alone = EnsembleAssembler(artifacts).assemble(draft(other)).manifest["members"][0]
    assert {**manifest["members"][2], "member": "t1"} == alone


def test_every_fault_of_a_draft_is_named(artifacts: Artifacts) -> None:
    one = candidate("t1")
    faulty = replace(draft(one, replace(one, probe=np.full((1, 3), np.nan))), cost={}, data_hash={})
    with pytest.raises(UnusableCandidates) as refused:
        EnsembleAssembler(artifacts).assemble(faulty)
    codes = [reason.code for reason in refused.value.reasons]
    assert codes == ["repeated_candidate", "missing_term", "missing_term", "unusable_probe"]


def test_nobody_makes_no_ensemble(artifacts: Artifacts) -> None:
    with pytest.raises(UnusableCandidates, match="no_candidates"):
        EnsembleAssembler(artifacts).assemble(draft())


def test_a_candidate_that_never_predicts_makes_no_ensemble(artifacts: Artifacts) -> None:
    one = candidate("t1")
    silent = replace(candidate("t2"), prediction=np.full(len(one.prediction), np.nan))
    with pytest.raises(UnusableCandidates, match="no_record"):
        EnsembleAssembler(artifacts).assemble(draft(one, silent))


def test_records_are_aligned_by_time() -> None:
    one, two = candidate("t1"), candidate("t2", seed=1)
    later = slice(50, None)
    short = replace(
        two,
        event_time=two.event_time[later],
        prediction=two.prediction[later],
        target=two.target[later],
        fold=two.fold[later],
    )
    record = align([one, short])
    assert record.event_time.tolist() == short.event_time.tolist()
    assert record.prediction.T.tolist() == [one.prediction[later].tolist(), short.prediction.tolist()]


def test_candidates_of_other_folds_do_not_vote_together() -> None:
    one = candidate("t1")
    with pytest.raises(UnusableCandidates, match="folds_differ"):
        align([one, replace(one, trial="t2", fold=one.fold + 1)])


def test_candidates_without_a_common_bar_do_not_vote_together() -> None:
    one = candidate("t1")
    with pytest.raises(UnusableCandidates, match="no_common_bars"):
        align([one, replace(one, trial="t2", event_time=one.event_time + np.timedelta64(1, "h"))])

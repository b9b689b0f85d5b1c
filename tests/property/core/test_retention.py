"""Nothing that anything refers to may go, whatever there is; everything else goes in the end."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.retention import (
    Keeping,
    Predicted,
    Served,
    digests_in,
    kept_versions,
    may_go,
    members_in,
    unreferred,
)

NOW = datetime(2026, 1, 15, tzinfo=UTC)
moments = st.integers(0, 60).map(lambda days: NOW - timedelta(days=days))
keepings = st.builds(
    Keeping, unreferred=st.integers(1, 40).map(lambda days: timedelta(days=days)), versions=st.integers(0, 3)
)
names, trials = st.sampled_from("ab"), st.sampled_from("xyz")
predictions = st.lists(
    st.builds(Predicted, names, trials, st.booleans(), moments, st.booleans()),
    unique_by=lambda each: (each.experiment, each.trial),
)
versions = st.lists(
    st.builds(
        lambda ensemble, version, state, ended: Served(
            ensemble, version, state == "wanted", state == "served", None if state == "wanted" else ended
        ),
        names,
        st.integers(1, 9),
        st.sampled_from(["wanted", "served", "failed"]),
        moments,
    ),
    unique_by=lambda each: (each.ensemble, each.version),
)
digests = st.integers(0, 8).map("{:064x}".format)
others = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
documents = st.recursive(
    others | digests,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
manifests = st.lists(documents.map(lambda document: {"any": document}), max_size=4)


@given(predictions, st.sets(st.tuples(names, trials)), keepings)
def test_predictions_go_exactly_where_nothing_refers_to_them(
    rows: list[Predicted], members: set[tuple[str, str]], keeping: Keeping
) -> None:
    gone = may_go(rows, members, keeping, NOW)
    for each in rows:
        resumable, answers = not each.judged, each.known
        deployed = (each.experiment, each.trial) in members
        young = NOW - each.changed_at < keeping.unreferred
        assert (each not in gone) == (resumable or answers or deployed or young)


@given(versions, keepings)
def test_a_version_that_serves_or_waits_to_is_kept_and_those_before_it_that_may_serve_again(
    rows: list[Served], keeping: Keeping
) -> None:
    kept = kept_versions(rows, keeping, NOW)
    for each in rows:
        newer = sum(other.served and other.ensemble == each.ensemble and other.version > each.version for other in rows)
        young = each.ended_at is None or NOW - each.ended_at < keeping.unreferred
        back = each.served and newer < keeping.versions
        assert ((each.ensemble, each.version) in kept) == (each.wanted or young or back)


@given(versions, keepings, st.integers(0, 50))
def test_a_version_that_is_not_kept_is_not_kept_later(rows: list[Served], keeping: Keeping, days: int) -> None:
    assert kept_versions(rows, keeping, NOW + timedelta(days=days)) <= kept_versions(rows, keeping, NOW)


@given(st.dictionaries(digests, moments), manifests, keepings)
def test_artifacts_go_exactly_where_no_manifest_names_them(
    noted: dict[str, datetime], documents: list[dict[str, Any]], keeping: Keeping
) -> None:
    gone = unreferred(noted, documents, keeping, NOW)
    said = repr(documents)
    for digest, at in noted.items():
        assert (digest not in gone) == (f"'{digest}'" in said or NOW - at < keeping.unreferred)
    assert {*gone} <= {*noted}


@given(documents, digests)
def test_a_digest_is_found_wherever_it_stands(document: Any, digest: str) -> None:
    assert digest in digests_in([{"deep": (document, {"deeper": [digest]})}])
    assert digests_in(document) <= {f"{number:064x}" for number in range(9)}


def test_members_are_those_of_the_experiment_that_found_them() -> None:
    manifest = {"experiment": "search", "members": [{"trial": "t1"}, {"trial": "t2"}]}
    assert members_in([manifest]) == {("search", "t1"), ("search", "t2")}

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from schemas.base import LARGEST_INTEGER, Scalar
from serving.artifacts import Artifacts
from serving.assemble import EnsembleAssembler
from serving.manifest import EnsembleManifest, Member, read_manifest
from tests.unit.serving.drafts import candidate, draft

SURVIVOR = candidate("t1")
SCALARS = (
    st.booleans()
    | st.integers(-LARGEST_INTEGER, LARGEST_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
)


def manifest(configuration: dict[str, Scalar], metric: float = 1.0) -> EnsembleManifest:
    with TemporaryDirectory() as directory:
        artifacts = Artifacts(Path(directory))
        survivor = replace(SURVIVOR, configuration=configuration, metric=metric)
        return read_manifest(artifacts.get(EnsembleAssembler(artifacts).assemble(draft(survivor)).digest))


MANIFEST = manifest({"alpha": 0.01})


@given(st.dictionaries(st.text(max_size=10), SCALARS, max_size=5), st.floats(allow_nan=False, allow_infinity=False))
def test_a_manifest_survives_its_own_json_to_the_last_bit(configuration: dict[str, Scalar], metric: float) -> None:
    fields = dict(MANIFEST.members[0]) | {"configuration": configuration, "metric": metric}
    member = Member.model_validate(fields)
    written = MANIFEST.model_copy(update={"members": (member,)})
    assert read_manifest(written.content()).content() == written.content()


@given(st.randoms())
def test_the_digest_is_of_the_content_whatever_the_order_of_its_keys(random: Random) -> None:
    document = MANIFEST.document()
    keys = list(document)
    random.shuffle(keys)
    shuffled = read_manifest(json.dumps({key: document[key] for key in keys}, indent=2).encode())
    assert shuffled.digest == MANIFEST.digest == hashlib.sha256(MANIFEST.content()).hexdigest()


def test_whoever_assembles_whenever_gets_the_same_digest() -> None:
    assert manifest({"alpha": 0.01}).digest == MANIFEST.digest
    assert manifest({"alpha": 0.02}).digest != MANIFEST.digest

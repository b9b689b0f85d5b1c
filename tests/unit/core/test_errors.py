import pickle

from orchestrator.core.errors import Refused
from schemas.base import Reason

REASONS = (
    Reason(code="unknown_ticker", where="tickers/XYZ", message="there are no features"),
    Reason(code="expired", message="too late"),
)


def test_a_refusal_says_every_reason_with_its_place_and_code() -> None:
    assert str(Refused(REASONS)) == "tickers/XYZ: there are no features [unknown_ticker]; too late [expired]"


def test_a_refusal_and_its_subclasses_survive_pickling() -> None:
    for error in (Refused(REASONS), Refused(iter(REASONS))):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is Refused
        assert again.reasons == REASONS

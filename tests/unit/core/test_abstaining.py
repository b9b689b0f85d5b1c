from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.core.abstaining import too_old

TRAINED = datetime(2024, 1, 1, 21, tzinfo=UTC)
DAY = timedelta(days=1)
MOMENT = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("age", "most", "abstains"),
    [
        (30 * DAY, 30 * DAY, False),
        (30 * DAY + MOMENT, 30 * DAY, True),
        (9999 * DAY, None, False),
        (-DAY, 30 * DAY, False),
        (DAY, DAY / 2, True),
    ],
)
def test_an_ensemble_abstains_once_its_training_is_too_long_ago(
    age: timedelta, most: timedelta | None, abstains: bool
) -> None:
    found = too_old(TRAINED, TRAINED + age, most)
    assert (found is not None) is abstains
    assert found is None or found.code == "model_too_old"


def test_it_says_how_old_it_is_and_what_is_allowed() -> None:
    found = too_old(TRAINED, TRAINED + 1.5 * DAY, DAY / 2)
    assert found is not None
    assert found.message.startswith("Its training ended 1.5 days before this bar, and 0.5 are allowed")

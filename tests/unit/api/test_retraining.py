"""What the dashboard works out of retraining before it is drawn."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from nicegui import Client
from nicegui.page import page

from orchestrator.api.pages import charts
from orchestrator.api.pages.chapters import chapters, common
from orchestrator.api.pages.policy import CALENDAR, RULES, SECTIONS, Form
from orchestrator.api.pages.retraining import says
from orchestrator.api.retraining import ReadingView, Retraining, TriggerView, nearness
from orchestrator.core.lifecycle import State
from orchestrator.core.versions import VersionState
from orchestrator.store.database import Database
from orchestrator.store.tables import RequestOutcome
from schemas.base import Reason
from schemas.ensembles import EnsembleDeployed, EnsembleDeploying
from schemas.envelope import decode
from schemas.policies import Policy
from schemas.retraining import ChallengerRetired, DetectorReading
from tests.contracts.store.conftest import sqlite
from tests.contracts.store.makers import NOW, digest, later
from tests.support.faces import faces
from tests.support.market import CAUSE, ENSEMBLE, POLICY, fill


def reading(detector: Any, figure: float | None, threshold: float, **fields: Any) -> DetectorReading:
    return DetectorReading(detector=detector, figure=figure, threshold=threshold, **fields)


@pytest.mark.parametrize(
    ("found", "near", "words"),
    [
        (reading("drift", 0.1, 0.4, streak=1), 0.25, "0.10 of 0.40, 1 in a row"),
        (reading("drift", 0.8, 0.4, streak=2), 1.0, "0.80 of 0.40, 2 in a row"),
        (reading("age", 45.0, 90.0), 0.5, "45 of 90 days"),
        (reading("outliers", 0.05, 0.2), 0.25, "5.0 % of 20.0 %"),
        (reading("performance", 1.0, -1.0), 0.0, "Sharpe 1.00, fires below −1.00"),  # noqa: RUF001
        (reading("performance", 0.0, -1.0), 0.5, "Sharpe 0.00, fires below −1.00"),  # noqa: RUF001
        (reading("performance", -2.0, -1.0), 1.0, "Sharpe −2.00, fires below −1.00"),  # noqa: RUF001
        (reading("performance", 3.0, -1.0), 0.0, "Sharpe 3.00, fires below −1.00"),  # noqa: RUF001
        (reading("schedule", 42.0, 0.0), 0.75, "in 1 d 18 h"),
        (reading("schedule", -1.0, 0.0), 1.0, "due"),
        (reading("drift", None, 0.4), None, "not enough to tell yet"),
    ],
)
def test_a_reading_is_as_near_as_its_figure_is_to_what_it_fires_at(
    found: DetectorReading, near: float | None, words: str
) -> None:
    assert nearness(found, expected=1.0) == (near if near is None else pytest.approx(near))
    assert says(ReadingView(reading=found, fires=words == "due", nearness=near)) == words


def test_the_form_has_every_field_of_a_policy() -> None:
    paths = {path for section in SECTIONS.values() for path in section.split()} | {*CALENDAR.split()}
    paths |= {path for _, listed in RULES.values() for path in listed.split()}
    listed = {"quiet"}
    parts: dict[str, Any] = {
        name: next(
            (
                each.model_fields
                for each in (info.annotation, *get_args(info.annotation))
                if hasattr(each, "model_fields")
            ),
            {},
        )
        for name, info in Policy.model_fields.items()
    }
    every = {
        f"{name}/{part}" if part else name
        for name, found in parts.items()
        for part in (found if name not in listed and found else [""])
    }
    assert paths == every


async def test_a_policy_that_is_shown_in_the_form_is_the_same_when_it_is_saved(tmp_path: Path) -> None:
    database = Database.open(sqlite(tmp_path))
    await database.upgrade()
    await fill(database)
    whole = decode(
        Policy,
        json.dumps(
            {
                "schedule": "0 9 * * 1",
                "performance": {"sessions": 30},
                "drift": {"windows": 3, "features": ["rsi_14", "macd_line"]},
                "quiet": [{"start": "09:00", "end": "16:30"}, {"start": "22:00", "end": "06:00"}],
                "search": {"strategy": "random", "num_samples": 40},
                "promotion": {"auto": False, "confidence": 0.99},
            }
        ).encode(),
    )
    with Client(page("/"), request=None):
        for standing in (whole, POLICY, Policy()):
            form = Form(faces(database), ENSEMBLE, standing)
            await form.build()
            assert await form._judge() == standing
        form._entries["quiet"].shown.value = "nine to five"  # type: ignore[union-attr]
        form._entries["cooldown_hours"].shown.value = -1  # type: ignore[union-attr]
        assert await form._judge() is None
        assert {path for path, each in form._entries.items() if each.shown and each.shown.error} == {
            "quiet",
            "cooldown_hours",
        }
        assert not form._save.enabled
    await database.close()


def test_chapters_tell_what_was_triggered_and_what_came_of_it_newest_first() -> None:
    trigger = TriggerView(
        request_id="retrain.bot.1",
        version=1,
        kind="drift",
        cause=CAUSE,
        joined=({}, {}),
        trials=4,
        fired_at=NOW,
        outcome=RequestOutcome.ACCEPTED,
        experiment="again",
        state=State.DEPLOYED,
        reasons=(),
        became=2,
        became_state=VersionState.SUPERSEDED,
    )
    found = Retraining(
        ensemble="bot",
        serving_version=1,
        policy=None,
        readings=(),
        held_back=(),
        trials_today=4,
        triggers=(trigger,),
        challenger=None,
    )
    heading: dict[str, Any] = {"ensemble": "bot", "sequence": 1, "version": 2, "serving_version": 1}
    retired = ChallengerRetired(
        **heading, emitted_at=later(60), reasons=(Reason(code="worse", message="it earned less"),)
    )
    deploying = EnsembleDeploying(**heading, emitted_at=later(5), experiment="again")
    deployed = EnsembleDeployed(
        **heading,
        emitted_at=NOW - timedelta(days=1),
        experiment=None,
        tickers=("AAPL",),
        timeframe="1d",
        mode="live",
        members=3,
        manifest_digest=digest(1),
    )
    told = chapters(found, [deployed, deploying, retired])
    assert [each.title for each in told] == ["retired", "triggered", "serves"]
    assert told[0].text == "version 2 answers no more: it earned less"
    assert "2 times since, joined" in told[1].text
    assert "It became version 2, superseded" in told[1].text
    assert told[1].link == "/experiments/again"


def test_two_books_are_compared_in_the_sessions_that_both_have_after_the_first() -> None:
    days = [NOW + timedelta(days=day) for day in range(4)]
    champion, challenger = common([(days, [1.0, 2.0, 3.0, 4.0]), (days[1:], [20.0, 30.0, 40.0])])
    assert (champion, challenger) == ([3.0, 4.0], [30.0, 40.0])
    options = charts.trial_of_strength({"champion": [0.01, -0.02], "challenger": [0.0, 0.01]}, 5)
    assert [value for _, value in options["series"][0]["data"]] == [0.0, 1.0, -1.0]
    assert options["xAxis"]["max"] == 5
    assert list(common([])) == []

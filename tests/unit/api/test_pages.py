"""What the dashboard works out before it is drawn."""

import json
from pathlib import Path
from typing import cast
from unittest.mock import Mock

import numpy as np
import pytest
from nicegui import Client
from nicegui.page import page
from starlette.requests import Request

from orchestrator.algorithms.base import registered
from orchestrator.api.pages import charts, weighing
from orchestrator.api.pages.asking import Answer, told
from orchestrator.api.pages.fields import document, fields, owner, scalars, written
from orchestrator.api.pages.look import figure, percent, span
from orchestrator.api.pages.new_search import AMOUNTS, SECTIONS, Form
from orchestrator.api.pages.predicting import read
from orchestrator.api.pages.shell import frame
from orchestrator.api.views import Dot
from orchestrator.core.admission import STRATEGY_FIELDS
from orchestrator.store.errors import DatabaseAway
from orchestrator.store.looking import births
from orchestrator.store.tables import TrialStatus
from schemas.base import Reason
from schemas.ensembles import EnsembleDeployed
from schemas.envelope import decode
from schemas.retraining import ChallengerShadowing
from schemas.search import SearchRequest
from tests.contracts.store.makers import NOW, digest
from tests.support.faces import FakeKafka, faces


def dots(count: int) -> list[Dot]:
    """Trials whose score hangs on `alpha` alone."""
    rng = np.random.default_rng(1)
    drawn = rng.random((count, 2))
    return [
        Dot(
            trial=f"t{number:05d}",
            parent=None,
            tickers=("AAPL",),
            status=TrialStatus.COMPLETED,
            eligible=True,
            configuration={"alpha": float(alpha), "l1_ratio": float(other)},
            metric=-abs(float(alpha) - 0.3),
        )
        for number, (alpha, other) in enumerate(drawn)
    ]


def test_the_form_has_every_field_of_a_request_but_those_that_it_fills_in_itself() -> None:
    paths = {path for section in SECTIONS.values() for path in section.split()} | {*AMOUNTS}
    shown = {path.split("/")[0] for path in paths} | {"strategy", "algorithm", "tickers", "timeframe"}
    itself = {"schema_version", "request_id", "requested_by", "cause", "resume", "param_grid", "space"}
    assert shown | itself == set(SearchRequest.model_fields)
    assert frozenset().union(*STRATEGY_FIELDS.values()) <= {*AMOUNTS, "param_grid", "space"}


def test_fields_are_as_the_schema_has_them() -> None:
    mode, top, end, gate = fields(SearchRequest, ("deploy/mode", "deploy/top_n", "data_end", "deploy/gate"))
    assert (mode.kind, mode.default, mode.choices) == ("choice", "live", ("live", "replay", "shadow", "paper"))
    assert (top.kind, top.default, top.least, top.most) == ("whole", 5, 1, 100)
    assert (end.kind, gate.kind, gate.default) == ("instant", "flag", True)
    assert "GATE_OVERRIDE" in gate.about


def test_what_is_entered_is_a_request() -> None:
    entered = {"strategy": "grid", "algorithm": "elasticnet", "tickers": ["AAPL"], "deploy/top_n": 3, "seed": None}
    found = document({**entered, "request_id": "r", "param_grid/alpha": scalars("0.1, 1, true, x")})
    request = decode(SearchRequest, json.dumps(found).encode())
    assert (request.deploy.top_n, request.seed) == (3, 42)
    assert request.param_grid == {"alpha": (0.1, 1, True, "x")}


@pytest.mark.parametrize("name", sorted(registered()))
def test_values_are_read_as_they_are_written(name: str) -> None:
    for values in registered()[name].default_grid.values():
        assert scalars(written(values)) == [*values]


def test_a_reason_belongs_to_the_innermost_field_that_leads_to_its_place() -> None:
    paths = ("tickers", "deploy/top_n", "param_grid/alpha")
    for where, path in (("tickers/NOPE", "tickers"), ("/param_grid/alpha/0", "param_grid/alpha"), ("deploy", None)):
        assert owner(Reason(code="x", where=where, message="x"), paths) == path


def test_a_command_has_come_to_its_end_by_its_own_event_only() -> None:
    event = EnsembleDeployed(
        ensemble="bot",
        sequence=1,
        version=2,
        serving_version=2,
        emitted_at=NOW,
        command_id="mine",
        experiment=None,
        tickers=("AAPL",),
        timeframe="1d",
        mode="live",
        members=1,
        manifest_digest=digest(1),
    )
    assert told(event, "mine") == Answer("version 2 of bot serves", good=True)
    assert told(event, "another") is None
    shared = event.model_dump(exclude={"event", "mode", "serving_version"})
    shadowing = ChallengerShadowing(**shared, serving_version=1)
    assert told(shadowing, "mine") == Answer("version 2 of bot is on trial beside version 1", good=True)
    assert told(shadowing, "another") is None


def test_what_decides_is_found_and_too_few_trials_say_nothing() -> None:
    found = weighing.shares(dots(200), higher_is_better=True)
    assert found is not None
    assert found["alpha"] > 0.8
    assert sum(found.values()) == pytest.approx(1.0)
    assert weighing.shares(dots(weighing.LEAST_TRIALS - 1), higher_is_better=True) is None


def test_clones_are_born_a_quarter_of_the_founders_at_a_time() -> None:
    founders = [(f"t{number:02d}", None, ("AAPL",)) for number in range(8)]
    clones = [(f"t{number:02d}", "t01", ("AAPL",)) for number in range(8, 12)]
    other = [("u00", None, ("IBM",)), ("u01", "u00", ("IBM",)), ("u02", "u01", ("IBM",))]
    born = births([*founders, *clones, *other])
    assert [born[f"t{number:02d}"] for number in range(6, 12)] == [1, 1, 2, 2, 3, 3]
    assert [born[name] for name in ("u00", "u01", "u02")] == [1, 2, 3]


async def test_a_name_out_of_an_address_is_text_and_never_a_property() -> None:
    """A browser would evaluate a property whose name begins with a colon."""
    request = Request({"type": "http", "method": "GET", "path": "/", "headers": []})
    name = 'x" :title="alert(1)" innerHTML="<b>'
    with (
        Client(page("/"), request=request) as client,
        frame(faces(Mock(), Path()), name, "Ensembles", f"ensemble:{name}"),
    ):
        pass
    labels = [each.props.get("aria-label", "") for each in client.elements.values()]
    assert f"Halt ensemble {name.replace(':', ' ')}" in labels
    assert not [prop for each in client.elements.values() for prop in each.props if prop in (":title", "innerHTML")]


async def test_a_search_that_was_sent_is_told_as_sent_though_the_database_is_away() -> None:
    away = Mock()
    away.snapshot.side_effect = DatabaseAway("here", "connection refused")
    given = faces(away)
    with Client(page("/"), request=None):
        form = Form(given, ["1d"])
        await form.build()
        form._tickers.value = ["AAPL"]
        await form._send()
    assert len(cast(FakeKafka, given.kafka).searches) == 1
    assert str(form._amount._text).startswith("Sent as dashboard-")
    assert form._start.enabled


def test_a_prediction_that_ray_serve_refuses_in_its_own_words_is_told() -> None:
    assert read(b'{"title": "Not Found", "detail": "x"}') == {"title": "Not Found", "detail": "x"}
    assert read(b"Internal Server Error") == {"title": "no answer", "detail": "Internal Server Error"}
    assert read(b"[]")["detail"] == "[]"


def test_an_equity_curve_begins_at_nothing_and_its_drawdown_is_never_above_it() -> None:
    profit, fall = (series["data"] for series in charts.equity([0.01, -0.03, 0.01])["series"])
    assert [value for _, value in profit] == [0.0, 1.0, -2.0, -1.0]
    assert [value for _, value in fall] == [0.0, 0.0, -3.0, -2.0]


def test_no_more_lines_are_drawn_than_can_be_seen_and_the_best_are_among_them() -> None:
    many = dots(3 * charts.MOST_LINES)
    options, drawn = charts.parallel(many, "sharpe ratio", higher_is_better=True)
    lines = options["series"][0]["data"]
    assert len(lines) == drawn == charts.MOST_LINES
    assert max(line[-1] for line in lines) == max(each.metric or 0.0 for each in many)


@pytest.mark.parametrize(
    ("written_so", "expected"),
    [
        (figure(-1234.5, 1), "−1,234.5"),  # noqa: RUF001
        (figure(None), "–"),  # noqa: RUF001
        (figure(float("nan")), "–"),  # noqa: RUF001
        (percent(0.954), "95.4 %"),
        (span(9.96), "10.0 s"),
        (span(60.0), "1 min"),
        (span(3725.0), "1 h 2 min"),
    ],
)
def test_figures_are_written_for_people(written_so: str, expected: str) -> None:
    assert written_so == expected

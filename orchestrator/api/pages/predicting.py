"""Of an ensemble's page: trying a prediction."""

import json
from typing import Any

from nicegui import ui

from orchestrator.api.pages.look import HELD, MARKS, NONE, TONES, figure, percent
from orchestrator.api.pages.parts import Text, button, empty, fact, facts, pill, sentence
from orchestrator.api.ports import Faces, Unreachable
from orchestrator.api.views import EnsembleDetail
from orchestrator.store import ensembles
from schemas.base import JsonObject


async def prediction(faces: Faces, found: EnsembleDetail) -> None:
    """A form of the members' features, and what the ensemble says to them."""
    if found.serving_version is None:
        empty("No version serves, so there is nothing to ask. Deploy survivors, or serve a version again.")
        return
    async with faces.database.snapshot() as tx:
        serving = ensembles.serving_of(await ensembles.versions(tx, found.name))
    if serving is None:
        return
    manifest = serving.manifest
    ticker = ui.select(sorted(serving.tickers), value=min(serving.tickers), label="Ticker").props("outlined dense")
    ticker.style("max-width: 220px")
    sentence("Filled in: a bar that the members were checked with when they were deployed.")
    fields = ui.element("div").classes("fields").style("margin: 10px 0")
    inputs: dict[str, ui.number] = {}

    def fill() -> None:
        bar = _bar(manifest, ticker.value)
        fields.clear()
        inputs.clear()
        with fields:
            for name in _features(manifest, ticker.value):
                inputs[name] = ui.number(name, value=bar.get(name), format="%.6g").props("outlined dense step=any")

    async def ask() -> None:
        features = {name: each.value for name, each in inputs.items() if each.value is not None}
        body = json.dumps({"ticker": ticker.value, "features": features}).encode()
        try:
            status, said = await faces.serve.predict(found.name, body)
        except Unreachable as trouble:
            status, said = 503, str(trouble).encode()
        answer.clear()
        with answer:
            _show(status, read(said))

    fill()
    ticker.on_value_change(fill)
    button("Predict", ask, icon="bolt", tone="act")
    answer = ui.element("div").style("width: 100%; margin-top: 12px").props('role="status"')


def read(said: bytes) -> JsonObject:
    """An answer as JSON; what Ray Serve says in its own words, where the replica is not there, as its detail."""
    try:
        found = json.loads(said)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"title": "no answer", "detail": said[:200].decode(errors="replace")}


def _features(manifest: JsonObject, ticker: str) -> list[str]:
    return sorted({name for each in manifest["members"] if ticker in each["records"] for name in each["feature_names"]})


def _bar(manifest: JsonObject, ticker: str) -> dict[str, Any]:
    """A bar to begin with: one that the members were checked with."""
    bar: dict[str, Any] = {}
    for each in manifest["members"]:
        if ticker in each["records"] and each["probe"]["features"]:
            bar |= dict(zip(each["feature_names"], each["probe"]["features"][-1], strict=True))
    return bar


def _show(status: int, said: JsonObject) -> None:
    if status != 200:
        Text("div", f"{said.get('title', status)}: {said.get('detail', '')}").classes("bad wrap")
        for each in said.get("reasons", ()):
            Text("div", each["message"]).classes("bad wrap")
        return
    with ui.element("div").classes("head"):
        pill(MARKS[said["signal"]], TONES[said["signal"]]).style("font-size: 15px; padding: 4px 14px")
        Text(
            "span", f"version {said['version']}, {said['num_models']} members, {said['voting_method']} voting"
        ).classes("quiet")
    with facts():
        fact("Confidence", percent(said["confidence"]))
        fact("Score", figure(said["score"], 3))
        fact("Hold", HELD.get(said["target_position"], NONE))
        fact("Chance to be right", percent(said["p_correct"]))
        fact("Edge, bps", figure(said["edge_bps"], 1))
        for vote in said["votes"]:
            fact(vote["member"], f"{MARKS[vote['vote']]} {figure(vote['strength'])}", TONES[vote["vote"]])
    for each in said["reasons"]:
        sentence(each["message"])
    sentence("For one who holds nothing; no signal is published.")

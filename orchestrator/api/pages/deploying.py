"""Asking for a version: of an experiment's survivors, or with one registered model more."""

import re

from nicegui import ui

from orchestrator.api.pages.asking import command, identity
from orchestrator.api.pages.parts import answers, button, dialog, sentence
from orchestrator.api.ports import Faces
from orchestrator.store import models
from schemas.base import Name, pattern_of
from schemas.commands import AddMember, DeployEnsemble

MODES = {"live": "live: on signals", "paper": "paper: on signals.paper", "shadow": "shadow: on signals.shadow"}
VOTING = {"": "as the service is set", "soft": "soft", "hard": "hard"}


def ask_deploy(faces: Faces, experiment: str, ensemble: str = "") -> None:
    """Ask how an experiment's survivors are to be deployed, and follow that."""
    with dialog("Deploy survivors") as asked:
        sentence(f"The best trials of {experiment}, refitted, become the next version of an ensemble.").classes("wrap")
        named = re.compile(pattern_of(Name))
        name = ui.input(
            "Ensemble",
            value=ensemble,
            validation={"Letters, digits, _ and -, at most 64": lambda text: bool(named.match(text))},
        )
        name.props("outlined dense autofocus").without_auto_validation()
        top = ui.number("Members per ticker at most", value=5, min=1, max=100, precision=0).props("outlined dense")
        voting = ui.select(VOTING, value="", label="Voting").props("outlined dense")
        mode = ui.select(MODES, value="live", label="Heard").props("outlined dense")
        gate = ui.checkbox("Only if the gate lets it through", value=True).props("dense")

        async def send() -> None:
            if not name.validate() or not top.value:
                return
            asked.close()
            wanted = DeployEnsemble(
                **identity(faces),
                ensemble=name.value,
                experiment=experiment,
                top_n=int(top.value),
                voting=voting.value or None,
                mode=mode.value,
                gate=gate.value,
            )
            if await command(faces, wanted, f"Deploy {experiment} as {name.value}"):
                ui.navigate.to(f"/ensembles/{name.value}")

        answers(asked, "Deploy", send)


async def ask_member(faces: Faces, ensemble: str) -> None:
    """Ask which registered model is to vote as well, and follow that."""
    async with faces.database.snapshot() as tx:
        known = await models.every(tx)
    with dialog(f"Add a member to {ensemble}") as asked:
        if not known:
            sentence("No model is registered. Register one first: orchestrator models register FILE …")
            button("Close", asked.close)
            return
        model = ui.select(
            {each.digest: f"{each.name} · {each.algorithm}" for each in known}, value=known[0].digest, label="Model"
        )
        model.props("outlined dense")
        ticker = ui.select({"": "every one that it was registered for"}, value="", label="Ticker").props(
            "outlined dense"
        )

        def offer() -> None:
            of_it = next(each for each in known if each.digest == model.value)
            ticker.set_options(
                {"": "every one that it was registered for", **{each: each for each in of_it.tickers}}, value=""
            )

        async def send() -> None:
            asked.close()
            wanted = AddMember(**identity(faces), ensemble=ensemble, model=model.value, ticker=ticker.value or None)
            await command(faces, wanted, f"Add a member to {ensemble}")

        offer()
        model.on_value_change(offer)
        answers(asked, "Add", send)

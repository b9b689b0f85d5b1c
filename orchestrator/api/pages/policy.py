"""The page of an ensemble's policy: a form with every field, judged as it is filled in."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from nicegui import ui

from orchestrator.api import retraining
from orchestrator.api.pages.asking import command, identity
from orchestrator.api.pages.entering import Entry, entry, words_entry
from orchestrator.api.pages.fields import Field, document, fields, owner
from orchestrator.api.pages.parts import Text, button, confirm, empty, heading, sentence
from orchestrator.api.pages.shell import frame
from orchestrator.api.ports import Faces
from orchestrator.api.reading import NotFound, Reading
from orchestrator.core.errors import Refused
from orchestrator.store.errors import DatabaseAway
from schemas.base import JsonObject, Reason
from schemas.commands import RemovePolicy, SetPolicy
from schemas.envelope import Undecodable, decode
from schemas.policies import DriftRule, PerformanceRule, Policy

RULES = {
    "performance": ("It earns less than it should", "performance/sessions performance/confidence"),
    "drift": ("Its features drift", "drift/windows drift/features"),
    "outliers": ("Ticks lie outside the range of training", "outliers/share"),
}
"""Those that are there or not, each with its fields."""
SECTIONS = {
    "When nothing may be triggered": "cooldown_hours trials_per_day quiet",
    "What is searched": "search/neighbourhood search/strategy search/num_samples search/population_size "
    "search/num_generations search/holdout",
    "When a challenger becomes the champion": "promotion/sessions promotion/looks promotion/confidence "
    "promotion/canary promotion/canary_sessions promotion/auto promotion/demote",
}
CALENDAR = "schedule max_age_days"
WORDS = {"drift/features", "promotion/canary"}
HINTS = {"drift/features": "all", "promotion/canary": "none", "quiet": "09:00-16:30", "schedule": "30 18 * * 5"}
SUGGESTED = Policy(performance=PerformanceRule(), drift=DriftRule())
"""What a new policy begins with."""
SETTLE_SECONDS = 0.3


def add(faces: Faces, reading: Reading) -> None:
    """Add the page."""

    @ui.page("/ensembles/{name}/policy", response_timeout=30)
    async def policy(name: str) -> None:
        with frame(faces, f"Policy of {name}", "Ensembles", scope=f"ensemble:{name}"):
            try:
                standing: Policy | None = (await retraining.policy_of(faces, name)).policy
            except NotFound as unknown:
                if unknown.what == "ensemble":
                    empty(f"There is no ensemble {name}.", "All ensembles", "/ensembles")
                    return
                standing = None
            await Form(faces, name, standing).build()


class Form:
    """The form, on the page that is being built.

    Args:
        faces: who judges, and where the command goes.
        ensemble: whose policy it is.
        standing: the one that it has; None: it has none yet.
    """

    def __init__(self, faces: Faces, ensemble: str, standing: Policy | None) -> None:
        self._faces = faces
        self._ensemble = ensemble
        self._standing = standing
        begun = SUGGESTED if standing is None else standing
        self._values: JsonObject = begun.model_dump(mode="json", exclude_none=True)
        self._entries: dict[str, Entry] = {}
        self._rules: dict[str, ui.switch] = {}
        self._changes = 0

    async def build(self) -> None:
        """Put everything on the page."""
        with ui.element("div").classes("head"):
            heading(f"Policy of {self._ensemble}", 1).classes("grow")
            ui.link("Back to the ensemble", f"/ensembles/{self._ensemble}")
        sentence(
            "A rule that fires asks for one search on newer bars. What comes of it is on trial in shadow beside the "
            "version that serves, and takes its place where it earns more by more than chance."
        )
        with ui.element("section").classes("panel"):
            heading("By the calendar")
            self._group(CALENDAR)
        for name, (title, paths) in RULES.items():
            with ui.element("section").classes("panel"):
                rule = ui.switch(title, value=name in self._values, on_change=self._change).props("dense")
                self._rules[name] = rule
                with ui.element("div").style("width: 100%") as box:
                    self._group(paths)
                box.bind_visibility_from(rule, "value")
        for title, paths in SECTIONS.items():
            with ui.element("section").classes("panel"):
                heading(title)
                self._group(paths)
        with ui.element("div").classes("panel summary"), ui.element("div").classes("head"):
            with ui.element("div").classes("grow").props('role="status" aria-live="polite"'):
                self._says = Text("div", "")
                self._says.style("font-weight: 600")
                self._faults = ui.element("ul").classes("faults small")
            if self._standing is not None:
                button("Remove policy", self._ask_remove, icon="delete", tone="danger")
            self._save = button("Save policy", self._send, icon="check", tone="act")
        await self._judge()

    def _group(self, paths: str) -> None:
        with ui.element("div").classes("fields"):
            for field in fields(Policy, paths.split()):
                self._entries[field.path] = self._entry(field, _at(self._values, field.path))

    def _entry(self, field: Field, value: Any) -> Entry:
        hint = HINTS.get(field.path, "")
        if field.path == "quiet":
            written = [f"{each['start']}-{each['end']}" for each in value or ()]
            entered = words_entry(field, self._change, written, hint)
            return Entry(lambda: _hours(entered.read()), entered.shown)
        if field.path in WORDS:
            return words_entry(field, self._change, value or (), hint)
        return entry(field, self._change, value, silent="as the champion's")

    def _document(self) -> JsonObject:
        """The policy as it is entered; a rule that is off is left out, one without a field of its own is empty."""
        off = {name for name, rule in self._rules.items() if not rule.value}
        entered = {path: each.read() for path, each in self._entries.items() if path.split("/")[0] not in off}
        return {name: {} for name in self._rules if name not in off} | document(entered)

    async def _change(self) -> None:
        """Judge once nothing has changed for a moment."""
        self._changes += 1
        mine = self._changes
        await asyncio.sleep(SETTLE_SECONDS)
        if mine == self._changes:
            await self._judge()

    async def _judge(self) -> Policy | None:
        """Say what is wrong with the policy, beside its fields; None: something is."""
        try:
            found: Policy = decode(Policy, json.dumps(self._document()).encode())
            await retraining.judge_policy(self._faces, self._ensemble, found)
        except (Undecodable, Refused) as refused:
            self._tell("This cannot be saved yet", refused.reasons)
            return None
        except DatabaseAway as trouble:
            self._tell(str(trouble), ())
            return None
        self._tell(_told(found), ())
        return found

    def _tell(self, says: str, reasons: tuple[Reason, ...]) -> None:
        """Show what it amounts to, and each reason beside its field, or below where it is of none."""
        self._says._text = says
        self._says.update()
        self._save.set_enabled(not reasons)
        paths = [path for path, each in self._entries.items() if each.tells]
        errors: dict[str, list[str]] = {}
        elsewhere: list[str] = []
        for each in reasons:
            path = owner(each, paths)
            if path is None:
                elsewhere.append(str(each))
            else:
                errors.setdefault(path, []).append(each.message)
        for path, shown in self._entries.items():
            shown.complain("; ".join(errors[path]) if path in errors else None)
        self._faults.clear()
        with self._faults:
            for text in elsewhere:
                Text("li", text)

    async def _send(self) -> None:
        found = await self._judge()
        if found is None:
            return
        wanted = SetPolicy(**identity(self._faces), ensemble=self._ensemble, policy=found)
        if await command(self._faces, wanted, f"Policy of {self._ensemble}"):
            ui.navigate.to(f"/ensembles/{self._ensemble}")

    def _ask_remove(self) -> None:
        async def remove() -> None:
            wanted = RemovePolicy(**identity(self._faces), ensemble=self._ensemble)
            if await command(self._faces, wanted, f"Remove the policy of {self._ensemble}"):
                ui.navigate.to(f"/ensembles/{self._ensemble}")

        ends = "Nothing trains it anew by itself then. A challenger stays until it is promoted or retired."
        confirm(f"Remove the policy of {self._ensemble}?", ends, "Remove", remove)


def _told(policy: Policy) -> str:
    """What would have it trained anew, in a sentence."""
    rules = {
        "schedule": policy.schedule,
        "age": policy.max_age_days,
        "performance": policy.performance,
        "drift": policy.drift,
        "outliers": policy.outliers,
    }
    found = [name for name, rule in rules.items() if rule is not None]
    return f"Trained anew by {', '.join(found)}" if found else "Trained anew only when somebody asks"


def _hours(spans: list[str] | None) -> list[JsonObject] | None:
    """Spans of the day such as 09:00-16:30; what is none is left for the judge to complain of."""
    if spans is None:
        return None
    return [dict(zip(("start", "end"), map(str.strip, each.partition("-")[::2]), strict=True)) for each in spans]


def _at(values: Mapping[str, Any], path: str) -> Any:
    """The value at a path; None: there is none."""
    here: Any = values
    for name in path.split("/"):
        here = here.get(name) if isinstance(here, Mapping) else None
    return here

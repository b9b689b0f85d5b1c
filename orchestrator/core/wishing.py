"""Ensembles of a search that is over: whether one can be asked for."""

from orchestrator.core.lifecycle import RESUMABLE, State
from schemas.base import Reason


def refusal(name: str, state: State, *, judged: bool) -> Reason | None:
    """Why no ensemble can be made of an experiment's trials now; None: it can.

    Args:
        name: of the experiment.
        state: where it stands.
        judged: the gate has spoken: its search is over, whatever became of its own ensemble.
    """
    if judged:
        return None
    if state in RESUMABLE:
        message = f"the search of {name} is {state}: resume it, and deploy when it has ended"
    else:
        message = f"{name} is {state}: deploy when its search has ended, or ask for the same work with a deploy clause"
    return Reason(code="not_searched", where="/experiment", message=message)

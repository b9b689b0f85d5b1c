"""What is told of experiments on Kafka: events of one search request's life, topic by topic."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.base import Message, Reason
from schemas.ensembles import EnsembleDeployed, EnsembleDeploying, EnsembleFailed
from schemas.experiments import (
    ExperimentAccepted,
    ExperimentCancelled,
    ExperimentCompleted,
    ExperimentDuplicate,
    ExperimentFailed,
    ExperimentProgress,
    ExperimentRejected,
    ExperimentStarted,
    ExperimentWaiting,
    GatePassed,
    GateRefused,
    SurvivorsSelected,
)
from schemas.trials import TrialCached, TrialCompleted, TrialCreated, TrialFailed, TrialStarted
from tests.contracts.store.makers import NOW, VERDICT, digest

REASONS = (Reason(code="broken", message="it broke"),)
REFUSED = VERDICT.model_copy(update={"passed": False, "reasons": REASONS})
OVERRIDDEN = REFUSED.model_copy(update={"overridden": True})


@dataclass
class Life:
    """The events of an experiment and of the requests for it, in order by topic."""

    experiment: str = "mine"
    request_id: str = "request-mine"
    experiments: list[Message] = field(default_factory=list)
    trials: list[Message] = field(default_factory=list)
    ensembles: list[Message] = field(default_factory=list)

    @property
    def topics(self) -> list[list[Message]]:
        return [self.experiments, self.trials, self.ensembles]

    def tell(self, kind: Any, **fields: Any) -> "Life":
        """An experiment event."""
        base = {"experiment": self.experiment, "request_id": self.request_id, "emitted_at": NOW}
        self.experiments.append(kind(**(base | {"sequence": len(self.experiments) + 1} | fields)))
        return self

    def rejected(self) -> "Life":
        return self.tell(ExperimentRejected, experiment=None, reasons=REASONS)

    def accepted(self, trials: int = 2) -> "Life":
        return self.tell(
            ExperimentAccepted,
            name=self.experiment,
            strategy="grid",
            algorithm="elasticnet",
            tickers=("AAPL",),
            trials=trials,
            search_key=digest(1),
        )

    def attached(self, request_id: str) -> "Life":
        return self.tell(ExperimentDuplicate, request_id=request_id)

    def began(self, trials: int = 2) -> "Life":
        self.tell(ExperimentWaiting, position=0)
        return self.tell(ExperimentStarted, trials=trials, data_hash={"AAPL": digest(2)})

    def tried(self, kind: Any, trial: int, **fields: Any) -> "Life":
        """A trial event."""
        base = {
            "experiment": self.experiment,
            "sequence": len(self.trials) + 1,
            "trial": f"t{trial:05d}",
            "tickers": ("AAPL",),
            "configuration": {"alpha": 0.1},
            "fingerprint": digest(trial),
            "data_hash": digest(2),
            "emitted_at": NOW,
        }
        self.trials.append(kind(**(base | fields)))
        return self

    def evaluated(self, sharpes: Sequence[float | str | None]) -> "Life":
        """A trial each, created and started; with its Sharpe ratio, or how else it ended: "failed" or "cached"."""
        for number in range(len(sharpes)):
            self.tried(TrialCreated, number)
        for number, sharpe in enumerate(sharpes):
            self.tried(TrialStarted, number)
            match sharpe:
                case "failed":
                    self.tried(TrialFailed, number, reasons=REASONS)
                case "cached":
                    self.tried(TrialCached, number, metrics={"sharpe_ratio": 0.3}, eligible=True, recorded_by="other")
                case _:
                    self.tried(TrialCompleted, number, metrics={"sharpe_ratio": sharpe}, eligible=True, seconds=0.1)
            self.tell(ExperimentProgress, finished=number, failed=0, trials=len(sharpes), best=None)
        return self

    def searched(self, best: float | None = 0.4, *, cached: int = 0) -> "Life":
        fields = {"best": best, "deflated_sharpe": 0.6, "seconds": 1.5, "cached": cached}
        self.tell(ExperimentCompleted, finished=2, failed=0, **fields)
        return self.tell(SurvivorsSelected, survivors=(), passed_over=REASONS)

    def passed(self) -> "Life":
        return self.tell(GatePassed, verdict=VERDICT)

    def refused(self, *, overridden: bool = False) -> "Life":
        return self.tell(GateRefused, verdict=OVERRIDDEN if overridden else REFUSED)

    def failed(self) -> "Life":
        return self.tell(ExperimentFailed, reasons=REASONS)

    def cancelled(self) -> "Life":
        return self.tell(ExperimentCancelled)

    def ensemble(self, kind: Any, **fields: Any) -> "Life":
        """An ensemble event."""
        base = {
            "ensemble": f"bot-{self.experiment}",
            "sequence": len(self.ensembles) + 1,
            "version": 1,
            "serving_version": None,
            "emitted_at": NOW,
        }
        self.ensembles.append(kind(**(base | fields)))
        return self

    def deploying(self) -> "Life":
        return self.ensemble(EnsembleDeploying, experiment=self.experiment)

    def deployed(self) -> "Life":
        return self.ensemble(
            EnsembleDeployed,
            serving_version=1,
            experiment=self.experiment,
            tickers=("AAPL",),
            timeframe="1d",
            mode="live",
            members=3,
            manifest_digest=digest(3),
        )

    def undeployable(self) -> "Life":
        self.ensemble(EnsembleFailed, reasons=REASONS)
        return self.failed()

"""Running blocks of trials with Ray Tune."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler

from orchestrator.search.evaluation import MESSAGE_LENGTH, Ground, Rules
from orchestrator.search.outcomes import Failed, Outcome, Started
from orchestrator.search.plan import Block, PlannedTrial, blocks_of
from orchestrator.search.settings import DriverSettings
from orchestrator.search.trainable import OUTCOMES, BlockTrainable, Work
from schemas.base import Reason

TUNE_ENVIRONMENT = {
    # One line of CSV, JSON and TensorBoard for each trial costs more than the trial.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Results live in the database; Tune's own snapshots restore nothing here.
    "TUNE_GLOBAL_CHECKPOINT_S": "60",
}


class _Telling(tune.Callback):
    """Passes on what Tune sees, as it sees it, in Tune's own thread. An exception of `tell` ends the search."""

    def __init__(self, blocks: Sequence[Block], tell: Callable[[Outcome], None]) -> None:
        self._blocks = blocks
        self._tell = tell
        self.broken: dict[int, str] = {}
        """Number of each block whose worker failed, and what is known of it."""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks into a file from which nothing here is ever restored.
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        block = self._blocks[trial.config["block"]]
        self._tell(Started(tuple(each.trial for each in block.trials)))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        # Taken out, so that Tune writes neither arrays nor references into its own state.
        result.pop("config", None)
        for outcome in result.pop(OUTCOMES):
            self._tell(outcome)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.broken[trial.config["block"]] = (
            Path(trial.error_file).read_text() if trial.error_file else "no more is known"
        )


class _Patient(FIFOScheduler):
    """Lets a block whose worker is starting wait for it.

    FIFO gives a worker that becomes free to that block, kills the one that is starting and starts another for the next
    block: where blocks are shorter than a worker's start, one worker does everything. Left alone, Tune gives it to the
    next block that has none.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        return None


def slots_of(available_cpus: float, available_gpus: float, cpus: float, gpus: float, most: int) -> int:
    """How many blocks the cluster holds at the same time, `most` at most and 1 at least."""
    fits = [available_cpus // cpus if cpus else most, available_gpus // gpus if gpus else most, most]
    return max(1, int(min(fits)))


@dataclass(frozen=True)
class TuneSearch:
    """Evaluates trials with Ray Tune, in the Ray session that this process is connected to."""

    settings: DriverSettings

    def __call__(
        self,
        experiment: str,
        trials: Sequence[PlannedTrial],
        grounds: Mapping[str, Ground],
        rules: Rules,
        tell: Callable[[Outcome], None],
    ) -> None:
        """Evaluate the trials; each is told `Started`, then `Scored` or `Failed`.

        A block whose worker fails is evaluated again, each trial in a block of its own, so that only the guilty one
        fails.

        Args:
            experiment: its name, which Tune's trainables and files go by.
            trials: a ticker's next to each other.
            grounds: by ticker; put into Ray's object store once.
            rules: of all trials.
            tell: takes outcomes, in the calling thread; what it raises ends the search.
        """
        os.environ.update(TUNE_ENVIRONMENT)
        references = {ticker: ray.put(ground) for ticker, ground in grounds.items()}
        blocks = blocks_of(trials, slots=self._slots())
        broken = self._tune(experiment, Work(rules, blocks, references), tell)
        suspects = [trial for number in sorted(broken) for trial in blocks[number].trials]
        if not suspects:
            return
        singles = blocks_of(suspects, slots=self._slots(), largest=1)
        broken = self._tune(f"{experiment}.again", Work(rules, singles, references), tell)
        for number, error in broken.items():
            (trial,) = singles[number].trials
            message = f"its worker failed: {_in_short(error)}"
            tell(Failed(trial.trial, (Reason(code="worker_failed", message=message),), 0.0))

    def _tune(self, name: str, work: Work, tell: Callable[[Outcome], None]) -> dict[int, str]:
        """The numbers of the blocks whose workers failed, and Tune's text of each error."""
        telling = _Telling(work.blocks, tell)
        # Two Tuners in one Ray session mix up trainables of the same name.
        trainable = f"trial-{name}"
        shared = ray.put(work)
        needs = {"cpu": self.settings.cpus_per_trial, "gpu": self.settings.gpus_per_trial}
        tune.register_trainable(trainable, tune.with_resources(BlockTrainable, needs))
        tune.Tuner(
            trainable,
            param_space={"block": tune.grid_search(list(range(len(work.blocks)))), "work": shared},
            tune_config=tune.TuneConfig(
                reuse_actors=True,
                max_concurrent_trials=self._slots(),
                scheduler=_Patient(),  # type: ignore[no-untyped-call]
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name=name,
                storage_path=str(self.settings.tune_dir),
                callbacks=[telling],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        ).fit()
        # Results are in the database, and nothing is ever restored from Tune's own files.
        shutil.rmtree(self.settings.tune_dir / name, ignore_errors=True)
        return telling.broken

    def _slots(self) -> int:
        cluster: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return slots_of(
            cluster.get("CPU", 0.0),
            cluster.get("GPU", 0.0),
            self.settings.cpus_per_trial,
            self.settings.gpus_per_trial,
            self.settings.max_concurrent_trials,
        )


def _in_short(error: str) -> str:
    return error.strip().rsplit("\n", 1)[-1][:MESSAGE_LENGTH]

"""Do searches that run at once share the machine?

    python -m benchmarks.fairness [--searches N]

One search runs alone; then so many equal ones start at the same moment, each with its own driver on a real Ray, as the
service launches them. What a search alone needs until its first result is work that all of them have to do: a fair
share of the wait is that, times the number of searches. The last line is one JSON object; the exit status is 1 where
a search waited longer than twice its fair share.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.searching import service
from orchestrator.core.canonical import digest
from orchestrator.core.lifecycle import State
from orchestrator.features.samples import write_samples
from orchestrator.search.settings import DriverSettings
from orchestrator.store import experiments, leases, requests, trials
from orchestrator.store.database import Database
from orchestrator.store.leases import Lease
from orchestrator.store.tables import TrialStatus
from schemas.search import SearchRequest
from serving.artifacts import Artifacts
from serving.assemble import EnsembleAssembler

TICKER = "IBM"
LOOK_SECONDS = 0.05
TWICE = 2.0


def asked(name: str, seed: int) -> SearchRequest:
    """Trees, so that evaluating takes as long as starting; each search is other work than the others."""
    return SearchRequest(
        request_id=name,
        name=name,
        strategy="random",
        algorithm="lightgbm_regressor",
        tickers=(TICKER,),
        num_samples=12,
        seed=seed,
    )


async def first_results(settings: DriverSettings, artifacts: Path, asking: Sequence[SearchRequest]) -> list[float]:
    """Seconds from the launch of all searches until the first trial of each has its score."""
    # Ray reads its environment when it is imported.
    from orchestrator.search.launching import Launcher

    database = Database.open(settings.database_url)
    await database.upgrade()
    launcher = Launcher(settings, EnsembleAssembler(Artifacts(artifacts)))
    now = datetime.now(UTC)
    try:
        names = []
        for request in asking:
            async with database.transaction() as tx:
                admission = await requests.admit(
                    tx,
                    request,
                    raw=request.model_dump_json().encode(),
                    trials=request.num_samples or 0,
                    search_key=digest(request.request_id),
                    now=now,
                )
                assert isinstance(admission, requests.Accepted)
                await experiments.advance(tx, admission.experiment, State.WAITING, None, now)
                names.append(admission.experiment)
        began = time.monotonic()
        given = [await _lease(database, name) for name in names]
        await asyncio.gather(*map(launcher.launch, names, given))
        waited: dict[str, float] = {}
        ended: set[str] = set()
        while len(ended) < len(names):
            await asyncio.sleep(LOOK_SECONDS)
            async with database.snapshot() as tx:
                for name in names:
                    tally = await trials.tally(tx, name)
                    if name not in waited and tally[TrialStatus.COMPLETED]:
                        waited[name] = time.monotonic() - began
                        print(f"{name}: first result after {waited[name]:.1f} s", flush=True)
                    found = await experiments.get(tx, name)
                    if found.state is State.FAILED:
                        raise RuntimeError(f"{name} failed: {found.reasons}")
                    if found.state is State.SELECTED and found.verdict is not None:
                        ended.add(name)
        return [waited[name] for name in names]
    finally:
        await database.close()


async def _lease(database: Database, experiment: str) -> Lease:
    async with database.transaction() as tx:
        lease = await leases.acquire(tx, leases.driver_of(experiment), "fairness", timedelta(minutes=5))
    assert lease is not None
    return lease


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=8)
    searches = parser.parse_args().searches
    with TemporaryDirectory() as folder, service(Path(folder) / "service", print) as served:
        write_samples(Path(folder) / "features", (TICKER,))
        settings = replace(
            served,
            database_url=f"sqlite+aiosqlite:///{folder}/orchestrator.db",
            features_dir=Path(folder) / "features",
            cpus_per_trial=1.0,
        )
        artifacts = Path(folder) / "artifacts"
        # The first search of a service starts the broker and the lanes, too: it is not counted.
        asyncio.run(first_results(settings, artifacts, [asked("warm", 1)]))
        (alone,) = asyncio.run(first_results(settings, artifacts, [asked("alone", 2)]))
        together = asyncio.run(
            first_results(settings, artifacts, [asked(f"search-{n}", 10 + n) for n in range(searches)])
        )
    fair = alone * searches
    print(f"alone {alone:.1f} s; fair share of the wait with {searches} at once {fair:.1f} s")
    print("at once: " + ", ".join(f"{each:.1f}" for each in sorted(together)) + " s")
    worst = max(together) / fair
    print(json.dumps({"searches": searches, "alone": alone, "fair": fair, "worst": max(together), "of_fair": worst}))
    return 0 if worst <= TWICE else 1


if __name__ == "__main__":
    sys.exit(main())

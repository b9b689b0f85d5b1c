"""The experiment driver: a detached Ray actor that leads one experiment to its end, and then ends."""

import asyncio
import logging
import os
from datetime import UTC, datetime

import ray

from orchestrator.core.draft import Assembler
from orchestrator.search.settings import DriverSettings
from orchestrator.store.database import Database

log = logging.getLogger(__name__)

LEAVING_SECONDS = 10.0


class ExperimentDriver:
    """Leads an experiment from wherever it stands; what it has done is in the database, so it may die any time."""

    def __init__(self, experiment: str, settings: DriverSettings, assembler: Assembler) -> None:
        self._experiment = experiment
        self._settings = settings
        self._assembler = assembler
        self._conducting = False

    async def conduct(self) -> None:
        """Lead the experiment to its end and leave; asked again meanwhile, do nothing."""
        if self._conducting:
            return
        self._conducting = True
        # They take seconds to import, and whoever launches drivers has no use for them.
        from orchestrator.search.course import Course
        from orchestrator.search.tuner import TuneSearch

        database = Database.open(self._settings.database_url)
        search = TuneSearch(self._settings)
        try:
            await Course(self._experiment, self._settings, search, self._assembler, database, utc_now).lead()
        except Exception:
            # Not even the failure could be written: whoever launches finds the experiment as it is, and tries again.
            log.exception("experiment %s broke off", self._experiment)
        finally:
            await database.close()
            # Ray waits for calls that the driver has made and that never end; its name must be free for the next one.
            asyncio.get_running_loop().call_later(LEAVING_SECONDS, os._exit, 0)
            ray.actor.exit_actor()  # type: ignore[no-untyped-call]


def utc_now() -> datetime:
    """The clock."""
    return datetime.now(UTC)

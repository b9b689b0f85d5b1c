"""The experiment driver: a detached Ray actor that leads one experiment to its end, and then ends."""

import asyncio
import logging
import os
from datetime import UTC, datetime, timedelta

import ray

from orchestrator.core.draft import Assembler
from orchestrator.search.settings import DriverSettings
from orchestrator.store.database import Database
from orchestrator.store.errors import LeaseLost
from orchestrator.store.leases import Fenced, Lease
from orchestrator.store.terms import Term

log = logging.getLogger(__name__)

LEAVING_SECONDS = 10.0


class ExperimentDriver:
    """Leads an experiment from wherever it stands; what it has done is in the database, so it may die any time.

    Args:
        experiment: its id.
        lease: the right to drive it; without it the driver writes nothing, and ends at once.
        settings: of every driver.
        assembler: of ensembles.
    """

    def __init__(self, experiment: str, lease: Lease, settings: DriverSettings, assembler: Assembler) -> None:
        self._experiment = experiment
        self._lease = lease
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

        settings = self._settings
        database = Database.open(settings.database_url)
        fenced = Fenced(database, self._lease)
        course = Course(self._experiment, settings, TuneSearch(settings), self._assembler, fenced, utc_now)
        try:
            await Term(database, self._lease, timedelta(seconds=settings.lease_seconds)).during(course.lead())
        except LeaseLost as lost:
            log.warning("experiment %s is left to another driver: %s", self._experiment, lost)
            # Its threads cannot be stopped, and would go on with what is another's now.
            os._exit(0)
        except Exception:
            # Not even the failure could be written: whoever launches finds the experiment as it is, and tries again.
            log.exception("experiment %s broke off", self._experiment)
        finally:
            await database.close()
            # Ray waits for calls that the driver has made and that never end.
            asyncio.get_running_loop().call_later(LEAVING_SECONDS, os._exit, 0)
            ray.actor.exit_actor()  # type: ignore[no-untyped-call]


def utc_now() -> datetime:
    """The clock."""
    return datetime.now(UTC)

"""Every fault that is tried."""

from tests.faults.fault import Fault
from tests.faults.processes import (
    STOPPED_SECONDS,
    broker_killed,
    broker_stopped,
    driver_killed,
    driver_stopped,
    ray_killed,
    worker_killed,
    workers_come_and_go,
)
from tests.faults.storage import broker_disk_full, database_disk_full, store_damaged
from tests.faults.traffic import asked_a_thousand_times, broker_unreachable_for_producers, trials_misbehave
from tests.integration.test_search import install

FAULTS = (
    Fault(
        1,
        "worker killed around its commit",
        "one row and one answer for each request",
        "commits after the effect",
        worker_killed,
    ),
    Fault(
        2, "broker killed", "every acknowledged request ends, within 60 s they are read", "starts again", broker_killed
    ),
    Fault(
        3,
        f"broker stopped for {STOPPED_SECONDS:g} s",
        "nothing counts as told that is not",
        "waits for acknowledgement",
        broker_stopped,
    ),
    Fault(4, "driver killed amid PBT", "nothing is trained again; the budget is kept", "remembers", driver_killed),
    Fault(5, "Ray's head killed", "searches end, the same versions serve", "starts again", ray_killed),
    Fault(
        6,
        "driver stopped past its lease",
        "the zombie writes nothing",
        "fences",
        driver_stopped,
        lambda folder: {"LEASE_SECONDS": "3"},
    ),
    Fault(
        7,
        "workers join and leave",
        "no request is lost or doubled",
        "commits after the effect",
        workers_come_and_go,
        lambda folder: {"LEASE_SECONDS": "5"},
    ),
    Fault(8, "the same work, asked 1,000 times", "one execution, 1,000 answers", "recognises", asked_a_thousand_times),
    Fault(
        9,
        "database's disk full",
        "told, and nothing acknowledged is lost",
        "waits for the database",
        database_disk_full,
        lambda folder: {"DATABASE_URL": f"sqlite+aiosqlite:///{folder}/data/db/orchestrator.db"},
        {"db": 16},
    ),
    Fault(
        10, "broker's disk full", "nothing acknowledged is lost", "starts again", broker_disk_full, disks={"kafka": 400}
    ),
    Fault(
        11, "files cut off and garbled", "SQLite's is refused as it is, Tune's are not used", "verifies", store_damaged
    ),
    Fault(
        12,
        "trials that misbehave",
        "each fails alone, with its reason",
        "limits",
        trials_misbehave,
        lambda folder: {**install(folder / "plugin"), "TRIAL_SECONDS": "6", "TRIAL_MEMORY_MB": "256"},
    ),
    Fault(
        13,
        "broker refuses what is told",
        "no tick and no event is lost",
        "waits for acknowledgement",
        broker_unreachable_for_producers,
    ),
)

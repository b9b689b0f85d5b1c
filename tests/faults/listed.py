"""Every fault that is tried."""

from tests.faults.fault import Fault
from tests.faults.feed import variables
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
from tests.faults.retraining import worker_killed_while_a_challenger_is_on_trial, worker_killed_while_it_triggers
from tests.faults.signals import (
    KILLED_TTL,
    SHORT_TTL,
    broker_killed_under_ticks,
    clocks_wrong,
    features_unreadable,
    features_wrong,
    model_file_gone,
    replica_killed,
    shuffled_and_doubled,
    slow_replica,
    tick_worker_killed,
    tick_workers_come_and_go,
    transaction_killed,
)
from tests.faults.storage import broker_disk_full, database_disk_full, store_damaged
from tests.faults.traffic import asked_a_thousand_times, broker_unreachable_for_producers, trials_misbehave
from tests.integration.test_search import install

UNDER_TICKS, WRONG_TICKS = variables(KILLED_TTL), variables(SHORT_TTL)
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
    Fault(
        14,
        "tick worker killed amid a batch",
        "each tick has one signal, in order; what is said again is the same",
        "commits after the effect",
        tick_worker_killed,
        UNDER_TICKS,
        company="under ticks",
    ),
    Fault(
        15,
        "Serve replica killed",
        "each tick has one signal, in order",
        "waits for it",
        replica_killed,
        UNDER_TICKS,
        company="under ticks",
    ),
    Fault(
        16,
        "model file gone",
        "the version before answers, and why is told",
        "loads beside",
        model_file_gone,
        UNDER_TICKS,
        company="under ticks",
    ),
    Fault(
        17,
        "broker killed under ticks",
        "each tick has one signal, in order",
        "starts again",
        broker_killed_under_ticks,
        UNDER_TICKS,
        company="under ticks",
    ),
    Fault(
        18,
        "slow replica",
        "its ticks are told as skipped, the others answered",
        "waits not for ever",
        slow_replica,
        WRONG_TICKS,
        company="wrong ticks",
    ),
    Fault(
        19,
        "ticks shuffled and doubled",
        "one signal for each that is newer; the others are told as late",
        "knows what was answered",
        shuffled_and_doubled,
        WRONG_TICKS,
        company="wrong ticks",
    ),
    Fault(
        20,
        "features null, missing, huge or extra",
        "abstentions with their reasons",
        "abstains",
        features_wrong,
        WRONG_TICKS,
        company="wrong ticks",
    ),
    Fault(
        21,
        "features NaN, infinite or strings",
        "dead letters alone; those beside them are answered",
        "dead letters",
        features_unreadable,
        WRONG_TICKS,
        company="wrong ticks",
    ),
    Fault(
        22,
        "ticks two hours old and ahead",
        "skipped as too old; dead letters",
        "minds the clock",
        clocks_wrong,
        WRONG_TICKS,
        company="wrong ticks",
    ),
    Fault(
        23,
        "tick worker killed, exactly once",
        "each tick has one signal, once where commits are read",
        "one transaction",
        transaction_killed,
        variables(KILLED_TTL, SIGNAL_GUARANTEE="exactly_once"),
    ),
    Fault(
        24,
        "tick workers come and go",
        "each tick has one signal, in order",
        "commits after the effect",
        tick_workers_come_and_go,
        UNDER_TICKS,
    ),
    Fault(
        25,
        "worker killed at each step of a trigger",
        "one trigger, one request, one event, one cause",
        "triggers in one transaction",
        worker_killed_while_it_triggers,
    ),
    Fault(
        26,
        "worker killed at each step of a trial",
        "on trial once, promoted once, deployed once",
        "names what it orders",
        worker_killed_while_a_challenger_is_on_trial,
    ),
)

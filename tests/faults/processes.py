"""Processes that are killed and stopped."""

import signal
import time
from contextlib import ExitStack

import psutil

from streams.child import alive
from tests.faults.stage import Stage, Violated
from tests.faults.ticks import signals_of

DRIVER = "ray::ExperimentDriver"
STOPPED_SECONDS = 90.0


def worker_killed(stage: Stage) -> int:
    """Before a batch is in the database, and between that and the commit of its offset."""
    acknowledged: list[str] = []
    for number, moment in enumerate(("before-database", "before-commit") * 2):
        stage.arm(moment)
        with stage.witness([stage.search(f"killed-{number}-{each}") for each in range(3)]) as sent:
            held = stage.held_at(moment)
            acknowledged += sent()
            stage.kill(held)
    stage.settle(acknowledged)
    return stage.audit(acknowledged)


def broker_killed(stage: Stage) -> int:
    """While requests come, and an experiment runs."""
    requests = [stage.search(f"broken-{number}", seed=number % 3) for number in range(40)]
    with stage.witness(requests, pause=0.2) as sent:
        stage.until(lambda: len(stage.query("SELECT 1 FROM requests")) >= 5, "some requests are taken")
        stage.kill(stage.child("broker"))
        known = len(stage.query("SELECT 1 FROM requests"))
        stage.until(lambda: len(stage.query("SELECT 1 FROM requests")) > known, "requests are taken again", 60)
        acknowledged = sent()
    stage.settle(acknowledged)
    return stage.audit(acknowledged)


def broker_stopped(stage: Stage) -> int:
    """For longer than any delivery is waited for, while an experiment has much to tell."""
    first = stage.search("first", param_grid={"alpha": [n * 1e-4 for n in range(1, 101)], "l1_ratio": [0.5]})
    acknowledged = stage.send([first])
    stage.until(lambda: len(stage.query("SELECT 1 FROM trials")) > 0, "the experiment is under way")
    broker = stage.child("broker")
    broker.suspend()
    try:
        with stage.witness([stage.search(f"later-{number}") for number in range(3)]) as sent:
            time.sleep(STOPPED_SECONDS)
            published = stage.query("SELECT count(*) FROM outbox WHERE published_at > datetime('now', '-60 seconds')")
            broker.resume()
            acknowledged += sent()
    finally:
        broker.resume()
    if published != [(0,)]:
        raise Violated(f"{published[0][0]} events count as published by a broker that stood still")
    stage.settle(acknowledged)
    return stage.audit(acknowledged) + 1


def driver_killed(stage: Stage) -> int:
    """In the middle of a population's training: nothing that was recorded is trained again."""
    population, generations = 6, 5
    request = stage.search(
        "population",
        strategy="pbt",
        algorithm="lightgbm_regressor",
        population_size=population,
        num_generations=generations,
        param_grid=None,
    )
    request.pop("param_grid")
    acknowledged = stage.send([request])
    steps = "SELECT trial, step FROM trial_steps"
    stage.until(lambda: len(stage.query(steps)) >= population + 2, "the second generation is under way")
    stage.kill(*stage.processes(DRIVER))
    recorded = {f"{trial} {step}" for trial, step in stage.query(steps)}
    trained = len(stage.notes("evaluated"))
    stage.settle(acknowledged)
    again = recorded & set(stage.notes("evaluated")[trained:])
    if again:
        raise Violated(f"{len(again)} recorded steps were trained again, such as {min(again)}")
    count = len(stage.query(steps))
    if count != population * generations:
        raise Violated(f"{count} steps were trained for a budget of {population * generations}")
    return stage.audit(acknowledged) + len(recorded)


def ray_killed(stage: Stage) -> int:
    """Its head, while an ensemble serves and an experiment runs."""
    acknowledged = stage.deploy()
    versions = "SELECT ensemble, version FROM ensembles WHERE state = 'deployed'"
    before = stage.query(versions)
    running = stage.search(
        "running",
        algorithm="lightgbm_regressor",
        param_grid={"learning_rate": [0.01 * number for number in range(1, 41)]},
    )
    acknowledged += stage.send([running])
    stage.until(lambda: len(stage.notes("evaluated")) > 5, "the experiment is under way")
    stage.kill(*stage.processes("gcs_server"))
    stage.settle(acknowledged)
    after = stage.query(versions)
    if before != after:
        raise Violated(f"{before} served before, and {after} serve now")
    answered = signals_of(stage, ticks=20)
    if set(answered.values()) != {before[0][1]} or len(answered) != 20:
        raise Violated(f"20 ticks were answered by versions {sorted(set(answered.values()))} {len(answered)} times")
    return stage.audit(acknowledged) + len(answered)


def driver_stopped(stage: Stage) -> int:
    """Past its lease, and then awake again: it writes nothing."""
    request = stage.search(
        "stopped",
        algorithm="lightgbm_regressor",
        param_grid={"learning_rate": [0.01 * number for number in range(1, 41)]},
    )
    acknowledged = stage.send([request])
    stage.until(lambda: len(stage.query("SELECT 1 FROM trial_histories")) > 3, "the experiment is under way")
    (zombie,) = stage.processes(DRIVER)
    _suspend(stage, zombie)
    stage.until(lambda: any(each.pid != zombie.pid for each in stage.processes(DRIVER)), "another driver leads on")
    wrote = len(stage.notes(f"wrote.{zombie.pid}"))
    if alive(zombie):
        zombie.resume()
    stage.settle(acknowledged)
    late = len(stage.notes(f"wrote.{zombie.pid}")) - wrote
    if late:
        raise Violated(f"the driver that had lost its lease has written {late} times since")
    return stage.audit(acknowledged) + 1


def workers_come_and_go(stage: Stage) -> int:
    """Two join every ten seconds; one is asked to leave, and one of all is killed while it has requests in hand."""
    requests = [stage.search(f"load-{number}", seed=number % 2) for number in range(100)]
    with stage.witness(requests, pause=0.4) as sent:
        for turn in range(4):
            with ExitStack() as both:
                others = [both.enter_context(stage.worker(f"{turn}.{number}")) for number in range(2)]
                time.sleep(8)
                others[0].send_signal(signal.SIGTERM)
                # Whoever comes there, with requests that it has read.
                stage.arm("before-database")
                stage.kill(stage.held_at("before-database"))
                others[0].wait(60)
        acknowledged = sent()
    stage.settle(acknowledged)
    return stage.audit(acknowledged)


def _suspend(stage: Stage, process: psutil.Process) -> None:
    """Stop a process while it does not write: SQLite has one writer at a time, and others would wait for it."""
    while True:
        process.suspend()
        if not stage.is_written():
            return
        process.resume()
        time.sleep(0.05)

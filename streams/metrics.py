"""What Prometheus reads, as one list.

Several processes count: each writes to files in the folder that PROMETHEUS_MULTIPROC_DIR names, and whoever is asked
adds them up. prometheus-client looks at that variable when it is imported, so the supervisor sets it in its children's
environment, and empties the folder before it starts them.
"""

import os
from pathlib import Path
from typing import Any, Final

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# The way in.
LAG = Gauge(
    "orchestrator_lag_records",
    "Records that the service has yet to handle, by topic and partition.",
    ("topic", "partition"),
    multiprocess_mode="mostrecent",
)
REQUESTS = Counter(
    "orchestrator_requests_total",
    "Search requests, by what became of them: accepted, known, duplicate, rejected.",
    ("outcome",),
)
DEAD_LETTERS = Counter(
    "orchestrator_dead_letters_total",
    "Records kept whole because they could not be handled, by the topic they came from.",
    ("topic",),
)

# Ticks in, signals out.
TICKS = Counter(
    "orchestrator_ticks_total",
    "Ticks, by whether an ensemble covers them: covered, uncovered, repeat; not_final ones are passed over.",
    ("outcome",),
)
SIGNALS = Counter("orchestrator_signals_total", "Signals, by kind (BUY, SELL, HOLD) and mode.", ("signal", "mode"))
SKIPS = Counter(
    "orchestrator_ticks_skipped_total",
    "Ticks without a signal, by reason: ttl, conflated, late, halted, dead_letter.",
    ("reason",),
)
HALTS = Gauge("orchestrator_halts", "Halts in effect, whatever their scope.", multiprocess_mode="mostrecent")
BATCH_RECORDS = Histogram(
    "orchestrator_batch_records",
    "Records in a micro-batch, by topic.",
    ("topic",),
    buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500, 1000),
)
BATCH_SECONDS = Histogram(
    "orchestrator_batch_seconds",
    "Seconds from a batch's polling to its effect being durable, by topic.",
    ("topic",),
    buckets=_LATENCIES,
)
SIGNAL_SECONDS = Histogram(
    "orchestrator_signal_seconds",
    "Seconds from a tick's available_at to its signal's emitted_at, live mode only.",
    buckets=(*_LATENCIES, 30.0, 60.0),
)

# Searches.
TRIALS = Counter(
    "orchestrator_trials_total", "Trials that ended, by how: completed, failed, stopped_early, cached.", ("outcome",)
)
EXPERIMENTS = Gauge(
    "orchestrator_experiments",
    "Experiments in flight, by state.",
    ("state",),
    multiprocess_mode="mostrecent",
)
SERVING_VERSION = Gauge(
    "orchestrator_serving_version",
    "The version that serves, by ensemble; 0: none does any more.",
    ("ensemble",),
    multiprocess_mode="mostrecent",
)

# Retraining.
TRIGGERS = Counter(
    "orchestrator_triggers_total",
    "Searches for challengers, by ensemble and why: schedule, age, performance, drift, outliers, hand, outside.",
    ("ensemble", "kind"),
)
DRIFT = Gauge(
    "orchestrator_drift_ratio",
    "The largest drift of any feature, as a multiple of that feature's threshold, by ensemble; 0: none is known.",
    ("ensemble",),
    multiprocess_mode="mostrecent",
)

LEADS = Gauge(
    "orchestrator_leads",
    "1 where this copy's worker is the one that does it: relay, reconciler, deployments.",
    ("what",),
    multiprocess_mode="mostrecent",
)

# The way out.
OUTBOX_EVENTS = Gauge(
    "orchestrator_outbox_events", "Events committed but not yet published.", multiprocess_mode="mostrecent"
)
OUTBOX_AGE_SECONDS = Gauge(
    "orchestrator_outbox_age_seconds",
    "Age of the oldest event committed but not yet published; 0 when there is none.",
    multiprocess_mode="mostrecent",
)
PUBLISHED = Counter("orchestrator_published_total", "Records that the broker acknowledged, by topic.", ("topic",))


def exposition() -> bytes:
    """Every metric of every process in Prometheus' text format, or of this process alone outside a running copy."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder is None:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    collector: Any = multiprocess.MultiProcessCollector
    collector(registry, path=folder)
    return generate_latest(registry)


def empty(folder: Path) -> None:
    """Make the folder that the processes count in, and drop what an earlier run has counted."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink(missing_ok=True)

"""What a driver is told once, when it is launched."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from orchestrator.core.admission import Defaults
from orchestrator.core.calendar import DEFAULT_CALENDAR
from orchestrator.core.canonical import FLOAT_DIGITS
from orchestrator.core.gate import Override
from schemas.base import Voting
from schemas.search import MetricName


@dataclass(frozen=True)
class DriverSettings:
    """Plain values, so that they travel to whichever process the driver lives in."""

    database_url: str = field(repr=False)
    """It may hold a password."""
    features_dir: Path
    tune_dir: Path
    """Where Tune writes its own files."""
    namespace: str
    """Ray's, in which drivers go by their names."""
    features_db: Path | None = None
    """The DuckDB file that features are read from, instead of the folders."""
    cpus_per_trial: float | None = None
    """None: what the family asks for; so of GPUs."""
    gpus_per_trial: float | None = None
    max_concurrent_trials: int = 8
    """Of all experiments together."""
    trial_seconds: float = 3600.0
    """After which a trial fails; so of its memory."""
    trial_memory_mb: int = 4096
    stream_above_mb: int | None = None
    """MiB of rows above which features are streamed; None: a share of the memory that is there."""
    lease_seconds: float = 15.0
    """For how long a driver has the right to its experiment without being heard of."""
    defaults: Defaults = field(default_factory=Defaults)
    metric: MetricName = "sharpe_ratio"
    """Where the request names none; so the next three."""
    mode: Literal["max", "min"] = "max"
    voting: Voting = "soft"
    threshold: float = 0.7
    gate_override: Override = "paper"
    calendar: str = DEFAULT_CALENDAR
    float_digits: int = FLOAT_DIGITS
    """Significant digits to which two configurations are the same."""
    skip_duplicate: bool = True
    """Nothing is trained whose result is known; else everything is, also what is the same to so many digits."""
    use_fingerprint_db: bool = True
    """Results are known of all experiments, not of the same search only."""

    @property
    def recalls(self) -> bool:
        """Whether a search may be answered by what others have trained."""
        return self.skip_duplicate and self.use_fingerprint_db


def working_folder(tune_dir: Path) -> Path:
    """Where each search that streams has a folder of its own while it is under way."""
    return tune_dir / "streamed"

"""The settings: read once, at the edge, into one frozen object.

Every variable of the environment is a field of `Settings`, named in lower case. An empty value is the same as none.
"""

import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from orchestrator.core.access import LOOPBACK
from schemas.base import Voting
from schemas.search import MetricName

SECRET: Final = frozenset({"kafka_sasl_password", "database_url", "api_key"})
"""Settings that nobody is shown, and that those in whom others' code runs are not given."""
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})
_ADDRESS: Final = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True)
class Fault:
    """What is wrong with one variable. `value` is what it holds, or None where that must not be shown."""

    variable: str
    value: str | None
    message: str

    def __str__(self) -> str:
        shown = "" if self.value is None else f"={self.value}"
        return f"{self.variable}{shown}: {self.message}"


class WrongSettings(Exception):
    """The environment holds settings that cannot be used: every one of them is named.

    Attributes:
        faults: one for each, in the order of the settings.
    """

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        self.faults = faults
        super().__init__("\n".join(map(str, faults)))


@dataclass(frozen=True)
class Described:
    """One variable for the documentation: its name, its default as it would be written, and what it means."""

    variable: str
    default: str
    meaning: str


def _addresses(text: str) -> str:
    addresses = [each.strip() for each in text.split(",")] if text else []
    for address in addresses:
        match = _ADDRESS.fullmatch(address)
        if match is None or not 0 < int(match["port"]) < 65536:
            raise ValueError("must be HOST:PORT, several of them separated by commas")
    return ",".join(addresses)


def _ray_address(text: str) -> str:
    match = _ADDRESS.fullmatch(text.removeprefix("ray://"))
    if text != "auto" and (match is None or not 0 < int(match["port"]) < 65536):
        raise ValueError("must be auto or HOST:PORT")
    return text


def _plain_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", text):
        raise ValueError("may hold letters, digits, dots, dashes and underscores, 64 at most")
    return text


def _calendar(name: str) -> str:
    if name != "XNYS":
        # Imported only where it is asked: it brings pandas along.
        from exchange_calendars import get_calendar_names

        if name not in get_calendar_names(include_aliases=True):
            raise ValueError("is no calendar that exchange_calendars knows, such as XNYS, XLON or 24/7")
    return name


def _database(url: SecretStr) -> SecretStr:
    if not re.match(r"sqlite\+aiosqlite:///[^:?]|postgresql(\+asyncpg)?://", url.get_secret_value()):
        raise ValueError("must be sqlite+aiosqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    return url


def _key(key: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]{16,256}", key.get_secret_value()):
        raise ValueError(
            "must be 16 to 256 letters, digits and signs without blanks, such as `openssl rand -hex 24` gives"
        )
    return key


def _host_names(text: str) -> str:
    names = [each.strip().lower() for each in text.split(",")] if text else []
    if not all(re.fullmatch(r"[a-z0-9._-]{1,253}|[0-9a-f:.]{2,45}", name) for name in names):
        raise ValueError("must be host names or addresses without ports, several of them separated by commas")
    return ",".join(names)


def _existing_file(path: Path) -> Path:
    if not path.is_file():
        raise ValueError("is no file")
    return path


def _folder(path: Path) -> Path:
    path = path.expanduser().absolute()
    if path.exists() and not path.is_dir():
        raise ValueError("is a file, and must be a folder")
    return path


Port = Annotated[int, Field(ge=0, le=65535)]
Folder = Annotated[Path, AfterValidator(_folder)]


class Settings(BaseModel):
    """Everything that can be set, with the defaults that run the whole line on one machine."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)

    ray_address: Annotated[str, AfterValidator(_ray_address)] = "auto"
    """The Ray cluster as HOST:PORT; auto: a head of this data folder's own, started and stopped with the service."""
    ray_dashboard_port: Port = 8265
    """Ray's dashboard, or the next free port after it; 0: no dashboard."""
    ray_namespace: Annotated[str, AfterValidator(_plain_name)] = "trading_bot"
    """The Ray namespace of drivers and deployments."""
    ray_num_cpus_per_trial: Annotated[float, Field(gt=0, le=1024)] | None = None
    """CPUs that one trial takes, at most those of the largest node; none: what its algorithm asks for, 1 at least."""
    ray_num_gpus_per_trial: Annotated[float, Field(ge=0, le=64)] | None = None
    """GPUs that one trial takes; none: what its algorithm asks for, where there are any."""
    ray_max_concurrent_trials: Annotated[int, Field(ge=1, le=10_000)] = 8
    """Trials at once, of all experiments together; they take turns."""
    max_concurrent_experiments: Annotated[int, Field(ge=1, le=1_000)] = 8
    """Experiments at once, each a process with its features in memory; the others wait by priority and then by age."""
    trial_seconds: Annotated[float, Field(gt=0, le=1_000_000)] = 3600.0
    """How long one trial may train; one that takes longer fails alone."""
    trial_memory_mb: Annotated[int, Field(ge=16, le=10_000_000)] = 4096
    """Memory that one trial may take for itself, in MiB; one that takes more fails alone."""
    stream_above_mb: Annotated[int, Field(ge=0, le=100_000_000)] | None = None
    """MiB of rows above which a search streams its features, or is refused; none: a quarter of the memory available."""
    ray_object_store_mb: Annotated[int, Field(ge=80, le=1_000_000)] = 512
    """Memory for the object store of the head that the service starts, in MiB."""

    tune_metric: MetricName = "sharpe_ratio"
    """What a search optimises where its request names no metric."""
    tune_mode: Literal["max", "min"] = "max"
    """Whether more of it is better."""
    tune_skip_duplicate: bool = True
    """Whether a configuration whose result is known is answered with it; false: everything is trained."""
    tune_use_fingerprint_db: bool = True
    """Whether results are known of all experiments, by their fingerprints; false: of the same search only."""
    tune_resume_unfinished: bool = True
    """Whether an experiment that failed or was cancelled may be gone on with."""
    tune_resume_errored: bool = True
    """Whether its trials that failed run again then; false: only those that did not end."""
    tune_float_precision: Annotated[int, Field(ge=1, le=17)] = 5
    """Significant digits to which two configurations are the same; all digits where TUNE_SKIP_DUPLICATE is false."""
    tune_pbt_population_size: Annotated[int, Field(ge=2, le=10_000)] = 20
    """Members of a population where a PBT request does not say."""
    tune_asha_grace_period: Annotated[int, Field(ge=1, le=10_000)] = 10
    """The least budget of a trial in ASHA, of 100: rounds, epochs or percent of rows, as the algorithm has it."""

    serve_voting: Voting = "soft"
    """How an ensemble votes where the request does not say."""
    serve_threshold: Annotated[float, Field(gt=0, le=1)] = 0.7
    """The score above which an ensemble acts where the request does not say."""
    signal_guarantee: Literal["at_least_once", "exactly_once"] = "at_least_once"
    """Whether a signal may come again after a crash, under its id; exactly once takes a transaction for each batch."""
    signal_conflate: bool = False
    """Whether only the newest tick of each instrument is answered while ticks lag; the others are told as skipped."""
    serve_host: str = "127.0.0.1"
    """The address that Ray Serve answers predictions on; beyond the loopback API_KEY is needed."""
    serve_port: Port = 8000
    """Its port, or the next free one after it; 0: any. On a cluster of RAY_ADDRESS, exactly this one."""
    signal_ttl: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    """Seconds after which a live tick is too old to act on."""
    model_max_age_days: Annotated[float, Field(gt=0, le=36_500)] = 1095.0
    """Days from the end of an ensemble's training to a tick after which the ensemble abstains."""
    outlier_margin: Annotated[float, Field(ge=0, le=1_000_000)] | None = None
    """Widths of a feature's range in training that it may lie outside of it, else an ensemble abstains; none: any."""
    gate_override: Literal["forbid", "paper", "live"] = "paper"
    """What a request that turns the gate off may do: nothing, paper signals, live signals."""
    calendar: Annotated[str, AfterValidator(_calendar)] = "XNYS"
    """The trading calendar: an ISO 10383 market code, or 24/7."""

    kafka_bootstrap_servers: Annotated[str, AfterValidator(_addresses)] = ""
    """The Kafka cluster as HOST:PORT[,HOST:PORT...]; empty: a broker of this data folder's own."""
    kafka_port: Port = 9092
    """The embedded broker's port, or the next free one after it; 0: any."""
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How to speak to the cluster."""
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """How to log in; needed by the SASL protocols."""
    kafka_sasl_username: str | None = None
    """The user's name; needed by the SASL protocols."""
    kafka_sasl_password: SecretStr | None = None
    """The password; needed by the SASL protocols."""
    kafka_ssl_ca_location: Annotated[Path, AfterValidator(_existing_file)] | None = None
    """A file with the certificates of the authorities to trust; none: the system's."""

    database_url: Annotated[SecretStr, AfterValidator(_database)] | None = None
    """sqlite+aiosqlite:///FILE or, for several hosts, postgresql://...; none: the file orchestrator.db in DATA_DIR."""
    data_dir: Folder = Field(Path("data"), validate_default=True)
    """Everything that the service writes; one running copy each."""
    artifacts_dir: Folder | None = None
    """What ensembles serve; none: artifacts in DATA_DIR. Workers on one database share one folder."""
    models_dir: Folder | None = None
    """Where model files lie that are registered; none: models in DATA_DIR."""
    model_max_mb: Annotated[int, Field(ge=1, le=1024)] = 256
    """The largest model file that is registered, in MiB."""
    features_dir: Folder | None = None
    """Features as {TICKER}/{timeframe}/*.parquet; none: features_parquet in DATA_DIR."""
    features_db: Annotated[Path, AfterValidator(_existing_file)] | None = None
    """A DuckDB file that features are read from instead of FEATURES_DIR; none: the folders."""

    api_host: str = "127.0.0.1"
    """The address that REST and the dashboard listen on; beyond the loopback API_KEY is needed."""
    api_port: Port = 8100
    """Their port, or the next free one after it; 0: any."""
    api_key: Annotated[SecretStr, AfterValidator(_key)] | None = None
    """What callers of REST, the dashboard and predictions must show, 16 characters at least; none: nothing is asked."""
    api_names: Annotated[str, AfterValidator(_host_names)] = ""
    """Host names that REST and the dashboard are called by besides the loopback's and API_HOST, separated by commas."""
    api_requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 1200
    """Requests of one client's address in a minute above which they are refused for a while."""
    lease_seconds: Annotated[float, Field(ge=1, le=3600)] = 15.0
    """Seconds after which a driver that is not heard of is replaced; a worker that leads, after twice as many."""
    retention_days: Annotated[float, Field(ge=1, le=36_500)] = 30.0
    """Days for which predictions and models are kept that nothing refers to any more."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """The shape of log lines; auto: console on a terminal, else JSON."""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(str.lower)] = "info"
    """The least important lines that are written."""

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """The settings in an environment; variables that are none of ours are left alone.

        Raises:
            WrongSettings: at least one variable cannot be used; all of those are named.
        """
        given = {name: value for name in cls.model_fields if (value := environ.get(name.upper(), "").strip())}
        faults: list[Fault] = []
        try:
            settings = cls.model_validate(given)
        except ValidationError as error:
            faults = [_fault(str(each["loc"][0]), each["msg"], given) for each in error.errors(include_url=False)]
            settings = cls.model_validate({k: v for k, v in given.items() if k.upper() not in _variables(faults)})
        known_bad = _variables(faults)
        faults += [fault for fault, read in _contradictions(settings) if not known_bad.intersection(read)]
        if faults:
            raise WrongSettings(tuple(faults))
        return settings

    @classmethod
    def describe(cls) -> tuple[Described, ...]:
        """Every variable with its default and meaning, in the order of the settings."""
        return tuple(
            Described(name.upper(), _written(field.default), field.description or "")
            for name, field in cls.model_fields.items()
        )

    @property
    def embedded_broker(self) -> bool:
        """Whether the service starts a broker of its own."""
        return not self.kafka_bootstrap_servers

    @property
    def own_ray(self) -> bool:
        """Whether the service starts a Ray head of its own."""
        return self.ray_address == "auto"

    @property
    def names(self) -> frozenset[str]:
        """The host names that REST and the dashboard may be called by."""
        return LOOPBACK | ({self.api_host.lower(), *self.api_names.split(",")} - _EVERYWHERE - {""})

    @property
    def key(self) -> str | None:
        """API_KEY as it is shown."""
        return None if self.api_key is None else self.api_key.get_secret_value()

    @property
    def features_folder(self) -> Path:
        """Where features are read from."""
        return self.features_dir or self.data_dir / "features_parquet"

    @property
    def artifacts_folder(self) -> Path:
        """Where ensembles' models are kept."""
        return self.artifacts_dir or self.data_dir / "artifacts"

    @property
    def models_folder(self) -> Path:
        """Where model files are registered from."""
        return self.models_dir or self.data_dir / "models"

    @property
    def store_url(self) -> str:
        """The database's address, with its password."""
        if self.database_url is None:
            return f"sqlite+aiosqlite:///{self.data_dir / 'orchestrator.db'}"
        return self.database_url.get_secret_value()


def _written(default: object) -> str:
    """A default as the environment would hold it."""
    if isinstance(default, bool):
        return str(default).lower()
    return "" if default is None else str(default)


def _variables(faults: Iterable[Fault]) -> frozenset[str]:
    return frozenset(fault.variable for fault in faults)


def _fault(name: str, message: str, given: Mapping[str, str]) -> Fault:
    message = message.removeprefix("Value error, ").replace("Input should be", "must be")
    return Fault(name.upper(), None if name in SECRET else given[name], message)


def _contradictions(settings: Settings) -> Iterator[tuple[Fault, tuple[str, ...]]]:
    """What is wrong with several variables together, each with the variables that were read to judge it."""
    protocol = settings.kafka_security_protocol
    for variable in ("KAFKA_SASL_MECHANISM", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"):
        given = getattr(settings, variable.lower()) is not None
        read = (variable, "KAFKA_SECURITY_PROTOCOL")
        if protocol.startswith("SASL") and not given:
            yield Fault(variable, None, f"is not set, and KAFKA_SECURITY_PROTOCOL={protocol} needs it"), read
        if given and not protocol.startswith("SASL"):
            yield Fault(variable, None, f"is set, but KAFKA_SECURITY_PROTOCOL={protocol} does not log in"), read
    if settings.kafka_ssl_ca_location is not None and "SSL" not in protocol.removeprefix("SASL"):
        message = f"is set, but KAFKA_SECURITY_PROTOCOL={protocol} does not encrypt"
        yield (
            Fault("KAFKA_SSL_CA_LOCATION", str(settings.kafka_ssl_ca_location), message),
            ("KAFKA_SSL_CA_LOCATION", "KAFKA_SECURITY_PROTOCOL"),
        )
    for variable, host in (("SERVE_HOST", settings.serve_host), ("API_HOST", settings.api_host)):
        if host.lower() not in LOOPBACK and settings.api_key is None:
            message = "is beyond the loopback, so API_KEY must be set, which callers then have to show"
            yield Fault(variable, host, message), (variable, "API_KEY")
    if not settings.own_ray and settings.serve_port == 0:
        message = "must be a port where RAY_ADDRESS names a cluster: which of its ports are free is not known here"
        yield Fault("SERVE_PORT", "0", message), ("SERVE_PORT", "RAY_ADDRESS")
    if settings.embedded_broker and protocol != "PLAINTEXT":
        message = "needs KAFKA_BOOTSTRAP_SERVERS: the embedded broker speaks PLAINTEXT on the loopback"
        yield (
            Fault("KAFKA_SECURITY_PROTOCOL", protocol, message),
            ("KAFKA_SECURITY_PROTOCOL", "KAFKA_BOOTSTRAP_SERVERS"),
        )
    if settings.store_url.startswith("postgresql") and importlib.util.find_spec("asyncpg") is None:
        message = "PostgreSQL needs the package asyncpg: install this project with its extra `postgres`"
        yield Fault("DATABASE_URL", None, message), ("DATABASE_URL",)

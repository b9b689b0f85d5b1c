"""Settings: the defaults of the specification, and every fault named at once."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from streams.settings import Settings, WrongSettings


def faults_of(environ: dict[str, str]) -> dict[str, str]:
    with pytest.raises(WrongSettings) as caught:
        Settings.read(environ)
    return {fault.variable: str(fault) for fault in caught.value.faults}


def test_an_empty_environment_gives_the_defaults_of_the_specification() -> None:
    settings = Settings.read({})
    assert settings.ray_address == "auto"
    assert settings.ray_dashboard_port == 8265
    assert settings.ray_namespace == "trading_bot"
    assert (settings.ray_num_cpus_per_trial, settings.ray_num_gpus_per_trial) == (None, None)
    assert (settings.ray_max_concurrent_trials, settings.stream_above_mb) == (8, None)
    assert (settings.tune_metric, settings.tune_mode, settings.tune_float_precision) == ("sharpe_ratio", "max", 5)
    assert (settings.tune_pbt_population_size, settings.tune_asha_grace_period) == (20, 10)
    assert (settings.serve_voting, settings.serve_threshold) == ("soft", 0.7)
    assert (settings.model_max_age_days, settings.outlier_margin) == (1095, None)
    assert (settings.serve_host, settings.serve_port) == ("127.0.0.1", 8000)
    assert (settings.api_host, settings.api_port, settings.key) == ("127.0.0.1", 8100, None)
    assert settings.embedded_broker
    assert settings.own_ray


def test_an_empty_value_is_the_same_as_none() -> None:
    assert Settings.read({"TUNE_METRIC": "", "KAFKA_BOOTSTRAP_SERVERS": " "}) == Settings.read({})


def test_variables_that_are_none_of_ours_are_left_alone() -> None:
    assert Settings.read({"RAY_worker_niceness": "0", "KAFKA_HEAP_OPTS": "-Xmx1g"}) == Settings.read({})


def test_every_fault_is_named_at_once() -> None:
    faults = faults_of(
        {
            "RAY_ADDRESS": "local",
            "RAY_DASHBOARD_PORT": "many",
            "TUNE_METRIC": "luck",
            "TUNE_MODE": "up",
            "SERVE_THRESHOLD": "nan",
            "SIGNAL_TTL": "0",
            "CALENDAR": "NOWHERE",
            "KAFKA_BOOTSTRAP_SERVERS": "a:1,b",
            "API_PORT": "65536",
            "LOG_LEVEL": "loud",
        }
    )
    assert set(faults) == {
        "RAY_ADDRESS",
        "RAY_DASHBOARD_PORT",
        "TUNE_METRIC",
        "TUNE_MODE",
        "SERVE_THRESHOLD",
        "SIGNAL_TTL",
        "CALENDAR",
        "KAFKA_BOOTSTRAP_SERVERS",
        "API_PORT",
        "LOG_LEVEL",
    }
    assert faults["TUNE_MODE"] == "TUNE_MODE=up: must be 'max' or 'min'"


def test_faults_of_one_variable_and_contradictions_between_several_are_named_together() -> None:
    faults = faults_of({"TUNE_MODE": "up", "KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_BOOTSTRAP_SERVERS": "k:9092"})
    assert set(faults) == {"TUNE_MODE", "KAFKA_SASL_MECHANISM", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"}


def test_a_contradiction_is_not_named_where_one_of_its_variables_is_wrong_already() -> None:
    assert set(faults_of({"KAFKA_SECURITY_PROTOCOL": "SASLSSL", "KAFKA_SASL_USERNAME": "me"})) == {
        "KAFKA_SECURITY_PROTOCOL"
    }


def test_a_login_that_the_protocol_would_not_use_is_refused() -> None:
    assert set(faults_of({"KAFKA_SASL_USERNAME": "me"})) == {"KAFKA_SASL_USERNAME"}


def test_the_embedded_broker_speaks_no_other_protocol() -> None:
    assert "KAFKA_BOOTSTRAP_SERVERS" in faults_of({"KAFKA_SECURITY_PROTOCOL": "SSL"})["KAFKA_SECURITY_PROTOCOL"]


@pytest.mark.parametrize("cluster", [{}, {"RAY_ADDRESS": "ray_head:6379"}])
def test_whoever_listens_beyond_the_loopback_needs_a_key(cluster: dict[str, str]) -> None:
    beyond = {"SERVE_HOST": "0.0.0.0", "API_HOST": "::"} | cluster
    faults = faults_of(beyond)
    assert set(faults) == {"SERVE_HOST", "API_HOST"}
    assert all("API_KEY" in fault for fault in faults.values())
    assert Settings.read(beyond | {"API_KEY": "k" * 16}).key == "k" * 16
    assert Settings.read({"SERVE_HOST": "::1", "SERVE_PORT": "0", "API_HOST": "localhost"}).key is None


@pytest.mark.parametrize("key", ["k" * 15, "k" * 257, "sixteen or more of them", "schl\u00fcssel" * 3])
def test_a_key_that_is_guessed_or_that_no_header_carries_is_refused(key: str) -> None:
    assert set(faults_of({"API_KEY": key})) == {"API_KEY"}


def test_the_api_is_called_by_the_loopbacks_names_its_hosts_and_those_that_are_listed() -> None:
    key = {"API_KEY": "k" * 16}
    assert Settings.read({}).names == {"127.0.0.1", "localhost", "::1"}
    assert Settings.read({"API_HOST": "0.0.0.0", "API_NAMES": "Desk.example, 10.0.0.7"} | key).names == {
        *Settings.read({}).names,
        "desk.example",
        "10.0.0.7",
    }
    assert "10.0.0.7" in Settings.read({"API_HOST": "10.0.0.7"} | key).names
    assert set(faults_of({"API_NAMES": "https://desk.example"})) == {"API_NAMES"}


def test_a_cluster_does_not_say_which_of_its_ports_are_free() -> None:
    assert set(faults_of({"SERVE_PORT": "0", "RAY_ADDRESS": "ray_head:6379"})) == {"SERVE_PORT"}


def test_certificates_for_a_protocol_that_does_not_encrypt_are_refused(tmp_path: Path) -> None:
    certificates = tmp_path / "ca.pem"
    certificates.touch()
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": "k:9092",
        "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_SASL_USERNAME": "me",
        "KAFKA_SASL_PASSWORD": "hunter2",
        "KAFKA_SSL_CA_LOCATION": str(certificates),
    }
    assert set(faults_of(environ)) == {"KAFKA_SSL_CA_LOCATION"}
    assert Settings.read(environ | {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}).kafka_ssl_ca_location == certificates


@pytest.mark.parametrize(
    "environ",
    [
        {"KAFKA_SASL_PASSWORD": "hunter2"},
        {"DATABASE_URL": "mysql://me:hunter2@host/db"},
        {"API_KEY": "hunter2"},
        {"KAFKA_SASL_PASSWORD": "hunter2", "TUNE_MODE": "up"},
    ],
)
def test_a_fault_never_shows_a_secret(environ: dict[str, str]) -> None:
    with pytest.raises(WrongSettings) as caught:
        Settings.read(environ)
    assert "hunter2" not in f"{caught.value} {caught.value!r} {caught.value.faults}"


def test_the_settings_never_show_a_secret() -> None:
    settings = Settings.read(
        {
            "KAFKA_BOOTSTRAP_SERVERS": "k:9092",
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "PLAIN",
            "KAFKA_SASL_USERNAME": "me",
            "KAFKA_SASL_PASSWORD": "hunter2",
            "DATABASE_URL": "sqlite+aiosqlite:///hunter2.db",
            "API_KEY": "hunter2hunter2hunter2",
        }
    )
    assert "hunter2" not in f"{settings} {settings!r}"
    assert settings.store_url == "sqlite+aiosqlite:///hunter2.db"


def test_the_settings_are_frozen() -> None:
    settings = Settings.read({})
    for name in Settings.model_fields:
        with pytest.raises(ValidationError):
            setattr(settings, name, None)


def test_paths_follow_the_data_folder_unless_they_are_set(tmp_path: Path) -> None:
    settings = Settings.read({"DATA_DIR": str(tmp_path)})
    assert settings.features_folder == tmp_path / "features_parquet"
    assert settings.store_url == f"sqlite+aiosqlite:///{tmp_path}/orchestrator.db"
    elsewhere = Settings.read({"DATA_DIR": str(tmp_path), "FEATURES_DIR": str(tmp_path / "f")})
    assert elsewhere.features_folder == tmp_path / "f"


def test_the_data_folder_is_absolute() -> None:
    assert Settings.read({"DATA_DIR": "somewhere"}).data_dir == Path.cwd() / "somewhere"


def test_a_file_is_no_data_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert set(faults_of({"DATA_DIR": str(tmp_path / "file")})) == {"DATA_DIR"}


def test_several_servers_are_read_with_blanks_between_them() -> None:
    assert Settings.read({"KAFKA_BOOTSTRAP_SERVERS": "a:1, [::1]:2"}).kafka_bootstrap_servers == "a:1,[::1]:2"


@pytest.mark.parametrize("address", ["host:6379", "ray://host:10001", "auto"])
def test_a_ray_address_is_used_as_it_is(address: str) -> None:
    assert Settings.read({"RAY_ADDRESS": address}).ray_address == address


def test_every_setting_is_described() -> None:
    described = Settings.describe()
    assert {each.variable.lower() for each in described} == set(Settings.model_fields)
    assert all(each.meaning for each in described)


def test_what_is_described_as_a_default_can_be_set() -> None:
    assert Settings.read({each.variable: each.default for each in Settings.describe()}) == Settings.read({})

"""The containers: docker-compose.yml and the Dockerfile agree with the specification, the settings and the Makefile.

No Docker engine is needed: what Docker would do is judged from the files, and what they start is started here.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.broker import jars
from streams.child import STRAGGLER_SECONDS
from streams.children import stages
from streams.run_folder import RunFolder
from streams.service import PROGRAMS
from streams.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE_FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
KAFKA, HEAD, SERVICE = SERVICES["kafka"], SERVICES["ray_head"], SERVICES["ray_orchestrator"]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
INSTRUCTIONS = [
    tuple(line.split(maxsplit=1))
    for line in re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text()).splitlines()
    if line.strip() and not line.startswith("#")
]
COPIED = [source for what, rest in INSTRUCTIONS if what == "COPY" for source in rest.split()[:-1]]
RAYS_OWN = {"RAY_AUTH_MODE", "RAY_worker_niceness", "RAY_USAGE_STATS_ENABLED"}


def settings_of_the_service() -> Settings:
    environment = {name: value for name, value in SERVICE["environment"].items() if name not in RAYS_OWN}
    return Settings.read(environment | {"API_KEY": "k" * 16, "API_NAMES": "ray_orchestrator"})


def published(service: dict[str, Any]) -> dict[int, int]:
    """Ports of the host's loopback and the container's ports behind them."""
    found = {}
    for port in service["ports"]:
        host, outside, inside = port.split(":")
        assert host == "127.0.0.1", f"{port} is published beyond the loopback"
        found[int(outside)] = int(inside)
    return found


def listeners(variable: str) -> dict[str, tuple[str, int]]:
    """Host and port by the listener's name."""
    found = {}
    for each in KAFKA["environment"][variable].split(","):
        name, address = each.split("://")
        host, _, port = address.rpartition(":")
        found[name] = (host, int(port))
    return found


def ray_start_options() -> dict[str, str]:
    """The options of the head's `ray start`."""
    words = shlex.split(HEAD["command"][-1].split("ray start", 1)[1])
    return dict(word.removeprefix("--").partition("=")[::2] for word in words)


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """Sources by the container's path."""
    return {
        **{each.split(":")[1]: each.split(":")[0] for each in service["volumes"] if isinstance(each, str)},
        **{each["target"]: each["source"] for each in service["volumes"] if isinstance(each, dict)},
    }


def schema_verdict(file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_file_keeps_the_schema_of_the_compose_specification() -> None:
    verdict = schema_verdict(COMPOSE_FILE)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


def test_a_misspelt_key_breaks_the_schema(tmp_path: Path) -> None:
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(COMPOSE_FILE.read_text().replace("stop_grace_period", "stop_grace_peroid"))
    verdict = schema_verdict(broken)
    assert verdict.returncode == 1
    assert "stop_grace_peroid" in verdict.stdout


def test_the_services_are_those_of_the_specification_all_in_the_profile_ray() -> None:
    assert set(SERVICES) == {"kafka", "ray_head", "ray_orchestrator"}
    assert all(service["profiles"] == ["ray"] for service in SERVICES.values())


def test_nothing_is_published_beyond_the_loopback_and_each_port_under_its_own_number() -> None:
    for service in SERVICES.values():
        ports = published(service)
        assert all(outside == inside for outside, inside in ports.items())
        assert "network_mode" not in service


def test_it_does_not_start_without_a_key_and_answers_to_its_name_between_containers() -> None:
    assert SERVICE["environment"]["API_KEY"].startswith("${API_KEY:?")
    assert SERVICE["environment"]["API_NAMES"] == "${API_NAMES:-ray_orchestrator}"
    assert "ray_orchestrator" in settings_of_the_service().names


def test_the_published_ports_are_the_defaults_of_the_settings() -> None:
    assert set(published(SERVICE)) == {Settings().api_port} == {settings_of_the_service().api_port} == {8100}
    dashboard, predictions = Settings().ray_dashboard_port, Settings().serve_port
    assert set(published(HEAD)) == {dashboard, predictions} == {int(ray_start_options()["dashboard-port"]), 8000}
    assert predictions == settings_of_the_service().serve_port


def test_every_variable_of_the_service_is_one_of_the_settings_or_of_rays_own() -> None:
    known = {name.upper() for name in Settings.model_fields} | RAYS_OWN
    assert set(SERVICE["environment"]) <= known
    assert set(HEAD["environment"]) <= RAYS_OWN


def test_the_service_finds_the_broker_and_the_ray_head() -> None:
    settings = settings_of_the_service()
    assert not settings.embedded_broker
    assert not settings.own_ray
    assert settings.kafka_bootstrap_servers == "kafka:{}".format(listeners("KAFKA_LISTENERS")["INSIDE"][1])
    assert settings.ray_address == f"ray_head:{ray_start_options()['port']}"
    assert all(SERVICE["depends_on"][name]["condition"] == "service_healthy" for name in ("kafka", "ray_head"))


def test_clients_of_the_broker_are_sent_to_an_address_that_they_reach() -> None:
    inside, advertised = listeners("KAFKA_LISTENERS"), listeners("KAFKA_ADVERTISED_LISTENERS")
    assert advertised["INSIDE"] == ("kafka", inside["INSIDE"][1])
    assert advertised["HOST"] == ("127.0.0.1", inside["HOST"][1])
    assert set(published(KAFKA)) == {inside["HOST"][1]}


def test_data_and_features_lie_where_the_settings_say_and_outlive_the_containers() -> None:
    settings, mounted = settings_of_the_service(), mounts(SERVICE)
    assert mounted[str(settings.data_dir)] == "data"
    assert mounted[str(settings.features_folder)] == "${HOST_FEATURES_DIR:-./data/features_parquet}"
    assert settings.features_folder == settings.data_dir / "features_parquet"
    assert Settings().features_folder.absolute() == Path.cwd() / "data" / "features_parquet"
    assert mounts(KAFKA)[KAFKA["environment"]["KAFKA_LOG_DIRS"]] == "kafka"
    assert set(COMPOSE["volumes"]) == {"data", "kafka", "ray_token"}


def test_the_ray_head_runs_the_same_image_on_the_same_data_behind_the_same_token() -> None:
    for same in ("image", "build", "volumes"):
        assert HEAD[same] == SERVICE[same]
    assert HEAD["environment"]["RAY_AUTH_MODE"] == SERVICE["environment"]["RAY_AUTH_MODE"] == "token"


def test_readiness_is_asked_where_the_service_listens() -> None:
    settings = settings_of_the_service()
    assert settings.api_host == settings.serve_host == "0.0.0.0"
    assert f"http://127.0.0.1:{settings.api_port}/ready" in SERVICE["healthcheck"]["test"][-1]
    assert f"http://127.0.0.1:{ray_start_options()['dashboard-port']}/" in HEAD["healthcheck"]["test"][-1]


def test_docker_waits_longer_than_the_service_drains(tmp_path: Path) -> None:
    settings = settings_of_the_service()
    started = stages(settings, RunFolder(tmp_path), {}, *PROGRAMS)
    drain = sum(max(child.grace for child in stage) for stage in started) + STRAGGLER_SECONDS
    assert float(SERVICE["stop_grace_period"].removesuffix("s")) > drain


def test_the_service_is_asked_to_end_when_the_ray_node_beside_it_ends(tmp_path: Path) -> None:
    stubs = {
        "ray": '#!/bin/sh\necho "$@" > ray-was-asked\nuntil [ -e is-up ]; do sleep 0.01; done',
        "orchestrator": "#!/bin/sh\ntrap 'echo drained; exit 0' TERM\ntouch is-up\nsleep 30 & wait",
    }
    for name, script in stubs.items():
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    command = [word.replace("$$", "$") for word in SERVICE["command"]]
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RAY_ADDRESS": SERVICE["environment"]["RAY_ADDRESS"]}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "drained\n"
        os.killpg(shell.pid, 9)
    assert (tmp_path / "ray-was-asked").read_text() == "start --address=ray_head:6379 --num-cpus=0 --block\n"


def test_the_brokers_image_is_the_version_that_is_embedded() -> None:
    assert KAFKA["image"] == f"apache/kafka:{jars.VERSION}"


@pytest.mark.slow
def test_the_start_up_program_of_the_brokers_image_accepts_its_variables(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("default", "mounted", "final", "log")}
    for folder in folders.values():
        folder.mkdir()
    class_path = os.pathsep.join(map(str, jars.class_path(jars.home(), jars.listed(), lambda done, total: None)))
    asked = [f"--{name}-configs-dir={folders[name]}" for name in ("default", "mounted", "final")]
    setup = subprocess.run(
        [jars.java(), "-XX:TieredStopAtLevel=1", "-cp", class_path, "kafka.docker.KafkaDockerWrapper", "setup", *asked],
        env=KAFKA["environment"] | {"KAFKA_LOG_DIRS": str(folders["log"]), "CLUSTER_ID": "AAAAAAAAAAAAAAAAAAAAAQ"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert setup.returncode == 0, setup.stdout + setup.stderr
    assert (folders["log"] / "meta.properties").exists()


def pip_commands(text: str) -> list[list[str]]:
    """The arguments of each `pip install`, without what only a checkout wants: quiet, editable."""
    found = (shlex.split(line) for line in re.findall(r"-m pip install (.*)", text))
    return [[word for word in words if word not in ("--quiet", "--editable")] for words in found]


def test_the_image_is_installed_as_make_setup_installs() -> None:
    recipe = (ROOT / "Makefile").read_text().split("\n.venv/.ready:")[1].split("\n\n")[0]
    assert pip_commands((ROOT / "Dockerfile").read_text()) == pip_commands(recipe)
    assert (ROOT / "requirements" / "lock.txt").is_file()


def test_the_images_python_is_the_oldest_that_is_supported_as_is_the_lock_files() -> None:
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert ("FROM", f"python:{oldest}-slim") in INSTRUCTIONS
    assert f"--python-version {oldest} " in (ROOT / "Makefile").read_text()


def test_the_image_runs_the_service_as_a_user_who_owns_the_data() -> None:
    user = [rest for what, rest in INSTRUCTIONS if what == "USER"][-1]
    assert user != "root"
    owned = next(rest for what, rest in INSTRUCTIONS if what == "RUN" and f"--owner {user}" in rest)
    assert {"/app/data", f"/home/{user}/.ray"} <= set(owned.split())
    assert INSTRUCTIONS[-1] == ("CMD", '["orchestrator", "up"]')


def test_what_the_dockerfile_copies_is_let_through_and_makes_the_whole_project(tmp_path: Path) -> None:
    let_through = {
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    assert set(COPIED) == let_through
    context = tmp_path / "context"
    for source in COPIED:
        target = context / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, target)
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(tmp_path), "."]
    subprocess.run([sys.executable, "-m", "pip", *build], cwd=context, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    files = [file for name in packages for file in (context / name).rglob("*") if file.is_file()]
    with zipfile.ZipFile(wheel) as archive:
        assert {file.relative_to(context).as_posix() for file in files} <= set(archive.namelist())

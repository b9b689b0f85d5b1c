from pathlib import Path

from streams import ports
from streams.run_folder import RunFolder
from streams.serve_port import serve_address, served_at
from streams.settings import Settings


def settings(tmp_path: Path, port: int, **variables: str) -> Settings:
    return Settings.read({"DATA_DIR": str(tmp_path), "SERVE_PORT": str(port), **variables})


def test_the_next_free_port_is_chosen_and_recorded(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with ports.bind(ports.free()) as taken:
        port = taken.getsockname()[1]
        with serve_address(settings(tmp_path, port), folder) as (host, chosen):
            assert host == "127.0.0.1"
            assert port < chosen <= port + ports.NEIGHBOURS
            assert served_at(folder) is None
    assert served_at(folder) == f"http://127.0.0.1:{chosen}"


def test_any_port_is_the_one_of_the_last_time(tmp_path: Path) -> None:
    chosen = set()
    for _ in range(3):
        with serve_address(settings(tmp_path, 0), RunFolder(tmp_path)) as (_, port):
            chosen.add(port)
    assert len(chosen) == 1


def test_on_another_s_cluster_the_port_is_what_was_asked_for(tmp_path: Path) -> None:
    with ports.bind(ports.free()) as taken:
        port = taken.getsockname()[1]
        asked = settings(tmp_path, port, RAY_ADDRESS="ray_head:6379", SERVE_HOST="0.0.0.0", API_KEY="k" * 16)
        with serve_address(asked, RunFolder(tmp_path)) as chosen:
            assert chosen == ("0.0.0.0", port)

"""Ray and Ray Serve as REST and the dashboard see them, and what goes wrong with Kafka in their words."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException

from orchestrator.api.ports import Cluster, NotSent, Unreachable
from orchestrator.core.errors import Refused
from schemas.base import format_instant
from schemas.search import SearchRequest
from streams import faces, halting
from streams.faces import KafkaFace, RayFace, ServeFace
from streams.requesting import NotProduced
from streams.run_folder import RunFolder
from tests.support.faces import NOW

REQUEST = SearchRequest(request_id="r", strategy="grid", algorithm="elasticnet", tickers=("AAPL",))


class _Replica(BaseHTTPRequestHandler):
    """Says what it was asked, with a status that is not the usual one."""

    def do_POST(self) -> None:
        said = self.path.encode() + b" " + self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(422)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *arguments: object) -> None:
        """Nothing is logged."""


@pytest.fixture
def replica() -> Iterator[int]:
    """The port of a server that answers in place of Ray Serve."""
    server = HTTPServer(("127.0.0.1", 0), _Replica)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


async def test_the_cluster_is_what_the_worker_said_lately(tmp_path: Path) -> None:
    folder, now = RunFolder(tmp_path), NOW
    ray = RayFace(folder, lambda: now)
    with pytest.raises(Unreachable):
        await ray.cluster()
    folder.mark_cluster({"nodes": 1, "total": {"CPU": 2.0}, "available": {"CPU": 0.5}, "at": format_instant(NOW)})
    assert await ray.cluster() == Cluster(1, {"CPU": 2.0}, {"CPU": 0.5})
    now = NOW + timedelta(minutes=1)
    with pytest.raises(Unreachable, match="lately"):
        await ray.cluster()


async def test_ray_has_a_dashboard_where_its_head_has_one(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    ray = RayFace(folder, lambda: NOW)
    assert ray.dashboard is None
    folder.mark_ready("ray", {"address": "127.0.0.1:1", "dashboard": ""})
    assert ray.dashboard is None
    folder.mark_ready("ray", {"address": "127.0.0.1:1", "dashboard": "http://127.0.0.1:8265"})
    assert ray.dashboard == "http://127.0.0.1:8265"


async def test_a_prediction_is_handed_on_as_it_comes(tmp_path: Path, replica: int) -> None:
    folder = RunFolder(tmp_path)
    serve = ServeFace(folder)
    try:
        assert serve.address is None
        with pytest.raises(Unreachable, match="no ensemble has been deployed"):
            await serve.predict("bot", b"{}")
        folder.mark_ready("serve", {"url": f"http://127.0.0.1:{replica}", "port": replica})
        assert await serve.predict("bot", b'{"features": {}}') == (422, b'/bot {"features": {}}')
        assert (await serve.predict("../bot", b""))[1] == b"/..%2Fbot "
        folder.mark_ready("serve", {"url": "http://127.0.0.1:1", "port": 1})
        with pytest.raises(Unreachable, match="Ray Serve does not answer"):
            await serve.predict("bot", b"{}")
    finally:
        await serve.close()


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (NotProduced("r", "timed out"), NotSent),
        (KafkaException(KafkaError(KafkaError._TRANSPORT)), Unreachable),
        (halting.EpochsUsedUp("all"), Refused),
    ],
)
async def test_what_goes_wrong_with_kafka_is_told_in_words_of_the_port(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, told: type[Exception]
) -> None:
    def fails(*arguments: object) -> None:
        raise raised

    monkeypatch.setattr(faces, "produce_request", fails)
    with pytest.raises(told):
        await KafkaFace({}).search(REQUEST)

"""The API's process: REST, the dashboard, health, readiness and metrics of the copy on one data folder."""

from contextlib import AsyncExitStack
from datetime import UTC, datetime

import uvicorn

from orchestrator.api import pages
from orchestrator.api.app import create
from orchestrator.api.guard import Guard, Rules
from orchestrator.api.ports import Faces
from orchestrator.features.sources import source_at
from orchestrator.store.database import Database
from schemas.search import SearchRequest
from schemas.topics import MAX_MESSAGE_BYTES
from serving.artifacts import Artifacts
from streams import checks, metrics, ports, ray_head
from streams.faces import KafkaFace, RayFace, ServeFace
from streams.feed import KafkaFeed
from streams.judging import judge
from streams.kafka import client_config
from streams.profiles import Profiles
from streams.run_folder import RunFolder
from streams.settings import Settings


async def serve_api(settings: Settings, folder: RunFolder) -> None:
    """Answer until SIGTERM or SIGINT.

    Raises:
        NotRunning: the broker or the Ray head is this data folder's own, and does not run.
        NoFreePort: neither API_PORT nor one of those after it is free.
    """
    config = client_config(settings, folder)
    async with AsyncExitStack() as stack:
        faces = await composed(settings, folder, stack)
        app = create(
            faces,
            {
                "broker": checks.broker_answers(config),
                "store": checks.store_answers(faces.database),
                "ray": checks.ray_answers(ray_head.address(settings, folder)),
                "worker": checks.worker_moves(folder, utc_now),
            },
            metrics.exposition,
        )
        pages.mount(app, faces)
        listening = ports.bind(settings.api_port, settings.api_host)
        host, port = listening.getsockname()[:2]
        rules = Rules(settings.key, settings.names, MAX_MESSAGE_BYTES, settings.api_requests_per_minute)
        # A stream of events ends when its reader leaves: it is not waited for.
        server = uvicorn.Server(
            uvicorn.Config(
                Guard(app, rules), log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=3
            )
        )
        # Who connects from now on waits for an answer, and gets one.
        folder.mark_ready("api", {"url": ports.url(host, port)})
        await server.serve(sockets=[listening])


async def composed(settings: Settings, folder: RunFolder, stack: AsyncExitStack) -> Faces:
    """What REST and the dashboard are made of; the stack closes it."""
    config = client_config(settings, folder)
    database = Database.open(settings.store_url)
    stack.push_async_callback(database.close)
    serve = ServeFace(folder, settings.key)
    stack.push_async_callback(serve.close)
    feed = KafkaFeed(config)
    feed.start()
    stack.push_async_callback(feed.stop)
    judging, source = judge(settings), source_at(settings.features_folder, settings.features_db)

    def trials(request: SearchRequest, now: datetime) -> int:
        return judging(request, now).trials

    return Faces(
        database=database,
        kafka=KafkaFace(config),
        ray=RayFace(folder, utc_now),
        serve=serve,
        feed=feed,
        profiles=Profiles(Artifacts(settings.artifacts_folder)),
        judge=trials,
        tickers=source.tickers,
        timeframes=source.timeframes,
        algorithms=judging.algorithms,
        limits=judging.limits,
        clock=utc_now,
        api_key=settings.key,
        data_dir=settings.data_dir,
    )


def utc_now() -> datetime:
    """The clock."""
    return datetime.now(UTC)

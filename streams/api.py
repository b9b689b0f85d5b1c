"""The API's process: health, readiness and metrics of the copy on one data folder."""

from datetime import UTC, datetime

import uvicorn

from orchestrator.api.app import create
from orchestrator.store.database import Database
from streams import checks, metrics, ports, ray_head
from streams.kafka import client_config
from streams.run_folder import RunFolder
from streams.settings import Settings


async def serve_api(settings: Settings, folder: RunFolder) -> None:
    """Answer until SIGTERM or SIGINT.

    Raises:
        NotRunning: the broker or the Ray head is this data folder's own, and does not run.
        NoFreePort: neither API_PORT nor one of those after it is free.
    """
    database = Database.open(settings.store_url)
    app = create(
        {
            "broker": checks.broker_answers(client_config(settings, folder)),
            "store": checks.store_answers(database),
            "ray": checks.ray_answers(ray_head.address(settings, folder)),
            "worker": checks.worker_moves(folder, lambda: datetime.now(UTC)),
        },
        metrics.exposition,
    )
    listening = ports.bind(settings.api_port, settings.api_host)
    host, port = listening.getsockname()[:2]
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    # Who connects from now on waits for an answer, and gets one.
    folder.mark_ready("api", {"url": f"http://{f'[{host}]' if ':' in host else host}:{port}"})
    try:
        await server.serve(sockets=[listening])
    finally:
        await database.close()

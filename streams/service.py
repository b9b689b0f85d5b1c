"""The service as a whole: its children, what listens where, and the API process."""

from collections.abc import Mapping

from rich.console import Console

from orchestrator.store.database import Database
from streams.children import stages
from streams.display import show_rows
from streams.run_folder import RunFolder
from streams.settings import Settings
from streams.supervisor import Supervisor

PROGRAMS = ("worker", "api")


async def keep_up(settings: Settings, console: Console, environ: Mapping[str, str]) -> int:
    """Keep the service going until it is asked to end; the exit code.

    Raises:
        FolderInUse: another copy runs on the data folder.
        UnusableDatabase: the database's file is damaged, or no such database.
    """
    await _verify(settings)
    folder = RunFolder(settings.data_dir)

    def report(child: str, said: str) -> None:
        console.print(f"{child:>7}  {said}", highlight=False, markup=False)

    supervisor = Supervisor(stages(settings, folder, environ, *PROGRAMS), folder, report=report)
    return await supervisor.run(
        when_ready=lambda: show_rows(
            console, ("what", "where"), summary(settings, folder), title="Ray Orchestrator is up; Ctrl-C ends it."
        )
    )


async def _verify(settings: Settings) -> None:
    database = Database.open(settings.store_url)
    try:
        await database.verify()
    finally:
        await database.close()


def summary(settings: Settings, folder: RunFolder) -> list[tuple[str, str]]:
    """What listens where, and how to begin."""
    records = (folder.running(name) for name in ("broker", "ray", "api"))
    broker, ray, api = ({} if record is None else record.facts for record in records)
    kafka = f"{broker['bootstrap']} (embedded)" if broker else settings.kafka_bootstrap_servers
    dashboard = [("Ray dashboard", str(ray["dashboard"]))] if ray.get("dashboard") else []
    return [
        ("Kafka", kafka),
        ("Ray", str(ray.get("address") or settings.ray_address)),
        *dashboard,
        *((name, f"{api.get('url', '')}/{name}") for name in ("health", "ready", "metrics")),
        ("features", str(settings.features_folder)),
        ("logs", str(folder.logs)),
        ("ask for a search", "orchestrator request FILE --watch"),
        ("follow signals", "orchestrator signals"),
    ]

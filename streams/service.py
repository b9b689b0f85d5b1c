"""The service as a whole: its children, what listens where, and the API process."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from streams.children import stages
from streams.run_folder import RunFolder
from streams.settings import Settings
from streams.supervisor import Supervisor

PROGRAMS = ("worker", "api")


async def keep_up(settings: Settings, console: Console, environ: Mapping[str, str]) -> int:
    """Keep the service going until it is asked to end; the exit code.

    Raises:
        FolderInUse: another copy runs on the data folder.
    """
    folder = RunFolder(settings.data_dir)

    def report(child: str, said: str) -> None:
        console.print(f"{child:>7}  {said}", highlight=False, markup=False)

    supervisor = Supervisor(stages(settings, folder, environ, *PROGRAMS), folder, report=report)
    return await supervisor.run(when_ready=lambda: console.print(summary(settings, folder)))


def summary(settings: Settings, folder: RunFolder) -> Table:
    """What listens where, and how to begin."""
    records = (folder.running(name) for name in ("broker", "ray", "api"))
    broker, ray, api = ({} if record is None else record.facts for record in records)
    table = Table(title="Ray Orchestrator is up; Ctrl-C ends it", show_header=False, title_justify="left")
    kafka = broker.get("bootstrap")
    table.add_row("Kafka", f"{kafka} (embedded)" if kafka else settings.kafka_bootstrap_servers)
    table.add_row("Ray", str(ray.get("address") or settings.ray_address))
    if ray.get("dashboard"):
        table.add_row("Ray dashboard", str(ray["dashboard"]))
    table.add_row("health, metrics", f"{api.get('url', '')}/health  /ready  /metrics")
    table.add_row("features", str(settings.features_folder))
    table.add_row("data, logs", f"{folder.path}, {folder.logs}")
    table.add_row("ask for a search", "orchestrator request FILE --watch")
    table.add_row("follow signals", "orchestrator signals")
    return table

"""The children of one running copy, in the order in which they start."""

from collections.abc import Mapping

from streams.broker.embedded import EmbeddedBroker
from streams.child import Child
from streams.programs import OwnProgram
from streams.ray_head import RayHead, client_environment
from streams.run_folder import RunFolder
from streams.settings import SECRET, Settings

Stages = tuple[tuple[Child, ...], ...]
"""Children of one stage start together, when those of the stages before are ready, and stop in the reverse order."""


def stages(settings: Settings, folder: RunFolder, environ: Mapping[str, str], *programs: str) -> Stages:
    """The broker and the Ray head, where they are this copy's own, then each of `programs`, such as worker and api."""
    inherited = dict(environ) | {"DATA_DIR": str(settings.data_dir)}
    # Models and algorithms run in Ray's workers: what those need, they are told.
    harmless = {name: value for name, value in inherited.items() if name.lower() not in SECRET}
    foundations: list[Child] = []
    if settings.embedded_broker:
        foundations.append(EmbeddedBroker(folder, settings.kafka_port, harmless))
    if settings.own_ray:
        foundations.append(RayHead(folder, settings, harmless))
    beside_ray = inherited | (client_environment(folder) if settings.own_ray else {})
    ours: list[tuple[Child, ...]] = [(OwnProgram(name, folder, beside_ray),) for name in programs]
    return tuple(stage for stage in (tuple(foundations), *ours) if stage)

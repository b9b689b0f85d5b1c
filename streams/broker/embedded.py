"""The embedded broker: Apache Kafka in KRaft mode, one node, on the loopback, its data in the data folder."""

import base64
import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams import ports
from streams.broker import jars
from streams.child import CannotStart, Facts, Launch
from streams.run_folder import RunFolder

_SERVER_PROPERTIES: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers={host}:{controller_port}
controller.listener.names=CONTROLLER
listeners=CLIENT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=CLIENT://{host}:{port}
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENT
log.dirs={data}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
"""
# Paths are relative to the broker's own folder: in a properties file a comma or a letter beyond Latin would break one.
_LOGGING: Final = """\
status=error
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName=../logs/kafka.log
appender.file.filePattern=../logs/kafka.log.%i
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d{ISO8601} %-5p %c{1}: %m%n
appender.file.policies.type=SizeBasedTriggeringPolicy
appender.file.policies.size=16MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.max=1
rootLogger.level=warn
rootLogger.appenderRef.file.ref=file
"""
# A small heap and the first compiler tier: up in two seconds, and enough for one machine.
_JVM: Final = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "--sun-misc-unsafe-memory-access=allow",
)
_FORMAT_SECONDS: Final = 60
_JARS_A_LINE: Final = 10


class EmbeddedBroker:
    """The child that is the broker.

    Its facts: `bootstrap`, the address for clients, and `wanted_port`, the setting that it was chosen for.

    Args:
        folder: the copy it belongs to.
        port: the port that is wanted, or the next free one after it; 0: any.
        environment: what the Java runtime inherits.
        home: where the jars lie; in the Python environment unless told.
    """

    name = "broker"
    patience = 60.0
    grace = 20.0

    def __init__(self, folder: RunFolder, port: int, environment: Mapping[str, str], home: Path | None = None) -> None:
        self._folder = folder
        self._port = port
        self._environment = environment
        self._home = jars.home() if home is None else home
        self._data = folder.kafka / "data"
        self._temporary = folder.kafka / "tmp"

    def prepare(self, say: Callable[[str], None]) -> Launch:
        """See that the parts are there, the storage is formatted and the ports are free.

        Raises:
            BrokerUnavailable: the parts cannot be had.
            CannotStart: the storage cannot be formatted.
        """
        java = jars.java()

        def progress(done: int, total: int) -> None:
            if done == total or done % _JARS_A_LINE == 0:
                say(f"fetches Kafka {jars.VERSION}: {done} of {total} jars")

        class_path = jars.class_path(self._home, jars.listed(), progress)
        zstd = jars.native_zstd(self._home, jars.listed())
        self._folder.kafka.mkdir(parents=True, exist_ok=True)
        self._folder.logs.mkdir(parents=True, exist_ok=True)
        self.clear()
        self._temporary.mkdir()
        (self._folder.kafka / "log4j2.properties").write_text(_LOGGING)
        program = (
            str(java),
            *_JVM,
            f"-Djava.io.tmpdir={self._temporary.name}",
            "-Dlog4j2.configurationFile=log4j2.properties",
            *([] if zstd is None else [f"-DZstdNativePath={zstd}"]),
            "-classpath",
            os.pathsep.join(map(str, class_path)),
        )
        port = ports.free(self._port, before=self._port_before())
        if not self._data.exists():
            say("formats its storage")
            self._format(program, port)
        return Launch(
            command=(*program, "kafka.Kafka", self._configure(self._data, port)),
            environment=self._environment,
            facts={"bootstrap": f"{ports.LOOPBACK}:{port}", "wanted_port": self._port},
            directory=self._folder.kafka,
        )

    def ready(self, launch: Launch, pid: int) -> Facts | None:
        """Its facts once it lists its topics; another broker on the same port is not taken for it."""
        bootstrap = str(launch.facts["bootstrap"])
        host, port = bootstrap.split(":")
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            # A broker that comes up refuses now and then: nothing to report.
            answer = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(timeout=2)
        except (OSError, KafkaException):
            return None
        return launch.facts if answer.cluster_id == self._cluster() else None

    def clear(self) -> None:
        """Remove what the Java runtime unpacked."""
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _port_before(self) -> int | None:
        """The port it last listened on, so that clients find it again; none if another was wanted then."""
        record = self._folder.recorded(self.name)
        if record is None or record.facts.get("wanted_port") != self._port:
            return None
        return int(str(record.facts["bootstrap"]).rpartition(":")[2])

    def _cluster(self) -> str:
        lines = (self._data / "meta.properties").read_text().splitlines()
        return next(line.removeprefix("cluster.id=") for line in lines if line.startswith("cluster.id="))

    def _configure(self, data: Path, port: int) -> str:
        """Write server.properties; returns its name."""
        path = self._folder.kafka / "server.properties"
        path.write_text(
            _SERVER_PROPERTIES.format(host=ports.LOOPBACK, port=port, controller_port=ports.free(), data=data.name)
        )
        return path.name

    def _format(self, program: tuple[str, ...], port: int) -> None:
        """Format aside and put that in place whole, so that a storage half formatted is never found."""
        aside = self._folder.kafka / "data.partial"
        shutil.rmtree(aside, ignore_errors=True)
        # A dash in front would be taken for an option.
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[:22].replace("-", "_")
        properties = self._configure(aside, port)
        try:
            subprocess.run(
                [*program, "kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c", properties],
                cwd=self._folder.kafka,
                env=self._environment,
                check=True,
                capture_output=True,
                text=True,
                timeout=_FORMAT_SECONDS,
            )
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", None) or str(error)
            raise CannotStart(f"the broker's storage in {aside} cannot be formatted: {said.strip()[-400:]}") from error
        aside.rename(self._data)

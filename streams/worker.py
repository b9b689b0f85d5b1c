"""The worker: the composition root. A Faust app whose agents take batches from Kafka, and the services beside them."""

import asyncio
import gc
import os
import re
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Any

import faust
import ray
import structlog
from faust.app.base import BootStrategy

from orchestrator.core.access import key_digest
from orchestrator.core.calendar import calendar_named
from orchestrator.core.resuming import Resuming
from orchestrator.core.retention import Keeping
from orchestrator.search import lanes
from orchestrator.search.answering import Answers
from orchestrator.search.launching import Launcher
from orchestrator.search.settings import DriverSettings, working_folder
from orchestrator.store.database import Database
from orchestrator.store.errors import DatabaseAway, UnusableDatabase
from schemas.topics import COMMANDS, CONTROL, FEATURE_TICKS, SEARCH_REQUESTS, SIGNAL_STATE, Topic
from serving.artifacts import Artifacts
from serving.assemble import EnsembleAssembler
from serving.deployer import RETENTION_SECONDS, Deployer
from streams import kafka, ray_head
from streams.answering import KnownFirst
from streams.challenging import Challenging
from streams.cluster import ClusterVitals
from streams.commanding import Commands
from streams.controls import Controls, Custody
from streams.delivery import AtLeastOnce, Delivery, ExactlyOnce
from streams.deploying import Deployments
from streams.enlisting import ModelWishes, Places, RayEnlisting
from streams.heartbeats import Heartbeats, Pulse
from streams.intake import Intake
from streams.judging import defaults, judge
from streams.leading import Leadership
from streams.letters import record_at
from streams.memory import SignalMemory
from streams.metrics import BATCH_RECORDS, BATCH_SECONDS
from streams.performance import Performance
from streams.profiles import Profiles
from streams.pruning import Pruning
from streams.publisher import NotDelivered, Publisher
from streams.reader import TopicReader
from streams.reconciling import Reconciler
from streams.relay import OutboxRelay
from streams.resending import Resending
from streams.retraining import Retraining
from streams.routes import Routes
from streams.run_folder import RunFolder
from streams.serve_port import serve_address
from streams.settings import Settings
from streams.source import Batch, KafkaSource, Record, group_of
from streams.ticking import TickPath
from streams.triage import TickRules
from streams.vitals import Vitals
from streams.watching import Watching

log = structlog.get_logger(__name__)

SOURCE = "/orchestrator"
REQUEST_BATCH = 200
TICK_BATCH = 2000
RETRY_SECONDS = 1.0
COLLECT_AFTER = (100_000, 20, 50)
"""Objects made since the last collection: a batch makes tens of thousands, and hardly any of them in circles."""


class _Boot(BootStrategy):
    """Faust runs the agents; Kafka is spoken by librdkafka alone, through the sources and the publishers."""

    enable_kafka = False
    enable_web = False


class StreamsApp(faust.App):
    """The Faust app: agents on channels."""

    BootStrategy = _Boot


def utc_now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


async def carry_out(batch: Batch, topic: Topic, take: Callable[[Sequence[Record]], Awaitable[None]]) -> None:
    """Have a batch taken, and say whether its effect is durable.

    A broker that does not acknowledge, and a database that does not answer, are waited for: the batch stays
    uncommitted, and is taken again. Anything else that goes wrong ends the worker, and the next one reads it again.
    """
    BATCH_RECORDS.labels(topic.name).observe(len(batch.records))
    with BATCH_SECONDS.labels(topic.name).time():
        while True:
            try:
                await take(batch.records)
            except NotDelivered as error:
                log.error("not_delivered", topic=topic.name, missing=error.missing, cause=error.cause)
                await asyncio.sleep(RETRY_SECONDS)
            except DatabaseAway as error:
                log.error("database_away", topic=topic.name, cause=error.cause)
                await asyncio.sleep(RETRY_SECONDS)
            except Exception as error:  # noqa: BLE001 - handed on whole: it ends the worker
                batch.fail(error)
                return
            else:
                batch.succeed()
                return


class Worker:
    """One worker process: what it is made of, and its life from start to drain."""

    def __init__(self, settings: Settings, folder: RunFolder) -> None:
        self._settings = settings
        self._folder = folder
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None

    async def run(self) -> int:
        """Work until asked to stop; the exit code, 1 where something broke.

        Raises:
            UnusableDatabase: the database cannot be used, and will not be by waiting.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        async with AsyncExitStack() as stack:
            await self._start(stack)
            await self._stop.wait()
            log.info("drains")
        if isinstance(self._failure, UnusableDatabase):
            raise self._failure
        if self._failure is not None:
            log.error("ended_by_failure", exc_info=self._failure)
        return 0 if self._failure is None else 1

    async def _start(self, stack: AsyncExitStack) -> None:
        """Build and start everything, each after what it needs; the stack stops it in the reverse order."""
        settings, folder = self._settings, self._folder
        database = Database.open(settings.store_url)
        stack.push_async_callback(database.close)
        await database.upgrade()
        config = kafka.client_config(settings, folder)
        await asyncio.to_thread(kafka.ensure_topics, config)
        await asyncio.to_thread(
            ray.init,
            ray_head.address(settings, folder),
            namespace=settings.ray_namespace,
            log_to_driver=False,
            configure_logging=False,
        )
        stack.callback(ray.shutdown)
        await asyncio.to_thread(lanes.start, driver_settings(settings))

        holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        # A leader outlasts the drivers that stop when it last was heard of: it sees to them.
        part = partial(Leadership, database, holder=holder, ttl=2 * timedelta(seconds=settings.lease_seconds))
        relay = OutboxRelay(part("relay"), await self._publisher(stack, config), utc_now, self._fail)
        routes = Routes()
        artifacts = settings.artifacts_folder
        deployer = Deployer(
            artifacts,
            retention=max(RETENTION_SECONDS, settings.signal_ttl),
            listening=partial(serve_address, settings, folder),
            key_digest=None if settings.key is None else key_digest(settings.key),
        )
        deployments = Deployments(
            leadership=part("deployments"), serving=deployer, routes=routes, clock=utc_now, on_failure=self._fail
        )
        challenging = Challenging(
            leadership=part("challengers"), serving=deployer, clock=utc_now, on_failure=self._fail
        )
        # The routes must be known before the first tick is read: a tick that nobody covers is answered by nobody.
        await deployments.load_routes()
        driven, assembler = driver_settings(settings), EnsembleAssembler(Artifacts(artifacts))
        drivers = KnownFirst(database, Answers(driven, assembler, utc_now), Launcher(driven, assembler))
        stack.push_async_callback(drivers.stop)
        reconciler = Reconciler(
            leadership=part("reconciler"),
            drivers=drivers,
            most=settings.max_concurrent_experiments,
            clock=utc_now,
            on_failure=self._fail,
        )
        intake = Intake(
            database=database,
            judge=judge(settings),
            publisher=await self._publisher(stack, config),
            clock=utc_now,
            on_accepted=reconciler.wake,
            may_resume=may_resume(settings),
        )
        places = Places(driven.features_dir, driven.features_db, artifacts, settings.calendar)
        model_wishes = ModelWishes(
            leadership=part("models"),
            enlisting=RayEnlisting(places),
            voting=settings.serve_voting,
            threshold=settings.serve_threshold,
            override=settings.gate_override,
            clock=utc_now,
            on_failure=self._fail,
        )

        def on_change() -> None:
            reconciler.wake()
            model_wishes.wake()

        commanding = await self._publisher(stack, config)
        commands = Commands(
            database=database,
            publisher=commanding,
            clock=utc_now,
            may_resume=may_resume(settings),
            resending=Resending(partial(record_at, config), commanding),
            judge=judge(settings),
            override=settings.gate_override,
            on_change=on_change,
        )
        controls, pulse = Controls(config, utc_now, self._fail), Pulse()
        custody = Custody(controls, await self._publisher(stack, config), utc_now)
        memory = SignalMemory(partial(states, config))
        ticks = TickPath(
            answerer=deployer,
            routes=routes,
            memory=memory,
            delivery=await self._delivery(stack, config, lambda: reading.group_metadata()),
            calendar=calendar_named(settings.calendar),
            rules=TickRules(
                ttl=timedelta(seconds=settings.signal_ttl),
                most_age=timedelta(days=settings.model_max_age_days) if settings.model_max_age_days else None,
                margin=settings.outlier_margin,
                conflates_from=TICK_BATCH if settings.signal_conflate else None,
            ),
            controls=controls,
            pulse=pulse,
            clock=utc_now,
            source=SOURCE,
        )
        kept = settings.data_dir / "faust"
        # Faust makes no more than the last folder of its path.
        kept.mkdir(parents=True, exist_ok=True)
        app = StreamsApp(
            "orchestrator",
            broker="kafka://",
            datadir=str(kept),
            topic_disable_leader=True,
        )
        reading = self._consume(
            app,
            FEATURE_TICKS,
            config,
            ticks.take,
            size=TICK_BATCH,
            # One is decided while another's signals, and the states of a third, are on their way.
            at_once=3,
            stores=settings.signal_guarantee == "at_least_once",
            on_assigned=memory.restore,
        )
        sources = [
            self._consume(app, SEARCH_REQUESTS, config, intake.take, size=REQUEST_BATCH),
            self._consume(app, COMMANDS, config, commands.take, size=REQUEST_BATCH),
            self._consume(app, CONTROL, config, custody.take, size=REQUEST_BATCH),
            reading,
        ]
        await app.start()
        stack.push_async_callback(app.stop)
        # Channels let nothing through until Faust's own consumer has partitions; there is none.
        app.flow_control.resume()
        pruning = Pruning(
            leadership=part("pruning"),
            artifacts=Artifacts(artifacts),
            working=working_folder(driven.tune_dir),
            keeping=Keeping(unreferred=timedelta(days=settings.retention_days)),
            clock=utc_now,
            on_failure=self._fail,
        )
        vitals = Vitals(config, database, folder, utc_now, self._fail)
        cluster = ClusterVitals(folder, utc_now, self._fail)
        performance = Performance(config, part("performance"), utc_now, self._fail)
        profiles = Profiles(Artifacts(artifacts))
        watching = Watching(config, part("watching"), profiles, utc_now, self._fail)
        retraining = Retraining(part("retraining"), judge(settings), profiles, utc_now, self._fail)
        heartbeats = Heartbeats(
            measuring=kafka.Lags(config, FEATURE_TICKS.name, group_of(FEATURE_TICKS)),
            publisher=await self._publisher(stack, config),
            controls=controls,
            pulse=pulse,
            assigned=lambda: reading.assigned,
            serving=lambda: deployments.serves,
            instance=instance_name(holder),
            clock=utc_now,
            source=SOURCE,
            on_failure=self._fail,
        )
        # The halts first: they must be known before the first tick is read.
        leading = (relay, deployments, challenging, reconciler, model_wishes, pruning)
        beside = (vitals, cluster, performance, watching, retraining)
        for service in (controls, *leading, *beside, *sources, heartbeats):
            await service.start()
            stack.push_async_callback(service.stop)
        await self._read_or_stop(sources)
        if not self._stop.is_set():
            _settle_memory()
            folder.mark_ready("worker")
            log.info("ready")

    async def _read_or_stop(self, sources: Sequence[KafkaSource]) -> None:
        """Wait until every source reads; what breaks before ends the wait, as a signal does."""
        waiting = (
            asyncio.ensure_future(self._stop.wait()),
            asyncio.gather(*(source.ready.wait() for source in sources)),
        )
        _, left = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for each in left:
            each.cancel()

    def _consume(
        self,
        app: StreamsApp,
        topic: Topic,
        config: dict[str, Any],
        take: Callable[[Sequence[Record]], Awaitable[None]],
        **options: Any,
    ) -> KafkaSource:
        """A source for a topic, and the agent that takes its batches."""
        channel = app.channel(maxsize=1)
        in_work: set[asyncio.Task[None]] = set()

        async def agent(batches: Any) -> None:
            # The source says how many are in work at once; whoever takes them keeps them in order.
            async for batch in batches:
                task = asyncio.create_task(carry_out(batch, topic, take))
                in_work.add(task)
                task.add_done_callback(in_work.discard)

        app.agent(channel, name=topic.name, concurrency=1)(agent)
        return KafkaSource(
            topic, config=config, group=group_of(topic), channel=channel, on_failure=self._fail, **options
        )

    async def _delivery(self, stack: AsyncExitStack, config: dict[str, Any], group: Callable[[], Any]) -> Delivery:
        if self._settings.signal_guarantee == "at_least_once":
            signals, states = [await self._publisher(stack, config, compression="lz4") for _ in range(2)]
            return AtLeastOnce(signals, states)
        # One worker runs on a data folder: after a restart it must abort what it left open, before it reads anything.
        place = sha256(str(self._settings.data_dir).encode()).hexdigest()[:16]
        delivery = ExactlyOnce(config, worker=f"orchestrator.{socket.gethostname()}.{place}", group=group)
        stack.push_async_callback(delivery.close)
        await delivery.start()
        return delivery

    @staticmethod
    async def _publisher(stack: AsyncExitStack, config: dict[str, Any], **options: Any) -> Publisher:
        publisher = Publisher(config, **options)
        stack.push_async_callback(publisher.close)
        return publisher

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._stop.set()


def _settle_memory() -> None:
    """Have the garbage collector leave alone what stays: it would look at all of it again for every few batches."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def instance_name(holder: str) -> str:
    """What a worker is called on the wire: the end of its holder's name, which differs between workers."""
    return re.sub("[^A-Za-z0-9_-]", "-", holder)[-64:]


def states(config: dict[str, Any], partitions: Sequence[int]) -> list[Record]:
    """Every record of some partitions of `signal-state`."""
    with TopicReader(config, [SIGNAL_STATE], partitions=partitions) as reader:
        return reader.read_to_end()


def driver_settings(settings: Settings) -> DriverSettings:
    """What drivers are told."""
    return DriverSettings(
        database_url=settings.store_url,
        features_dir=settings.features_folder,
        tune_dir=settings.data_dir / "tune",
        namespace=settings.ray_namespace,
        cpus_per_trial=settings.ray_num_cpus_per_trial,
        gpus_per_trial=settings.ray_num_gpus_per_trial,
        trial_seconds=settings.trial_seconds,
        trial_memory_mb=settings.trial_memory_mb,
        stream_above_mb=settings.stream_above_mb,
        lease_seconds=settings.lease_seconds,
        defaults=defaults(settings),
        features_db=settings.features_db,
        max_concurrent_trials=settings.ray_max_concurrent_trials,
        metric=settings.tune_metric,
        mode=settings.tune_mode,
        voting=settings.serve_voting,
        threshold=settings.serve_threshold,
        gate_override=settings.gate_override,
        calendar=settings.calendar,
        float_digits=settings.tune_float_precision,
        skip_duplicate=settings.tune_skip_duplicate,
        use_fingerprint_db=settings.tune_use_fingerprint_db,
    )


def may_resume(settings: Settings) -> Resuming:
    """What may be gone on with."""
    return Resuming(unfinished=settings.tune_resume_unfinished, errored=settings.tune_resume_errored)

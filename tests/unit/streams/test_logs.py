"""Log lines of our own and of libraries have one shape."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from streams import logs


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_that_is_no_terminals_is_json_with_what_is_bound() -> None:
    stream = io.StringIO()
    logs.set_up("auto", "info", program="worker", stream=stream)
    with structlog.contextvars.bound_contextvars(trace_id="abc"):
        structlog.get_logger("ours").info("batch_done", records=3)
    (line,) = lines_of(stream)
    assert {"event": "batch_done", "records": 3, "trace_id": "abc", "program": "worker", "level": "info"}.items() <= (
        line.items()
    )
    assert line["timestamp"].endswith("Z")


def test_a_librarys_line_has_the_same_shape() -> None:
    stream = io.StringIO()
    logs.set_up("json", "info", program="worker", stream=stream)
    with structlog.contextvars.bound_contextvars(trace_id="abc"):
        logging.getLogger("library").warning("lost %s", "it")
    (line,) = lines_of(stream)
    assert (line["event"], line["level"], line["logger"], line["trace_id"]) == ("lost it", "warning", "library", "abc")


def test_an_exception_stays_one_line() -> None:
    stream = io.StringIO()
    logs.set_up("json", "info", program="worker", stream=stream)
    try:
        raise ValueError("no")
    except ValueError:
        structlog.get_logger("ours").exception("failed")
        logging.getLogger("library").exception("failed")
    ours, theirs = lines_of(stream)
    assert ours["exception"][0]["exc_type"] == theirs["exception"][0]["exc_type"] == "ValueError"


@pytest.mark.parametrize(("level", "heard"), [("debug", 3), ("info", 2), ("error", 1)])
def test_what_is_less_important_than_the_level_is_not_written(level: str, heard: int) -> None:
    stream = io.StringIO()
    logs.set_up("json", level, program="worker", stream=stream)
    log = structlog.get_logger("ours")
    log.debug("a")
    log.info("b")
    log.error("c")
    assert len(lines_of(stream)) == heard


def test_talkative_libraries_are_heard_from_warnings_on() -> None:
    stream = io.StringIO()
    logs.set_up("json", "info", program="worker", stream=stream)
    logging.getLogger("faust.app").info("chatter")
    logging.getLogger("faust.app").warning("news")
    assert [line["event"] for line in lines_of(stream)] == ["news"]


def test_pythons_warnings_are_log_lines() -> None:
    stream = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logs.set_up("json", "info", program="worker", stream=stream)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)
    assert "DeprecationWarning: old" in lines_of(stream)[0]["event"]


def test_a_console_line_is_for_people() -> None:
    stream = io.StringIO()
    logs.set_up("console", "info", program="worker", stream=stream)
    structlog.get_logger("ours").info("batch_done", records=3)
    assert "batch_done" in stream.getvalue()
    assert "records=3" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_a_log_is_cut_where_it_stands_so_that_its_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("a") as writer:
        writer.write("x" * 100)
        writer.flush()
        logs.keep_small(path, largest=99)
        writer.write("more")
    assert path.read_text() == "more"
    assert (tmp_path / "log.1").read_text() == "x" * 100


def test_a_log_of_the_largest_size_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("x" * 100)
    logs.keep_small(path, largest=100)
    logs.keep_small(tmp_path / "none", largest=100)
    assert [each.name for each in tmp_path.iterdir()] == ["log"]


def test_a_log_that_cannot_be_kept_is_cut_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("x" * 100)
    (tmp_path / "log.1").mkdir()
    logs.keep_small(path, largest=99)
    assert path.read_text() == ""

"""The page that people read says what the topic table says, and its examples work."""

import re
from pathlib import Path

import pytest

from schemas.dead_letter import DEAD_LETTER_HEADERS
from schemas.envelope import decode
from schemas.topics import COMMANDS, CONTROL, FEATURE_TICKS, SEARCH_REQUESTS, TOPICS, Topic

PAGE = (Path(__file__).parents[2] / "docs" / "contract.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
ROWS = {
    name: row
    for row in re.findall(r"^\| `.*\|$", PAGE, re.MULTILINE)
    for name in re.findall(r"`([^`]+)`", row.split("|")[1])
}


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_the_page_has_each_topic_with_its_partitions_retention_and_messages(topic: Topic) -> None:
    row = ROWS[topic.name]
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[2] == ("reads" if topic.consumed else "writes")
    assert cells[4] == str(topic.partitions)
    assert cells[5] == ("newest of each key" if topic.cleanup == "compact" else f"{topic.retention_days} days")
    if "the same" not in row:
        assert {f"`{model.TYPE}`" for model in topic.models} <= set(cells[6].split(", ")) | {cells[6]}


def test_the_page_names_every_header_of_a_dead_letter() -> None:
    assert all(f"`{name}`" in PAGE for name in DEAD_LETTER_HEADERS)


def test_the_examples_of_the_page_are_good_messages() -> None:
    *requests, tick, commands, controls = EXAMPLES
    assert [decode(SEARCH_REQUESTS.messages, text.encode()).strategy for text in requests] == ["grid", "grid"]
    assert decode(FEATURE_TICKS.messages, tick.encode()).ticker == "AAPL"
    kinds = [decode(COMMANDS.messages, line.encode()).command for line in commands.splitlines()]
    assert kinds == ["deploy", "deploy", "add_member", "roll_back", "delete", "promote", "retire"]
    assert [decode(CONTROL.messages, line.encode()).control for line in controls.splitlines()] == ["halt", "lift"]

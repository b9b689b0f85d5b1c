import re
from pathlib import Path

from orchestrator import features
from orchestrator.core import lookahead
from orchestrator.features.indicators import FEATURES
from orchestrator.features.samples import SURVIVORSHIP_NOTE

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
SOURCES = [
    source for folder in features.__path__ for source in Path(folder).glob("*.py") if source.name != "samples.py"
]


def test_the_page_names_every_feature() -> None:
    assert {name for name in FEATURES if f"`{name}`" not in PAGE} == set()


def test_the_page_names_every_fault() -> None:
    codes = {code for source in SOURCES for code in re.findall(r'fault\("(\w+)"', source.read_text(encoding="utf-8"))}
    assert len(codes) > 15
    assert {code for code in codes if f"`{code}`" not in PAGE} == set()


def test_the_page_names_what_the_look_ahead_check_finds_and_its_bounds() -> None:
    for code in ("knows_the_future", "scaled_on_the_whole_sample"):
        assert f"`{code}`" in PAGE
    bounds = (
        lookahead.LEAST_ROWS,
        lookahead.LEADS,
        lookahead.LEAST_T,
        lookahead.SHARPE_BOUND,
        *lookahead.RETURN_BOUNDS,
        *lookahead.SPAN_BOUNDS,
        lookahead.NEWS_BOUND,
    )
    section = PAGE.split("## The look-ahead check")[1].split("\n## ")[0]
    assert [bound for bound in bounds if f"{bound:g}" not in section] == []


def test_the_page_says_that_the_samples_are_survivors() -> None:
    assert SURVIVORSHIP_NOTE.split(": ")[1].split(".")[0] in PAGE

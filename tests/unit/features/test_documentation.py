import re
from pathlib import Path

from orchestrator import features
from orchestrator.features.indicators import FEATURES
from orchestrator.features.samples import SURVIVORSHIP_NOTE

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
SOURCES = [Path(folder) / name for folder in features.__path__ for name in ("checks.py", "assembly.py", "parquet.py")]


def test_the_page_names_every_feature() -> None:
    assert {name for name in FEATURES if f"`{name}`" not in PAGE} == set()


def test_the_page_names_every_fault() -> None:
    codes = {code for source in SOURCES for code in re.findall(r'fault\("(\w+)"', source.read_text(encoding="utf-8"))}
    assert len(codes) > 15
    assert {code for code in codes if f"`{code}`" not in PAGE} == set()


def test_the_page_says_that_the_samples_are_survivors() -> None:
    assert SURVIVORSHIP_NOTE.split(": ")[1].split(".")[0] in PAGE

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.features.assembly import content_hash
from orchestrator.features.parquet import ParquetFeatures
from tests.examples import at_most
from tests.unit.features.datasets import ROWS, as_table, sound_columns

COLUMNS = tuple(name for name in sound_columns() if name != "event_time")


def loaded_hash(parts: list[pa.Table], ticker: str = "ABC", **options: object) -> str:
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory) / ticker / "1d"
        folder.mkdir(parents=True)
        for number, part in enumerate(parts):
            pa.parquet.write_table(part, folder / f"{number}.parquet", **options)
        return ParquetFeatures(Path(directory)).load(ticker, "1d").data_hash


@given(
    cuts=st.sets(st.integers(0, ROWS), max_size=4),
    compression=st.sampled_from(["NONE", "SNAPPY", "ZSTD", "GZIP"]),
    row_group_size=st.integers(1, 200),
    dictionary=st.booleans(),
    order=st.permutations(range(len(COLUMNS) + 1)),
    ticker=st.sampled_from(["ABC", "BRK.B", "ES_F"]),
)
@at_most(30)
def test_the_hash_does_not_see_how_or_under_which_name_bars_are_stored(
    cuts: set[int], compression: str, row_group_size: int, dictionary: bool, order: list[int], ticker: str
) -> None:
    table = as_table(sound_columns())
    bounds = [0, *sorted(cuts), ROWS]
    shuffled = table.select([table.column_names[k] for k in order])
    parts = [shuffled.slice(a, b - a) for a, b in pairwise(bounds)]
    stored = loaded_hash(
        parts, ticker, compression=compression, row_group_size=row_group_size, use_dictionary=dictionary
    )
    assert stored == loaded_hash([table])


@given(name=st.sampled_from(COLUMNS), row=st.integers(5, ROWS - 1))
@at_most(30)
def test_the_hash_sees_the_last_bit_of_every_value(name: str, row: int) -> None:
    columns = sound_columns()
    before = loaded_hash([as_table(columns)])
    columns[name][row] = np.nextafter(columns[name][row], np.inf)
    assert loaded_hash([as_table(columns)]) != before


@given(st.integers(0, 5), st.integers(0, 5))
def test_the_hash_tells_where_one_column_ends_and_the_next_begins(left: int, right: int) -> None:
    times = np.zeros(0, dtype="datetime64[us]")
    one = content_hash(times, {"a": np.zeros(left), "b": np.zeros(right)})
    other = content_hash(times, {"a": np.zeros(left + 1), "b": np.zeros(right)})
    renamed = content_hash(times, {"a": np.zeros(left), "c": np.zeros(right)})
    assert len({one, other, renamed}) == 3

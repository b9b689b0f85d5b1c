"""The parquet files of one dataset, read together."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.dataset

from orchestrator.core.arrays import Floats
from orchestrator.features import arrow, checks
from orchestrator.features.source import UnusableFeatures
from schemas.base import Reason


class Files:
    """The files of one dataset: `names` of the columns that can be read in each, and the `faults` of the others."""

    def __init__(self, files: Sequence[Path], where: str) -> None:
        self._files, self._where = files, where
        self.faults: list[Reason] = []
        schemas = self._each(lambda file: dataset(file).schema)
        self.faults += _schema_faults(files, schemas, where)
        self.names = sorted(set.intersection(*map(arrow.usable, schemas)))
        if checks.EVENT_TIME not in self.names:
            raise UnusableFeatures(self.faults)

    def count(self, span: pa.compute.Expression | None) -> int:
        """Rows in the span."""
        times = arrow.read_as([checks.EVENT_TIME])
        return sum(self._each(lambda file: dataset(file, times).count_rows(filter=span)))

    def read(self, names: Sequence[str], span: pa.compute.Expression | None) -> list[pa.Table]:
        """Columns of the rows in the span, a table for each file."""
        shape = arrow.read_as(names)
        return self._each(lambda file: dataset(file, shape).to_table(filter=span))

    def stored(self, name: str) -> Floats:
        """Every value of a column, file after file."""
        return np.concatenate([table[name].to_numpy() for table in self.read([name], None)])

    def _each(self, read: Callable[[Path], Any]) -> list[Any]:
        """What `read` makes of each file; files that it cannot read are faults, raised with those found before."""
        results, unreadable = [], []
        for file in self._files:
            try:
                results.append(read(file))
            except (pa.ArrowException, OSError) as error:
                message = f"The file cannot be read, or its values not converted: {error}"
                unreadable.append(checks.fault("unreadable_file", f"{self._where}/{file.name}", message))
        if unreadable:
            raise UnusableFeatures([*self.faults, *unreadable])
        return results


def dataset(file: Path, shape: pa.Schema | None = None) -> pa.dataset.Dataset:
    """One file, to be read as columns of this shape; None: as they are stored."""
    return pa.dataset.dataset(file, schema=shape, format="parquet")


def within(start: datetime | None, end: datetime | None) -> pa.compute.Expression | None:
    """What picks the rows from `start` (included) to `end` (excluded); None: all."""
    time = pa.compute.field(checks.EVENT_TIME)
    bounds = []
    if start is not None:
        bounds.append(time >= pa.scalar(start, arrow.INSTANT))
    if end is not None:
        bounds.append(time < pa.scalar(end, arrow.INSTANT))
    return reduce(and_, bounds) if bounds else None


def first_time(table: pa.Table) -> int:
    """Event time of the first row in microseconds; 0 where that is null."""
    first = table[checks.EVENT_TIME].cast(pa.int64())[0].as_py()
    return 0 if first is None else int(first)


def _schema_faults(files: Sequence[Path], schemas: Sequence[pa.Schema], where: str) -> Iterator[Reason]:
    """Columns that are missing, named or typed wrongly, or not in every file."""
    names = sorted({name for schema in schemas for name in schema.names})
    yield from checks.column_faults(names, where)
    for file, schema in zip(files, schemas, strict=True):
        inside = f"{where}/{file.name}"
        if lacking := sorted(set(names) - set(schema.names)):
            message = f"Other files of the dataset have columns that this one lacks: {', '.join(lacking)}."
            yield checks.fault("columns_differ", inside, message)
        yield from arrow.type_faults(schema, inside)

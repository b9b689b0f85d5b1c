"""Which feature source is read."""

from pathlib import Path

from orchestrator.features.assembly import MINIMUM_ROWS
from orchestrator.features.parquet import ParquetFeatures
from orchestrator.features.source import FeatureSource


def source_at(features_dir: Path, features_db: Path | None, *, minimum_rows: int = MINIMUM_ROWS) -> FeatureSource:
    """The DuckDB file where one is named, else the folders of parquet files; neither has to be there yet."""
    if features_db is not None:
        # A library that only those who name a file pay for.
        from orchestrator.features.database import DuckDBFeatures

        return DuckDBFeatures(features_db, minimum_rows=minimum_rows)
    return ParquetFeatures(features_dir, minimum_rows=minimum_rows)

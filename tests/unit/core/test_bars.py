import numpy as np
import pytest

from orchestrator.core.bars import Bars


def bars(count: int = 4, **columns: object) -> Bars:
    values = {
        "event_time": np.arange(count).astype("datetime64[D]").astype("datetime64[us]"),
        "close": np.arange(1.0, count + 1),
        "feature_names": ("a", "b"),
        "features": np.ones((count, 2)),
        "data_hash": "0" * 64,
        **columns,
    }
    return Bars(ticker="AAPL", timeframe="1d", **values)  # type: ignore[arg-type]


def test_columns_of_another_length_are_an_error() -> None:
    with pytest.raises(ValueError, match="open has shape"):
        bars(open=np.ones(3))
    with pytest.raises(ValueError, match="features have shape"):
        bars(features=np.ones((4, 3)))


def test_the_head_has_the_first_bars_and_a_hash_of_its_own() -> None:
    whole = bars(open=np.arange(4.0))
    head = whole.head(3)
    assert len(head) == 3
    assert head.open is not None
    assert head.open.tolist() == [0.0, 1.0, 2.0]
    assert head.high is None
    assert head.data_hash != whole.data_hash
    assert head.data_hash == bars().head(3).data_hash
    with pytest.raises(ValueError, match="first 5 of 4"):
        whole.head(5)

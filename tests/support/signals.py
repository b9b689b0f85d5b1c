"""Signals as an ensemble gives them."""

from typing import Any

from schemas.signals import Signal, signal_id
from tests.contracts.store.makers import NOW


def signal(**fields: Any) -> Signal:
    """A signal to buy; its id is that of its fields."""
    base: dict[str, Any] = {
        "ensemble": "bot",
        "version": 2,
        "ticker": "AAPL",
        "timeframe": "1d",
        "event_time": NOW,
        "revision": 0,
        "emitted_at": NOW,
        "valid_until": NOW,
        "signal": "BUY",
        "target_position": 1,
        "confidence": 0.8,
        "score": 0.8,
        "p_correct": None,
        "edge_bps": 3.0,
        "num_models": 1,
        "voting_method": "soft",
        "votes": (),
        "model_age": 0.0,
        "gate": "passed",
        "mode": "live",
        "experiment": None,
        "calibration_id": None,
        "price": 100.0,
    }
    found = base | fields
    place = [found[name] for name in ("ensemble", "ticker", "timeframe", "event_time", "revision", "mode")]
    return Signal(id=signal_id(*place), **found)

"""Causes in words."""

import pytest

from orchestrator.api.causes import caused
from schemas.base import JsonObject

DRIFT: JsonObject = {
    "kind": "drift",
    "ensemble": "bot",
    "version": 2,
    "detector": "drift",
    "ticker": "AAPL",
    "feature": "rsi_14",
    "figure": 0.4312,
    "threshold": 0.2,
    "window_start": "2026-01-05T21:00:00.000000Z",
    "window_end": "2026-02-05T00:00:00.000000Z",
}


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (DRIFT, "drift of rsi_14 on AAPL: 0.431 above 0.2, 2026-01-05 21:00 to 2026-02-05"),
        ({"kind": "performance", "figure": -1.5, "threshold": 0.25}, "performance: -1.5 below 0.25"),
        ({"kind": "hand", "figure": None, "said": {"because": "a split", "actor": None}}, "hand: because a split"),
        ({"headline": "earnings", "ticker": "IBM"}, "outside on IBM: headline earnings"),
        ({"kind": "schedule", "figure": None, "threshold": 0.0}, "schedule"),
        ({"kind": "drift", "window_start": 7, "window_end": "soon"}, "drift: 7 to soon"),
        ({}, ""),
        (None, ""),
    ],
)
def test_a_cause_is_told_on_one_line_whoever_gave_it(cause: JsonObject | None, words: str) -> None:
    assert caused(cause) == words

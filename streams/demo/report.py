"""The demo's closing words: what the signals of the feed earned, and what the gate makes of the search."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from streams.demo.outcome import Outcome
from streams.following import RequestStory, figure

HEADINGS = ("ticker", "BUY", "SELL", "HOLD", "no opinion", "hit rate", "net Sharpe", "buy and hold", "trades")


def rows(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """One row a ticker: what following its signals earned after costs, beside holding it; see `HEADINGS`."""
    return [
        (
            each.ticker,
            *(str(each.signals.get(kind, 0)) for kind in ("BUY", "SELL", "HOLD")),
            str(each.abstained),
            "-" if each.hit_rate is None else f"{each.hit_rate:.1%}",
            figure(each.net_sharpe),
            figure(each.buy_and_hold_sharpe),
            "-" if each.trades is None else f"{each.trades:.0f}",
        )
        for each in outcomes
    ]


def sentences(story: RequestStory, engine: Mapping[str, Any]) -> Iterator[str]:
    """What the engine saw, and what the gate makes of the search."""
    yield (
        f"The engine consumed {engine['signals']} signals, {engine['repeats']} of them twice, "
        f"{engine['expired']} past their validity."
    )
    verdict = story.verdict
    if verdict is None:
        return
    yield (
        f"The search scored {story.scored} trials. Its ensemble's Sharpe ratio is {figure(verdict.sharpe_ratio)} "
        f"out of fold over {verdict.sessions} sessions; the probability that this is more than the luck of "
        f"{verdict.trials} trials (the deflated Sharpe ratio) is {figure(verdict.deflated_sharpe)}."
    )
    if verdict.passed:
        yield f"The gate, which asks for {verdict.required:.2f}, would have let it through."
    else:
        reasons = "; ".join(reason.message for reason in verdict.reasons)
        yield f"The gate, which asks for {verdict.required:.2f}, would not have let it through: {reasons}."

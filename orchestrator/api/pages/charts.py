"""What the charts show, as ECharts has it: pure. Text and lines take their colours from the page, light or dark."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from orchestrator.api.views import Dot, Point
from orchestrator.core.arrays import Floats
from orchestrator.store.looking import Descendant
from schemas.base import Scalar

Options = dict[str, Any]
INK, QUIET, LINE, SURFACE = "var(--ink)", "var(--quiet)", "var(--grid)", "var(--surface)"
BLUE, GREEN, RED, GREY = "#3b82c4", "#17a06a", "#d9534a", "#8c97a3"
MOST_LINES = 400
MOST_POINTS = 1500


def best_so_far(points: Sequence[Point], start: datetime, end: datetime, metric: str) -> Options:
    """The best value of the metric as the search went on, in seconds since `start`."""
    steps = [[round((each.finished_at - start).total_seconds(), 3), each.metric, each.trial] for each in points]
    last = [[max(0.0, round((end - start).total_seconds(), 3)), points[-1].metric, points[-1].trial]] if points else []
    return _chart(
        xAxis=_axis("value", name="seconds"),
        yAxis=_axis("value", scale=True, split=True),
        series=[
            {
                "name": metric,
                "type": "line",
                "step": "end",
                "data": steps + last,
                "symbolSize": 5,
                "lineStyle": {"width": 2},
                "color": BLUE,
                "encode": {"x": 0, "y": 1, "tooltip": [1, 2]},
                "dimensions": ["seconds", metric, "trial"],
            }
        ],
        grid=_grid(),
    )


def equity(profit: Sequence[float]) -> Options:
    """Cumulated profit and its drawdown by session, in percent of the stake."""
    earned = 100 * np.concatenate(([0.0], np.cumsum(np.asarray(profit, dtype=np.float64))))
    drawdown = earned - np.maximum.accumulate(earned)
    kept = np.unique(np.linspace(0, len(earned) - 1, min(MOST_POINTS, len(earned))).round().astype(int))
    return _chart(
        grid=[_grid(bottom="42%"), _grid(top="68%")],
        axisPointer={"link": [{"xAxisIndex": "all"}]},
        xAxis=[
            _axis("value", max=len(profit), axisLabel={"show": False}),
            _axis("value", max=len(profit), gridIndex=1, name="sessions out of sample"),
        ],
        yAxis=[
            _axis("value", split=True, unit="%", scale=True),
            _axis("value", split=True, unit="%", gridIndex=1, splitNumber=2),
        ],
        series=[
            _line("profit", kept, earned, color=GREEN),
            _line("drawdown", kept, drawdown, color=RED, xAxisIndex=1, yAxisIndex=1, areaStyle={"opacity": 0.25}),
        ],
    )


def trial_of_strength(curves: Mapping[str, Sequence[float]], next_look: int | None) -> Options:
    """Cumulated profit of the champion and its challenger by session, in percent of the stake, and the next look."""
    colours = [GREY, BLUE]
    lines = []
    for (name, profit), colour in zip(curves.items(), colours, strict=False):
        earned = 100 * np.concatenate(([0.0], np.cumsum(np.asarray(profit, dtype=np.float64))))
        kept = np.unique(np.linspace(0, len(earned) - 1, min(MOST_POINTS, len(earned))).round().astype(int))
        lines.append(_line(name, kept, earned, color=colour))
    most = max((len(profit) for profit in curves.values()), default=0)
    if next_look is not None and lines:
        lines[-1]["markLine"] = {
            "symbol": "none",
            "silent": True,
            "animation": False,
            "lineStyle": {"color": QUIET, "type": "dashed"},
            "label": {"formatter": "next look", "color": QUIET, "fontSize": 11, "position": "insideEndTop"},
            "data": [{"xAxis": next_look}],
        }
    return _chart(
        grid=_grid(top=34),
        legend={"top": 0, "textStyle": {"color": QUIET}},
        xAxis=_axis("value", name="sessions of both", max=max(most, next_look or 0, 1), minInterval=1),
        yAxis=_axis("value", split=True, unit="%", scale=True),
        series=lines,
    )


def parallel(dots: Sequence[Dot], metric: str, higher_is_better: bool) -> tuple[Options, int]:
    """Configurations as lines over their hyper-parameters, coloured by the metric; and how many of them are drawn."""
    drawn = _drawn([each for each in dots if each.metric is not None], higher_is_better)
    names = sorted({name for each in drawn for name in each.configuration})
    values = {name: [each.configuration.get(name) for each in drawn] for name in names}
    axes = [_dimension(number, name, values[name]) for number, name in enumerate(names)]
    scores = [float(each.metric or 0.0) for each in drawn]
    low, high = (min(scores), max(scores)) if scores else (0.0, 1.0)
    colours = [GREY, BLUE, GREEN]
    options: Options = {
        "backgroundColor": "transparent",
        "animation": False,
        "parallel": {"left": 40, "right": 60, "top": 40, "bottom": 30, "parallelAxisDefault": _parallel_axis()},
        "parallelAxis": [*axes, {"dim": len(names), "name": metric, "scale": True}],
        "visualMap": {
            "show": False,
            "dimension": len(names),
            "min": low,
            "max": high if high > low else low + 1.0,
            "inRange": {"color": colours if higher_is_better else colours[::-1]},
        },
        "series": [
            {
                "type": "parallel",
                "lineStyle": {"width": 1.2, "opacity": 0.35},
                "data": [
                    [*(_plain(values[name][row], axes[place]) for place, name in enumerate(names)), scores[row]]
                    for row in range(len(drawn))
                ],
            }
        ],
    }
    return options, len(drawn)


def importance(shares: Mapping[str, float]) -> Options:
    """How much each hyper-parameter decides."""
    names = sorted(shares, key=lambda name: shares[name])
    return _chart(
        grid=_grid(left=8, right=48),
        xAxis=_axis("value", max=1, axisLabel={"show": False}),
        yAxis=_axis("category", data=names),
        series=[
            {
                "type": "bar",
                "data": [round(shares[name], 4) for name in names],
                "barMaxWidth": 18,
                "color": BLUE,
                "label": {
                    "show": True,
                    "position": "right",
                    "color": INK,
                    ":formatter": "(p) => (100 * p.value).toFixed(0) + ' %'",
                },
            }
        ],
    )


def lineage(found: Sequence[Descendant], metric: str) -> Options:
    """Each trial's scores over the generations, and from which one clones came."""
    scored = [each for each in found if each.metric is not None]
    score = {(each.trial, each.generation): each.metric for each in scored}
    going_on, cloned = [], []
    for each in scored:
        before = each.generation - 1
        if (each.trial, before) in score:
            going_on.append({"coords": [[before, score[each.trial, before]], [each.generation, each.metric]]})
        elif each.parent is not None and (each.parent, before) in score:
            cloned.append({"coords": [[before, score[each.parent, before]], [each.generation, each.metric]]})
    links = {"type": "lines", "coordinateSystem": "cartesian2d", "silent": True, "z": 1}
    return _chart(
        grid=_grid(top=34),
        legend={"top": 0, "textStyle": {"color": QUIET}, "data": ["goes on", "mutated clone", "score"]},
        xAxis=_axis("value", name="generation", minInterval=1, min=1),
        yAxis=_axis("value", scale=True, split=True),
        series=[
            {**links, "name": "goes on", "data": going_on, "lineStyle": {"color": GREY, "opacity": 0.6}},
            {
                **links,
                "name": "mutated clone",
                "data": cloned,
                "lineStyle": {"color": GREEN, "type": "dashed", "opacity": 0.9},
            },
            {
                "name": "score",
                "type": "scatter",
                "symbolSize": 7,
                "color": BLUE,
                "dimensions": ["generation", metric, "trial"],
                "encode": {"x": 0, "y": 1, "tooltip": [2, 1]},
                "data": [[each.generation, each.metric, each.trial] for each in scored],
            },
        ],
    )


def prices(
    times: Sequence[str], price: Sequence[float | None], marks: Mapping[str, Sequence[tuple[str, float]]]
) -> Options:
    """A ticker's price with its BUY and SELL marks: a triangle that points up, one that points down."""
    signs = {"BUY": (GREEN, 0), "SELL": (RED, 180)}
    return _chart(
        grid=_grid(top=34, bottom=6),
        legend={"top": 0, "textStyle": {"color": QUIET}},
        xAxis=_axis("category", data=[*times], boundaryGap=False),
        yAxis=_axis("value", scale=True, split=True),
        series=[
            {
                "name": "price",
                "type": "line",
                "data": [*price],
                "showSymbol": False,
                "color": BLUE,
                "lineStyle": {"width": 1.5},
            },
            *(
                {
                    "name": side,
                    "type": "scatter",
                    "symbol": "triangle",
                    "symbolRotate": turned,
                    "symbolSize": 12,
                    "color": colour,
                    "data": [list(each) for each in marks.get(side, ())],
                }
                for side, (colour, turned) in signs.items()
            ),
        ],
    )


def _drawn(dots: Sequence[Dot], higher_is_better: bool) -> list[Dot]:
    """The best ones, and of the others every so many."""
    ranked = sorted(dots, key=lambda each: each.metric or 0.0, reverse=higher_is_better)
    if len(ranked) <= MOST_LINES:
        return ranked[::-1]
    best, others = ranked[: MOST_LINES // 2], ranked[MOST_LINES // 2 :]
    some = np.linspace(0, len(others) - 1, MOST_LINES // 2).round().astype(int)
    return [*(others[place] for place in some), *best]


def _dimension(number: int, name: str, values: Sequence[Scalar | None]) -> Options:
    figures = [each for each in values if isinstance(each, int | float) and not isinstance(each, bool)]
    if len(figures) < sum(each is not None for each in values):
        return {
            "dim": number,
            "name": name,
            "type": "category",
            "data": sorted({str(each) for each in values if each is not None}),
        }
    spread = min(figures) > 0 and max(figures) / min(figures) >= 50 if figures else False
    return {"dim": number, "name": name, "type": "log" if spread else "value", "scale": True}


def _plain(value: Scalar | None, axis: Options) -> Any:
    return str(value) if axis["type"] == "category" and value is not None else value


def _line(name: str, kept: Any, values: Floats, **more: Any) -> Options:
    data = [[int(place), round(float(values[place]), 4)] for place in kept]
    return {"name": name, "type": "line", "showSymbol": False, "lineStyle": {"width": 1.6}, "data": data, **more}


def _parallel_axis() -> Options:
    return {
        "nameTextStyle": {"color": INK, "fontSize": 12},
        "nameLocation": "start",
        "nameGap": 16,
        "inverse": False,
        "axisLine": {"lineStyle": {"color": QUIET}},
        "axisTick": {"lineStyle": {"color": QUIET}},
        "axisLabel": {"color": INK, "fontSize": 11, "textBorderColor": SURFACE, "textBorderWidth": 3},
        "z": 20,
    }


def _axis(kind: str, *, split: bool = False, unit: str = "", **more: Any) -> Options:
    label: Options = {"color": QUIET, "fontSize": 11, "hideOverlap": True}
    if unit:
        label["formatter"] = f"{{value}}{unit}"
    label |= more.pop("axisLabel", {})
    return {
        "type": kind,
        "axisLabel": label,
        "axisLine": {"lineStyle": {"color": LINE}},
        "axisTick": {"show": False},
        "splitLine": {"show": split, "lineStyle": {"color": LINE}},
        "nameLocation": "middle",
        "nameGap": 26,
        "nameTextStyle": {"color": QUIET, "fontSize": 11},
        **more,
    }


def _grid(**more: Any) -> Options:
    return {"left": 8, "right": 16, "top": 14, "bottom": 28, "containLabel": True, **more}


def _chart(**parts: Any) -> Options:
    return {
        "backgroundColor": "transparent",
        "animation": False,
        "textStyle": {"color": INK},
        "tooltip": {
            "trigger": "axis",
            "backgroundColor": SURFACE,
            "borderColor": LINE,
            "textStyle": {"color": INK, "fontSize": 12},
            "confine": True,
        },
        **parts,
    }

"""Forecasts beside the truth: each series over time, and the error by how far ahead."""

from collections.abc import Sequence
from datetime import UTC, datetime, time
from statistics import fmean
from typing import Any

from bptt.figures import count, figure
from bptt.report.plot import POINTS, Axis, Line, Plot, Row
from bptt.report.verdict import known

SHOWN = 6  # charts of series; a page of a hundred tells less than one of six


def forecast_plots(series: Sequence[dict[str, Any]], rule: str) -> list[Plot]:
    """Truth, forecast and naive rule over time, of the first series.

    Args:
        series: "series" of a forecast's `Evaluation.details`.
        rule: the name of the naive rule that is drawn beside the network.
    """
    return [_series(one, rule) for one in series[:SHOWN]]


def horizon_plots(horizon: Sequence[dict[str, Any]], rule: str) -> list[Plot]:
    """For each target, the mean absolute error by how many steps ahead, where there are several.

    Args:
        horizon: "horizon" of a forecast's `Evaluation.details`.
        rule: the name of the naive rule that is drawn beside the network.
    """
    targets = list(dict.fromkeys(row["target"] for row in horizon))
    by_target = {t: [row for row in horizon if row["target"] == t] for t in targets}
    return [_horizon(t, rows, rule) for t, rows in by_target.items() if len(rows) > 1][:SHOWN]


def _series(one: dict[str, Any], rule: str) -> Plot:
    axis, xs, spoken = _times(one["time"])
    rows = [
        {"x": x, "at": at, "truth": truth, "network": forecast, "rule": naive}
        for x, at, truth, forecast, naive in zip(
            xs, spoken, one["truth"], one["forecast"], one["baseline"], strict=True
        )
    ]
    ahead = f"{count(one['lead'], 'step')} ahead"
    part = f" The last {POINTS:,} of {len(rows):,} are drawn." if len(rows) > POINTS else ""
    return Plot(
        title=_title(one),
        unit=f"forecast {ahead}",
        file=f"{one['target']}.csv",
        words=f"Over {count(len(rows), 'time')}, forecasts {ahead} are off by "
        f"{_error(rows, 'network')} on average, {rule} by {_error(rows, 'rule')}.{part}",
        axis=axis,
        lines=[Line("rule", rule), Line("truth", "truth"), Line("network", "the network")],
        rows=rows[-POINTS:],
        height=260,
    )


def _title(one: dict[str, Any]) -> str:
    same = str(one["name"]) in ("", str(one["target"]))
    return str(one["target"]) if same else f"{one['target']}, {one['name']}"


def _error(rows: Sequence[Row], field: str) -> str:
    pairs = [(row[field], row["truth"]) for row in rows]
    errors = [abs(a - b) for a, b in pairs if known(a) and known(b)]
    return figure(fmean(errors)) if errors else "an unknown amount"


def _horizon(target: str, leads: list[dict[str, Any]], rule: str) -> Plot:
    rows = [
        {
            "x": row["lead"],
            "at": f"{count(row['lead'], 'step')} ahead",
            "network": row["mae"],
            "rule": row["baseline_mae"],
        }
        for row in leads
    ]
    better = sum(row["network"] < row["rule"] for row in rows)
    return Plot(
        title=f"{target}: error by steps ahead",
        unit="mean absolute error",
        file=f"{target}-by-steps-ahead.csv",
        words=f"The network is better than {rule} at {better:,} of {count(len(rows), 'distance')}.",
        axis=Axis("steps ahead", format="d"),
        lines=[Line("rule", rule, points=True), Line("network", "the network", points=True)],
        rows=rows,
        height=200,
    )


def _instants(times: Sequence[Any]) -> list[datetime] | None:
    """The times as instants, UTC where they do not say; None where they are no dates."""
    try:
        dates = [datetime.fromisoformat(time) for time in times]
    except (TypeError, ValueError):
        return None
    return [date if date.tzinfo else date.replace(tzinfo=UTC) for date in dates]


def _times(times: Sequence[Any]) -> tuple[Axis, list[Any], list[str]]:
    """The axis of the times, where on it each one lies, and each one in words."""
    dates = _instants(times)
    if dates:
        daily = all(date.time() == time.min for date in dates)
        spoken = [date.date() if daily else date for date in dates]
        xs = [round(1000 * date.timestamp()) for date in dates]
        return Axis("time", "temporal"), xs, [str(at).removesuffix("+00:00") for at in spoken]
    xs = times if all(isinstance(t, int | float) for t in times) else range(len(times))
    # Years and counts without a thousands' comma.
    whole = "d" if all(x == int(x) for x in xs) else ""
    return Axis("time", format=whole), list(xs), list(map(str, times))

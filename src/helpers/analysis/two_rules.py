"""Saturation points by the published rule and by ours side by side, and where the two disagree."""

import pandas as pd

CURVE = ["task", "metric", "family", "width", "sampling", "dataset"]
SHARE = 0.95  # q at which the two rules are compared


def side_by_side(points: pd.DataFrame) -> pd.DataFrame:
    """One row per curve, indexed by `CURVE`.

    `points` are tables of `saturation.saturation_points` by both rules, one below the other, with columns `metric`,
    `rule` and `q` beside. Losses have no point by the published rule.

    Returns
    -------
    `published`, the point in per cent; ``error rule, q = …`` for each q, the point with its interval and whether it is
    at the edge, in words; `gain_per_doubling`; `judged_twice`, whether both rules judge the curve; and `disagree`: its
    published point lies outside the interval of the error rule at q = 0.95, or is another point where there is no
    interval, or one rule alone has a point.
    """
    published = points[points["rule"] == "published"].set_index(CURVE)["percentage"]
    by_error = points[points["rule"] == "error"]
    texts = {}
    for q in sorted({SHARE, *by_error["q"]}):
        part = by_error[by_error["q"] == q].set_index(CURVE)
        texts[f"error rule, q = {q:.2f}"] = pd.Series(
            [in_words(point) for _, point in part.iterrows()], part.index, str
        )
    at = by_error[by_error["q"] == SHARE].set_index(CURVE)
    point, ours = published.reindex(at.index), at["percentage"]
    no_interval = at["low"].isna()
    outside = (point < at["low"].where(~no_interval, ours)) | (point > at["high"].where(~no_interval, ours))
    judged_twice = at.index.isin(published.index)
    disagree = judged_twice & (outside | (point.isna() != ours.isna()))
    table = pd.DataFrame({"published": point} | texts).reindex(at.index)
    return table.assign(gain_per_doubling=at["gain_per_doubling"], judged_twice=judged_twice, disagree=disagree)


def in_words(point: pd.Series) -> str:
    """A point of the error rule in per cent, with its interval; *edge*: not saturated within the range."""
    if pd.isna(point["percentage"]):
        return "–"
    interval = f" ({point['low']:g} to {point['high']:g})" if pd.notna(point["low"]) else ""
    return f"{point['percentage']:g}{interval}{', edge' if point['at_edge'] else ''}"

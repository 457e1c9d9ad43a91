"""Is there a scaling law along one axis? Forms compared, intervals, and a verdict with its reason."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from helpers.analysis.curves import Curve, read_curve
from helpers.analysis.forms import AxisForm, forms_for, untold
from helpers.analysis.separable import Fits, fit, fit_one

VERDICTS = ("no scaling", "saturated", "power law", "not identifiable")
POWER_LAWS = ("power law", "broken power law")
FEWEST_SIZES = 4
LEAD = 2.0  # of AICc, over every form that is no power law
CONCEIVABLE = 10.0  # AICc from the best, up to which a form may lead in a draw
N_GRID = {0: 1, 1: 40, 3: 8}  # by the number of theta
ENDS = (0.05, 0.95)
UNKNOWN = (np.nan, np.nan)
FACTORS = np.geomspace(1, 1e12, 1201)  # growth of x that is looked at


@dataclass(frozen=True)
class ScalingFit:
    """What one curve says about scale; intervals are of 90 %, NaN if no size has two runs.

    Attributes
    ----------
    verdict, reason
        One of ``no scaling``, ``saturated``, ``power law``, ``not identifiable``, and why.
    form
        The form that leads by AICc; empty with too few sizes for any.
    exponent, interval
        Of the leading power law; NaN where another form leads, and where the interval is too wide to tell one.
    scores
        By form: number of parameters, AICc, its distance from the best, chi2 of the sizes' means.
    change, change_interval
        Loss at the smallest size less that at the largest.
    to_come, to_come_bound
        What the leading form gains beyond the largest size, and the upper 90 % bound, where each draw has its own
        leading form.
    curve, x
        The runs, and the name of the axis.
    """

    verdict: str
    reason: str
    form: str
    exponent: float
    interval: tuple[float, float]
    scores: pd.DataFrame
    change: float
    change_interval: tuple[float, float]
    to_come: float
    to_come_bound: float
    curve: Curve
    x: str
    _lead: Fits | None = field(repr=False, default=None)
    _draws: Fits | None = field(repr=False, default=None)

    def __str__(self) -> str:
        return f"{self.verdict}: {self.reason}"

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Loss at sizes (n,) by the leading form, (n,)."""
        if self._lead is None:
            raise ValueError(f"nothing was fitted: {self.reason}")
        return self._lead.predict(np.asarray(x, float))[0]

    def band(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """90 % interval of the loss at sizes (n,) by the leading form, two (n,)."""
        if self._draws is None:
            return np.full(len(x), np.nan), np.full(len(x), np.nan)
        low, high = np.quantile(self._draws.predict(np.asarray(x, float)), ENDS, axis=0)
        return low, high

    def more_for(self, share: float) -> tuple[float, float, float]:
        """By what factor `x` must grow beyond its largest value for a `share` less loss, with its interval.

        Infinite where the law's floor is higher. Raises ValueError unless the verdict is a power law.
        """
        if self.verdict != "power law":
            raise ValueError(f"what {100 * share:g} % less loss would take cannot be told: {self}")
        point = _growth(self._lead, self.curve.x[-1], share)[0]
        low, high = np.quantile(_growth(self._draws, self.curve.x[-1], share), ENDS, method="nearest")
        return float(point), float(low), float(high)


def fit_scaling(
    frame: pd.DataFrame,
    *,
    x: str = "n_cells",
    y: str = "loss",
    rng: np.random.Generator,
    n_boot: int = 1000,
    min_effect: float | None = None,
) -> ScalingFit:
    """Fit the loss of runs along one axis and judge what it says about scale.

    Parameters
    ----------
    frame
        One row per run, of one family, dataset and metric; lower `y` is better. Where `n_cells` is asked for and not
        there, `percentage` stands in for it.
    x, y
        Columns of the axis (over 0) and of the loss, e.g. a held-out loss or 1 - score.
    rng
        Of the wild bootstrap over the runs of each size, with `n_boot` draws.
    min_effect
        Smallest change of the loss that counts; 2 % of the mean absolute loss if not given.

    Returns
    -------
    The verdict, in this order:

    1. ``no scaling``: the 90 % interval of the change from smallest to largest size lies inside ±`min_effect`.
    2. ``saturated``: the change exceeds three pooled standard deviations of seeds, and the upper 90 % bound of the gain
       still to come beyond the largest size is under one; by a form that knows a change and does not miss the largest
       size by over two standard errors.
    3. ``power law``: a power law leads every other form by 2 of AICc, the largest size falls inside the 95 % prediction
       interval of a run that the others give, and the exponent's 90 % interval is narrower than 1.
    4. ``not identifiable``: everything else, and fewer than four sizes or one run for each.

    Forms minimise Huber's loss of the runs, which turns linear at 1.345 pooled standard deviations. AICc is of the
    Gaussian likelihood of the sizes' means, with the variance that seeds tell, widened where no form fits. At 100 % all
    subset seeds of ``random`` hold the same cells, so that the spread there is of initial weights alone.

    Raises
    ------
    ValueError
        Columns are absent, values are missing or infinite, `x` is not over 0, several metrics, datasets or families.
    """
    if x == "n_cells" and x not in frame and "percentage" in frame:
        x = "percentage"
    curve = read_curve(frame, x, y)
    told: dict = {"curve": curve, "x": x, "change": float(curve.means[0] - curve.means[-1])}
    without = {"change_interval": UNKNOWN, "to_come_bound": np.nan, "interval": UNKNOWN}
    if len(curve.x) < FEWEST_SIZES:
        reason = f"{len(curve.x)} distinct values of {x}; at least {FEWEST_SIZES} are needed"
        empty = {"form": "", "exponent": np.nan, "scores": pd.DataFrame(), "to_come": np.nan}
        return ScalingFit("not identifiable", reason, **told, **empty, **without)
    fits = {form.name: _fit(form, curve) for form in forms_for(curve.x)}
    scores = compare(fits, curve)
    lead = fits[scores["aicc"].idxmin()]
    told |= {"form": lead.form.name, "scores": scores, "to_come": float(to_come(lead, curve.x[-1])[0]), "_lead": lead}
    exponent = float(lead.form.exponent(lead.theta)[0]) if lead.form.exponent else np.nan
    if np.isnan(curve.sd):
        best = lead.form.name + (f" with exponent {exponent:.2g}" if lead.form.exponent else "")
        reason = f"one run for each value of {x}, so that there is no interval; by AICc of the values alone: {best}"
        return ScalingFit("not identifiable", reason, **told, **without, exponent=exponent)
    samples = curve.resampled(n_boot, rng)
    conceivable = scores.index[scores["distance"] < CONCEIVABLE]
    draws = {name: _fit_draws(fits[name].form, curve, samples, fits[name].theta) for name in conceivable}
    means = curve.means_of(samples)
    own = draws[lead.form.name]
    interval = _ends(own.form.exponent(own.theta)) if own.form.exponent else UNKNOWN
    told |= {
        "change_interval": _ends(means[:, 0] - means[:, -1]),
        "to_come_bound": float(np.quantile(_to_come_of_draws(draws, curve, samples), 0.9, method="higher")),
        "_draws": own,
    }
    effect = 0.02 * float(np.abs(curve.losses).mean()) if min_effect is None else min_effect
    effect = effect or 10 * curve.scale  # losses that are all 0
    verdict, reason = _judge(told, interval, samples, effect, rng)
    bare = np.nan if untold("", *interval) else exponent
    return ScalingFit(verdict, reason, **told, exponent=bare, interval=interval)


def compare(fits: Mapping[str, Fits], curve: Curve) -> pd.DataFrame:
    """Parameters, AICc, distance from the best and chi2 of the sizes' means of fits of one table, by form."""
    chi2 = {name: float(_chi2(of, curve, curve.losses[None])[0]) for name, of in fits.items()}
    aicc = _aicc({name: np.array([value]) for name, value in chi2.items()}, fits, curve)
    table = pd.DataFrame(
        {
            "n_parameters": {name: of.form.n_parameters for name, of in fits.items()},
            "aicc": {name: value[0] for name, value in aicc.items()},
            "chi2": chi2,
        }
    )
    return table.assign(distance=table["aicc"] - table["aicc"].min())


def to_come(fits: Fits, last: float) -> np.ndarray:
    """What each of n_tables fits gains beyond `last`, (n_tables,); infinite for a logarithm that falls."""
    beyond = fits.form.columns(fits.theta, np.array([last]))[:, 0] - fits.form.at_infinity(fits.theta)
    return np.nan_to_num((beyond * fits.coefficients[:, 1:]).sum(axis=1), posinf=np.inf, neginf=-np.inf)


def _fit(form: AxisForm, curve: Curve) -> Fits:
    return fit_one(form, curve.x, curve.groups, curve.losses, delta=curve.delta, n_grid=N_GRID[len(form.bounds)])


def _fit_draws(form: AxisForm, curve: Curve, samples: np.ndarray, near: np.ndarray) -> Fits:
    """Fits of draws of a curve whose own optimum is `near`."""
    n_grid = N_GRID[len(form.bounds)]
    return fit(form, curve.x, curve.groups, samples, delta=curve.delta, n_grid=n_grid, near=near)


def _chi2(fits: Fits, curve: Curve, values: np.ndarray) -> np.ndarray:
    """Of the sizes' means, (n_tables,), with the variance that seeds tell; any variance will do if they tell none."""
    squares = (curve.n * (curve.means_of(values) - fits.predict(curve.x)) ** 2).sum(axis=1)
    return squares / curve.scale**2


def _aicc(chi2: Mapping[str, np.ndarray], fits: Mapping[str, Fits], curve: Curve) -> dict[str, np.ndarray]:
    """AICc of each form, (n_tables,). Where no form fits within what seeds tell, all are measured by the best one's."""
    n = len(curve.x)
    k = {name: of.form.n_parameters for name, of in fits.items()}
    lack = np.maximum(1.0, np.min([chi2[name] / (n - k[name]) for name in fits], axis=0))
    return {name: chi2[name] / lack + 2 * k[name] * n / (n - k[name] - 1) for name in fits}


def _to_come_of_draws(draws: Mapping[str, Fits], curve: Curve, samples: np.ndarray) -> np.ndarray:
    """What the leading form of each draw gains beyond the largest size, (n_boot,)."""
    aicc = _aicc({name: _chi2(of, curve, samples) for name, of in draws.items()}, draws, curve)
    leading = np.argmin(list(aicc.values()), axis=0)
    return np.stack([to_come(of, curve.x[-1]) for of in draws.values()])[leading, np.arange(len(samples))]


def _judge(
    told: dict, interval: tuple[float, float], samples: np.ndarray, effect: float, rng: np.random.Generator
) -> tuple[str, str]:
    curve, change, (low, high), bound = (told[key] for key in ("curve", "change", "change_interval", "to_come_bound"))
    span = f"from {curve.x[0]:,.6g} to {curve.x[-1]:,.6g} {told['x']}"
    verb = "falls" if change >= 0 else "changes"
    falls = f"the loss {verb} by {change:.3g} (90 % interval {low:.3g} to {high:.3g}) {span}"
    if -effect <= low and high <= effect:
        return "no scaling", f"{falls}, inside ±{effect:.3g}"
    if change > 3 * curve.scale and bound < curve.scale and not _astray(told):
        return "saturated", f"{falls}; at most {bound:.2g} is to come, under one SD of seeds ({curve.sd:.2g})"
    against = "; ".join(_against_a_law(told, interval, samples, rng))
    if against:
        return "not identifiable", f"{falls}; {against}"
    name = "exponent" if told["form"] == "power law" else "exponent beyond the break"
    best = told["_lead"].form.exponent(told["_lead"].theta)[0]
    return "power law", f"{falls}; {name} {best:.2f} (90 % interval {interval[0]:.2f} to {interval[1]:.2f})"


def _astray(told: dict) -> bool:
    """Whether the leading form says nothing of what comes: it knows no change, or misses the largest size."""
    curve = told["curve"]
    miss = abs(curve.means[-1] - told["_lead"].predict(curve.x[-1:])[0, 0])
    return told["form"] == "constant" or miss > 2 * curve.scale / np.sqrt(curve.n[-1])


def _against_a_law(
    told: dict, interval: tuple[float, float], samples: np.ndarray, rng: np.random.Generator
) -> Iterator[str]:
    """What speaks against a power law, in words."""
    curve, scores, lead = told["curve"], told["scores"], told["_lead"]
    if told["change"] < 0:
        yield "a loss that grows with scale follows no law of these"
        return
    others = scores[~scores.index.isin(POWER_LAWS)]["aicc"]
    if lead.form.name not in POWER_LAWS:
        there = scores.index.intersection(POWER_LAWS)
        ahead = (
            f"by {scores.loc[there, 'distance'].min():.1f} of AICc" if len(there) else "too few sizes for a power law"
        )
        yield f"{lead.form.name} leads, {ahead}"
        return
    if (gap := others.min() - scores["aicc"].min()) < LEAD:
        yield f"the {lead.form.name} leads the {others.idxmin()} by {gap:.1f} of AICc; {LEAD:g} are needed"
    low, high = foretold(curve, lead.form, samples, rng)
    if not low <= curve.means[-1] <= high:
        yield f"the largest size has {curve.means[-1]:.4g}, the others foretell {low:.4g} to {high:.4g}"
    if why := untold("the exponent", *interval):
        yield why


def foretold(curve: Curve, form: AxisForm, samples: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """95 % prediction interval of a run of the largest size by the form, fitted to the others."""
    rest = curve.without_largest()
    fits = _fit_draws(form, rest, samples[:, : len(rest.losses)], _fit(form, rest).theta)
    runs = fits.predict(curve.x[-1:])[:, 0] + rng.normal(0, curve.scale, len(samples))
    low, high = np.quantile(runs, [0.025, 0.975])
    return float(low), float(high)


def _growth(fits: Fits, last: float, share: float) -> np.ndarray:
    """Factor by which `last` must grow for a `share` less loss, (n_tables,); infinite beyond FACTORS."""
    losses = fits.predict(last * FACTORS)
    above = losses - losses[:, :1] + share * np.abs(losses[:, :1])
    first = (above <= 0).argmax(axis=1)
    table = np.arange(len(losses))
    high, low = above[table, first], above[table, first - 1]
    part = np.divide(low, low - high, out=np.zeros_like(low), where=first > 0)
    growth = np.exp(np.log(FACTORS)[first - 1] + part * np.log(FACTORS[1]))
    return np.where(first > 0, growth, np.inf)


def _ends(draws: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(draws, ENDS)
    return float(low), float(high)

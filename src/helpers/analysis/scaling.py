"""Is there a scaling law along one axis? Forms compared, intervals, and a verdict with its reason."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from helpers.analysis.beyond import growth, to_come, upper_bound
from helpers.analysis.curves import NAMES, Curve, read_curve
from helpers.analysis.forms import AxisForm, forms_for, untold
from helpers.analysis.separable import Fits, fit, fit_one

VERDICTS = ("no scaling", "saturated", "power law", "not identifiable")
POWER_LAWS = ("power law", "broken power law")
FEWEST_SIZES = 4
LEAD = 2.0  # of AICc, over every form that is no power law
CLOSE = 4.0  # AICc from the best, up to which a form's gain to come counts with its bound
FEWEST_DRAWS = 50
MISSES = 3.0  # standard errors by which a leading form may miss the largest size
N_GRID = {0: 1, 1: 40, 3: 8}  # by the number of theta
ENDS = (0.05, 0.95)
UNKNOWN = (np.nan, np.nan)


@dataclass(frozen=True)
class ScalingFit:
    """What one curve says about scale; intervals are of 90 %, NaN if two sizes have one run.

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
        What the leading form gains beyond the largest size, and the largest upper 90 % bound of the forms within 4 of
        the best AICc; or what a form gains whose chi2 is no larger than the leader's, if that is more.
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

        Infinite where the law's floor is higher. Raises ValueError for a share that is not over 0, and unless the
        verdict is a power law.
        """
        if not share > 0:
            raise ValueError(f"share is {share}; the loss that is to be lost must be over 0, as .01 for 1 %")
        if self.verdict != "power law":
            raise ValueError(f"what {100 * share:g} % less loss would take cannot be told: {self}")
        point = growth(self._lead, self.curve.x[-1], share)[0]
        low, high = np.quantile(growth(self._draws, self.curve.x[-1], share), ENDS, method="nearest")
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
        Of the parametric bootstrap of the runs of each size, with `n_boot` draws, 50 or more (`Curve.resampled`).
    min_effect
        Smallest change of the loss that counts, 0 or more; 2 % of the mean absolute loss if not given.

    Returns
    -------
    The verdict, in this order:

    1. ``no scaling``: the 90 % interval of the change from smallest to largest size lies inside ±`min_effect`.
    2. ``saturated``: the change exceeds three pooled standard deviations of seeds, and the gain still to come beyond
       the largest size is under one: by its upper 90 % bound of every form that is within 4 of the best AICc, and by
       every form that fits the means no worse than the leader, whatever AICc takes off for its parameters; if the
       leading form knows a change and does not miss the largest size by over 3 standard errors.
    3. ``power law``: a power law leads every other form by 2 of AICc and fits the means (`Curve.misfit`, at 1 %), the
       largest size falls inside the prediction interval that the others give it (95 % for a run, 99 % for the mean of
       its runs), and the exponent's 90 % interval is narrower than 1.
    4. ``not identifiable``: everything else, fewer than four sizes, and two or more sizes of one run. One, as the whole
       corpus, may have one run, and then the spread that is common to the others.

    Forms minimise Huber's loss of the runs, which turns linear at 1.345 pooled standard deviations. AICc is of the
    Gaussian likelihood of the sizes' means, with the pooled variance that seeds tell, widened where no form fits; tests
    of fit and intervals take each size's moderated variance. At 100 % all subset seeds of ``random`` hold the same
    cells, so that the spread there is of initial weights alone.

    Raises
    ------
    ValueError
        What `read_curve` refuses, too few draws, `min_effect` under 0.
    """
    if n_boot < FEWEST_DRAWS:
        raise ValueError(f"n_boot is {n_boot}; intervals need at least {FEWEST_DRAWS} draws")
    if min_effect is not None and not min_effect >= 0:
        raise ValueError(f"min_effect is {min_effect}; the smallest change that counts must be 0 or more")
    if x == "n_cells" and x not in frame and "percentage" in frame:
        x = "percentage"
    curve, axis = read_curve(frame, x, y), NAMES.get(x, x)
    told: dict = {"curve": curve, "x": x, "change": float(curve.means[0] - curve.means[-1])}
    without = {"change_interval": UNKNOWN, "to_come_bound": np.nan, "interval": UNKNOWN}
    if len(curve.x) < FEWEST_SIZES:
        reason = f"{len(curve.x)} distinct sizes ({axis}); at least {FEWEST_SIZES} are needed"
        empty = {"form": "", "exponent": np.nan, "scores": pd.DataFrame(), "to_come": np.nan}
        return ScalingFit("not identifiable", reason, **told, **empty, **without)
    fits = {form.name: _fit(form, curve) for form in forms_for(curve.x)}
    scores = compare(fits, curve)
    lead = fits[scores["aicc"].idxmin()]
    told |= {"form": lead.form.name, "scores": scores, "to_come": float(to_come(lead, curve.x[-1])[0]), "_lead": lead}
    exponent = float(lead.form.exponent(lead.theta)[0]) if lead.form.exponent else np.nan
    if (single := int((curve.n == 1).sum())) > 1:
        best = lead.form.name + (f" with exponent {exponent:.2g}" if lead.form.exponent else "")
        sizes = f"{single} of {len(curve.x)} sizes" if single < len(curve.x) else "each size"
        reason = f"one run for {sizes} ({axis}), so that there is no interval; by AICc of the values alone: {best}"
        return ScalingFit("not identifiable", reason, **told, **without, exponent=exponent)
    samples = curve.resampled(n_boot, rng)
    close = scores.index[scores["distance"] < CLOSE]
    draws = {name: _fit_draws(fits[name].form, curve, samples, fits[name].theta) for name in close}
    own = draws[lead.form.name]
    interval = _ends(own.form.exponent(own.theta)) if own.form.exponent else UNKNOWN
    bound = _bound(fits, draws, scores, curve.x[-1])
    told |= {"change_interval": curve.difference(), "to_come_bound": bound, "_draws": own}
    effect = 0.02 * float(np.abs(curve.losses).mean()) if min_effect is None else min_effect
    effect = 10 * curve.scale if min_effect is None and effect == 0 else effect  # losses that are all 0
    verdict, reason = _judge(told, interval, samples, effect, rng)
    bare = np.nan if verdict == "no scaling" or told["change"] < 0 or untold("", *interval) else exponent
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


def _bound(fits: Mapping[str, Fits], draws: Mapping[str, Fits], scores: pd.DataFrame, last: float) -> float:
    """Upper 90 % bound of the gain beyond the largest size by the forms with draws; or what a form gains that fits no
    worse than the leader, if that is more.
    """
    no_worse = scores.index[scores["chi2"] <= scores.loc[scores["aicc"].idxmin(), "chi2"]]
    gains = [float(to_come(fits[name], last)[0]) for name in no_worse]
    return max([upper_bound(of, last) for of in draws.values()] + gains)


def _judge(
    told: dict, interval: tuple[float, float], samples: np.ndarray, effect: float, rng: np.random.Generator
) -> tuple[str, str]:
    curve, change, (low, high), bound = (told[key] for key in ("curve", "change", "change_interval", "to_come_bound"))
    span = f"from {curve.x[0]:,.6g} to {curve.x[-1]:,.6g} {NAMES.get(told['x'], told['x'])}"
    verb = "falls" if change >= 0 else "changes"
    falls = f"the loss {verb} by {change:.3g} (90 % interval {low:.3g} to {high:.3g}) {span}"
    if -effect <= low and high <= effect:
        return "no scaling", f"{falls}, inside ±{effect:.3g}"
    if change > 3 * curve.scale and bound < curve.scale and not _astray(told):
        return "saturated", f"{falls}; at most {bound:.2g} is to come, under one SD of seeds ({curve.sd:.2g})"
    if change > 3 * curve.scale and told["form"] == "exponential" and bound >= curve.scale:
        more = f"up to {bound:.2g}" if np.isfinite(bound) else "any amount"
        falls += f"; {more} may be to come by a form that fits as well, one SD of seeds is {curve.sd:.2g}"
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
    return told["form"] == "constant" or miss > MISSES * curve.scale / np.sqrt(curve.n[-1])


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
    if why := curve.misfit(lead.predict(curve.x)[0], samples, told["_draws"].predict(curve.x)):
        yield f"the {lead.form.name} {why}"
    low, high = foretold(curve, lead.form, samples, rng)
    if not low <= curve.means[-1] <= high:
        yield f"the largest size has {curve.means[-1]:.4g}, the others foretell {low:.4g} to {high:.4g}"
    if why := untold("the exponent", *interval):
        yield why


def foretold(curve: Curve, form: AxisForm, samples: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Where the mean of the largest size's runs must lie by the form, fitted to the others: inside the 95 % prediction
    interval of a run and the 99 % one of the mean. A law that holds is then refused less often than in one of twenty.
    """
    rest = curve.without_largest()
    fits = _fit_draws(form, rest, samples[:, : len(rest.losses)], _fit(form, rest).theta)
    sd, freedom = (values[-1] for values in curve.spread)
    means, noise = fits.predict(curve.x[-1:])[:, 0], sd * rng.standard_t(freedom, len(samples))
    run = np.quantile(means + noise, [0.025, 0.975])
    mean = np.quantile(means + noise / np.sqrt(curve.n[-1]), [0.005, 0.995])
    return float(max(run[0], mean[0])), float(min(run[1], mean[1]))


def _ends(draws: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(draws, ENDS)
    return float(low), float(high)

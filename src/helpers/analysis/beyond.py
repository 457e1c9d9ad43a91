"""What fitted forms say of sizes beyond the largest."""

import numpy as np

from helpers.analysis.separable import Fits

FACTORS = np.geomspace(1, 1e12, 1201)  # growth of x that is looked at


def to_come(fits: Fits, last: float) -> np.ndarray:
    """What each of n_tables fits gains beyond `last`, (n_tables,); infinite for a logarithm that falls."""
    beyond = fits.form.columns(fits.theta, np.array([last]))[:, 0] - fits.form.at_infinity(fits.theta)
    gains = np.zeros_like(fits.coefficients[:, 1:])
    np.multiply(beyond, fits.coefficients[:, 1:], out=gains, where=fits.coefficients[:, 1:] != 0)  # 0 of infinity is 0
    return np.nan_to_num(gains.sum(axis=1), posinf=np.inf, neginf=-np.inf)


def upper_bound(draws: Fits, last: float) -> float:
    """Upper 90 % bound of what is gained beyond `last`, of the fits of bootstrap draws."""
    return float(np.quantile(to_come(draws, last), 0.9, method="higher"))


def growth(fits: Fits, last: float, share: float) -> np.ndarray:
    """Factor by which `last` must grow for a `share` less loss, (n_tables,); infinite beyond FACTORS."""
    losses = fits.predict(last * FACTORS)
    above = losses - losses[:, :1] + share * np.abs(losses[:, :1])
    first = (above <= 0).argmax(axis=1)
    table = np.arange(len(losses))
    high, low = above[table, first], above[table, first - 1]
    part = np.divide(low, low - high, out=np.zeros_like(low), where=first > 0)
    growth = np.exp(np.log(FACTORS)[first - 1] + part * np.log(FACTORS[1]))
    return np.where(first > 0, growth, np.inf)

"""Numbers and findings in words."""

import pandas as pd
import pytest

from helpers import findings, words
from helpers.analysis.laws import told_verdicts
from helpers.analysis.published import CORPUS_CELLS
from helpers.analysis.reach import reach


def test_numbers_have_their_nouns_and_verbs():
    assert words.counted(1, "seed") == "1 seed"
    assert words.counted(pd.Series([1, 3]), "seed") == "1 to 3 seeds"
    assert words.counted(1200, "library/libraries") == "1,200 libraries"
    assert [words.doing(n, "saturates", "saturate") for n in (0, 1, 4)] == [
        "none saturates",
        "1 saturates",
        "4 saturate",
    ]
    assert [words.listed(["a", "b", "c"][:n]) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
    assert [words.trend(1, last) for last in (2, 0, 1)] == ["rises", "falls", "stays"]


@pytest.mark.parametrize("n_cells", [5655, CORPUS_CELLS / 100])
def test_only_a_small_corpus_says_nothing_about_the_atlas(n_cells):
    small = n_cells < CORPUS_CELLS / 100
    assert reach(n_cells) == (
        "5,655 cells say nothing about 22 million" if small else "nothing is known beyond 221,891 cells"
    )


def test_told_verdicts_add_up_and_name_power_laws_even_if_there_are_none():
    verdicts = pd.Series(["saturated"] * 2 + ["no scaling"] + ["not identifiable"] * 3)
    told = told_verdicts(verdicts)
    assert told == "none follows a power law, 2 saturate, 1 shows no scaling and 3 are not identifiable"


def test_scores_are_told_from_the_smallest_to_the_largest_size():
    means = pd.DataFrame({"a": [0.5, 0.7, 0.8], "b": [0.9, 0.9, 0.85]}, index=[1.0, 10.0, 100.0])
    assert findings.on_one_set(means, "a") == "on a rises from 0.50 at 1 % of the corpus to 0.80 at 100 %"
    assert findings.on_one_set(means, "unknown").startswith("on a "), "the first set"
    assert findings.on_one_set(means.iloc[:2], "b") == "on b is 0.90 at both 1 % and 10 % of the corpus"
    told = "At 100 % the 2 sets range from 0.80 (a) to 0.85 (b), higher than at 1 % on 1 of them."
    assert findings.on_all_sets(means) == told
    assert findings.on_all_sets(means[["a"]]) == "No other set is judged."
    untrained = means.iloc[:1].set_axis([0.0])
    assert findings.on_one_set(untrained, "b") == "on b is 0.90"
    assert findings.on_all_sets(untrained) == "The 2 sets range from 0.50 (a) to 0.90 (b)."


def test_baselines_are_told_beside_their_floor():
    means = pd.DataFrame({"a": [0.1, 0.8, 0.7], "b": [0.2, 0.6, 0.9]}, index=["majority", "logistic", "hvg"])
    told = findings.on_baselines(means, "a", what="a macro F1", floor="majority", given="Taught by 10 cells")
    assert told == (
        "Taught by 10 cells, the best baseline on a, logistic regression, has a macro F1 of 0.80 where the floor, the "
        "majority class, has 0.10. Over 2 sets the best baseline has 0.80 (a) to 0.90 (b)."
    )

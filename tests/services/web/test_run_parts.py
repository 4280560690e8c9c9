"""A run's page judges its posterior by the rule of the verdict."""

from typing import Any

import pytest

from services.store.schemas import SCHEMAS
from services.web.run_parts import _judged

SOUND = {
    **dict.fromkeys(SCHEMAS["runs"].names()),
    **{"kind": "bayesian-net", "status": "finished", "n_chains": 4, "n_draws": 500},
    **{"r_hat_max": 1.004, "ess_min": 812.0, "divergences": 0},
}


def test_a_posterior_that_passed_every_check_is_said_to_have():
    assert _judged(SOUND).startswith(
        "4 chains of 500 draws: they passed every check (R-hat of predictions at most 1.004"
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"ess_min": 312.0}, "effective sample size 312, below 400"),
        ({"divergences": 3}, "3 divergences"),
        ({"r_hat_max": 1.2}, "R-hat 1.200, above 1.01"),
        ({"r_hat_max": None}, "R-hat unknown"),
        (
            {"n_chains": 1, "r_hat_max": None},
            "1 chain of 500 draws: do not read its spread as uncertainty: a single chain",
        ),
        ({"kind": "glm", "improper": "y is separated by x"}, "y is separated by x"),
    ],
)
def test_each_fault_of_the_verdict_is_one_here(changed: dict[str, Any], said: str):
    told = _judged(SOUND | changed)
    assert "do not read its spread as uncertainty" in told
    assert said in told


def test_a_run_without_draws_has_nothing_to_judge():
    assert _judged(SOUND | {"n_draws": None}) == "It has no posterior of its own."

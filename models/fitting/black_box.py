"""Black boxes: fitted by their library, judged by their predictions."""

from models.baselines.black_boxes import fit_baseline
from models.fitting.summarise import black_box_result
from models.runs.result import RunResult
from models.runs.run import Run


def fit_baseline_run(run: Run) -> RunResult:
    """Fit a black box and judge it."""
    with run.clock.computing():
        found = fit_baseline(run.request.learner, run.split, run.library_seed)
    return black_box_result(run, found.predict, found.n_parameters, found.warnings)

"""Formulas of a sweep against the columns of its files, before a row of these is read."""

import re
from collections.abc import Iterator
from pathlib import Path

from models.data.preparation import identifiers
from models.spec.predictors import Formula
from models.spec.settings import SpecError
from services.sweeps.definition import Sweep
from services.sweeps.search_space import variants

_OF_A_COLUMN = re.compile(r"__.*|_\d+$")  # a level, an indicator, or the number of a name that two columns have


def check_formulas(sweep: Sweep) -> None:
    """Refuse a formula that names what no column of a file can be called.

    What a column holds, and whether it is used, is known when its rows are read: a plan checks that.

    Raises:
        SpecError: naming the dataset and the formula.
    """
    formulas = dict.fromkeys(_stated(sweep))
    if not formulas:
        return
    from models.glm.columns import check_known
    from models.spec.formula_grammar import read, shown
    from services.datasets.readers import read_columns  # seconds to import
    from services.datasets.registry import file_of

    for data in sweep.datasets:
        path = file_of(data.data.removeprefix("random-labels:"))
        if path is None or path.suffix.lower() == ".npz":
            continue
        columns = list(identifiers(name for name in read_columns(Path(path), data) if name != data.target))
        for formula in formulas:
            uses = [use for use in read(formula).uses if _OF_A_COLUMN.sub("", use.name) not in columns]
            try:
                check_known([use.name for use in uses], columns)
            except SpecError as error:
                raise SpecError(f"dataset {path.stem!r}: formula {shown(formula)} {error}") from None


def _stated(sweep: Sweep) -> Iterator[str]:
    for learner in sweep.learners_for(has_shape=True):
        if isinstance(learner.predictor, Formula):
            for variant in variants(learner, sweep.vary, sweep.drawn):
                if isinstance(variant.learner.predictor, Formula) and variant.learner.predictor.formula is not None:
                    yield variant.learner.predictor.formula

"""Group-specific effects: those of the groups that training has, and of others, which are drawn from their prior."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from formulae.categorical import CategoricalBox
from formulae.terms import Variable

from models.data.dataset import Split, listed
from models.glm.design import display, frame, quietly

CLASSES = "the target_reduced_dim"
"""The dimension of a categorical model's classes, but for the first."""


class Effects(NamedTuple):
    """Draws of one group-specific term, S draws of K natural parameters each.

    Attributes:
        term: formulae's, with the design that training left.
        known: (S, K, group, p) the effects of each group on the p columns of the term.
        scale: (S, K, p) their prior's standard deviation, tau.
        key: of the random stream that other groups' effects come from.
    """

    term: Any
    known: np.ndarray
    scale: np.ndarray
    key: tuple[int, ...]

    def eta(self, data: pd.DataFrame) -> np.ndarray:
        """(S, n, K) what the term adds to the natural parameters.

        A group that training lacks has an effect drawn from N(0, tau^2), once in each draw of the posterior: all of
        its rows share it, in whatever part they are.
        """
        with quietly():
            x = np.asarray(self.term.expr.eval_new_data(data), dtype=float).reshape(len(data), -1)
            member = np.asarray(self.term.factor.eval_new_data(data))
        names = np.array(_groups(self.term, data), dtype=object)
        new = ~member.any(axis=1)
        effects = self.known[:, :, member.argmax(axis=1)]
        for name in dict.fromkeys(names[new]):
            stream = np.random.default_rng((*self.key, *name.encode()))
            effects[:, :, names == name] = (self.scale * stream.standard_normal(self.scale.shape))[:, :, None]
        return np.einsum("skrp,rp->srk", effects, x)


def effects_of(terms: Any, draws: xr.Dataset, seed: int) -> list[Effects]:
    """The group-specific terms of a fitted model.

    Args:
        terms: Bambi's component of the linear predictor.
        draws: of the posterior, by Bambi's names.
        seed: of the run.
    """
    found = []
    for place, name in enumerate(terms.group_specific_terms):
        expression, factor = name.split("|")
        columns, groups = f"{expression}__expr_dim", f"{factor}__factor_dim"
        known = _by_draw(draws[name], (CLASSES, groups, columns))
        scale = _by_draw(draws[f"{name}_sigma"], (CLASSES, columns))
        found.append(Effects(terms.design.group.terms[name], known, scale, (seed, place)))
    return found


def _by_draw(draws: xr.DataArray, dims: tuple[str, ...]) -> np.ndarray:
    """(S, ...) by these dimensions, of length 1 where the draws lack them."""
    draws = draws.expand_dims([dim for dim in dims if dim not in draws.dims])
    draws = draws.transpose("chain", "draw", *dims)
    return draws.values.reshape(-1, *draws.shape[2:])


def new_levels(terms: Any, split: Split) -> tuple[str, ...]:
    """What must be said of levels and groups that the training part lacks."""
    said = []
    for part in ("validation", "test"):
        data = frame(split, getattr(split, part))
        for name, component in _of_levels(terms.design.common):
            if new := sorted(set(_values(component, data)) - set(component.levels), key=str):
                said.append(
                    f"the {part} part has levels of {display(name)!r} that training lacks ({listed(map(str, new))}): "
                    "their columns are 0, as the reference level's are"
                )
        for name, term in terms.design.group.terms.items() if terms.design.group else ():
            with quietly():
                known = np.asarray(term.factor.eval_new_data(data)).any(axis=1)
            if new := sorted({group for group, old in zip(_groups(term, data), known, strict=True) if not old}):
                said.append(
                    f"the {part} part has groups of {display(term.factor.name)!r} that training lacks ({listed(new)}): "
                    f"in each draw their effects of {display(name)!r} are drawn from N(0, tau^2), as widely as groups "
                    "differ"
                )
    return tuple(dict.fromkeys(said))


def _of_levels(common: Any) -> Iterator[tuple[str, Any]]:
    """The parts of common terms that have levels, with their names."""
    for term in common.terms.values() if common else ():
        for component in getattr(term, "components", ()):
            if component.kind == "categoric":
                yield component.name, component


def _values(component: Any, data: pd.DataFrame) -> Any:
    if isinstance(component, Variable):
        return data[component.name]
    found = component.call.eval(data, component.env)
    return found.data if isinstance(found, CategoricalBox) else found


def _groups(term: Any, data: pd.DataFrame) -> list[str]:
    columns = [data[part.name].astype(str) for part in term.factor.components]
    return [":".join(row) for row in zip(*columns, strict=True)]

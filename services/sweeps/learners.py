"""The learners that `basin compare` knows by name, and how much effort each budget puts into them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from models.spec.inference import NUTS, Cosine, Library, Optimise, PyMC
from models.spec.learner import Learner
from models.spec.parsing import parse_learner
from models.spec.predictors import MLP, BoostedTrees, ConvNet, Formula, Linear, SupportVectors
from models.spec.priors import GLM_PRIOR, Normal
from models.spec.settings import SpecError, shortened
from models.spelling import did_you_mean
from services.datasets.permitted import permitted
from services.sweeps.yaml_file import read_yaml

Budget = Literal["quick", "standard", "thorough"]


class Effort(NamedTuple):
    """How far a budget goes: repetitions, and lengths of training and sampling."""

    splits: int
    seeds: int
    epochs: int
    chains: int
    nuts_warmup: int
    nuts_draws: int
    nuts_depth: int
    glm_warmup: int
    glm_draws: int


EFFORTS: Mapping[Budget, Effort] = {
    "quick": Effort(3, 1, 60, 4, 150, 100, 5, 200, 400),
    "standard": Effort(5, 2, 100, 4, 300, 200, 7, 500, 500),
    "thorough": Effort(10, 3, 200, 4, 1000, 500, 9, 1000, 1000),
}

NET = MLP(widths=(32, 32), activation="relu")
# The same on eta: a ReLU layer halves the variance, so sd(eta)^2 = s^2 (s^2 / 2)^2 for two hidden layers, and s = 1.7.
NET_PRIOR = Normal(scale=1.7, scaling="fan-in", bias_scale=1.0)


def presets(budget: Budget) -> dict[str, Learner]:
    """Every named learner, at the effort of a budget."""
    e = EFFORTS[budget]
    # Small tables are overfitted in a few epochs: the best validation epoch is kept.
    sgd = Optimise(
        optimiser="sgd",
        learning_rate=0.05,
        clip=1.0,
        schedule=Cosine(warmup=0.05),
        epochs=e.epochs,
        weight_decay=1e-4,
        patience=e.epochs // 2,
    )
    adam = sgd.model_copy(update={"optimiser": "adam", "learning_rate": 3e-3, "clip": None, "schedule": Cosine()})
    members = Optimise(optimiser="adam", learning_rate=5e-3, schedule=Cosine(), epochs=e.epochs // 2)
    learners = (
        Learner(name="mlp-sgd", predictor=NET, inference=sgd),
        Learner(
            name="mlp-sgd-large-batch",
            predictor=NET,
            # As many epochs again for every doubling would be fair to its few steps; four times is what it gets.
            inference=sgd.model_copy(
                update={"batch_size": 512, "epochs": 4 * e.epochs, "learning_rate": 0.1, "patience": 2 * e.epochs}
            ),
        ),
        Learner(name="mlp-adam", predictor=NET, inference=adam),
        Learner(name="convnet", predictor=ConvNet(), inference=adam),
        Learner(
            name="bnn-nuts",
            predictor=NET,
            prior=NET_PRIOR,
            inference=NUTS(
                chains=e.chains, warmup=e.nuts_warmup, draws=e.nuts_draws, max_tree_depth=e.nuts_depth, init=members
            ),
        ),
        Learner(
            name="glm-bayes",
            predictor=Formula(),
            prior=GLM_PRIOR,
            inference=PyMC(chains=e.chains, warmup=e.glm_warmup, draws=e.glm_draws),
        ),
        Learner(
            name="linear-map",
            predictor=Linear(),
            prior=GLM_PRIOR,
            inference=Optimise(optimiser="lbfgs", batch_size=None, epochs=5000),
        ),
        Learner(name="svm", predictor=SupportVectors(), inference=Library()),
        Learner(name="boosted-trees", predictor=BoostedTrees(), inference=Library()),
    )
    return {learner.name: learner for learner in learners}


def default_names(has_shape: bool) -> list[str]:
    """All presets; the conv net only for images and sequences."""
    return [name for name in presets("quick") if name != "convnet" or has_shape]


def choose(names: Sequence[str | Learner], budget: Budget) -> list[Learner]:
    """Learners by preset name or by the path of a YAML or JSON file that holds one learner or a list of them.

    Those that are learners already are taken as they are.

    Raises:
        SpecError: an unknown name (the nearest are offered), an unreadable or wrong file, a name given twice.
    """
    known = presets(budget)
    chosen: list[Learner] = []
    for name in names:
        if isinstance(name, Learner):
            chosen.append(name)
        elif name in known:
            chosen.append(known[name])
        elif name.endswith((".yaml", ".yml", ".json")):
            chosen += read_learners(Path(name))
        else:
            hint = did_you_mean(name, known, f"known: {', '.join(known)}")
            raise SpecError(f"unknown learner {shortened(name)!r}: {hint} (or give a .yaml or .json file)")
    seen: set[str] = set()
    for learner in chosen:
        if learner.name in seen:
            raise SpecError(f"learner {learner.name!r} is named twice: give each its own name")
        seen.add(learner.name)
    return chosen


def read_learners(path: Path) -> list[Learner]:
    """Read one learner or a list of learners from YAML or JSON (which YAML contains).

    Raises:
        SpecError: naming the file, and within it the path of each fault; or that it may not be read.
    """
    data = read_yaml(permitted(path, "learner file"), "a learner file, or a learner's name")
    items = data if isinstance(data, list) else [data]
    return [
        parse_learner(item, where=f"{path}[{i}]" if isinstance(data, list) else str(path))
        for i, item in enumerate(items)
    ]

"""The sweep file: datasets x learners x varied settings x splits x seeds, and the measures wanted.

A comparison is a sweep on one dataset that varies nothing.
"""

import itertools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    ValidationError,
    model_validator,
)

from models.fitting.halving import Halving
from models.spec.learner import Learner
from models.spec.parsing import parse_learner
from models.spec.settings import Count, NonNegative, Settings, SpecError, Task, explained, shortened, unquoted, worded
from models.spelling import did_you_mean
from services.datasets.permitted import permitted
from services.datasets.reading import Reading
from services.settings import settings
from services.sweeps.learners import EFFORTS, Budget, choose, default_names
from services.sweeps.search_space import Draw, Draws, Range, check_variants, check_varied, combinations
from services.sweeps.yaml_file import read_yaml

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
NAME_WORDS = "expected letters, digits, '.', '_' and '-', at most 64 of them, a letter or a digit first"
MAX_CONFIGURATIONS = 20_000
MAX_RUNS = 1_000_000
# At most a few hundred gradients each; those that search or train (sharpness in the worst case, bounds) are asked for.
MEASURES = (
    "hessian_top_eigenvalue",
    "hessian_trace",
    "sharpness_sam",
    "adaptive_sharpness_sam",
    "l2_norm",
    "distance_from_initialisation",
    "log_spectral_norm_product",
    "path_norm",
    "fisher_rao_norm",
    "normalised_margin",
)


class Data(Reading):
    """One dataset of a sweep, asked for as on the command line, and how its text is to be read."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    data: Annotated[str, Field(min_length=1)]
    """A name of `basin data list`, `openml:ID`, or the path of a file, from the folder where the command runs."""
    target: str | None = None
    """Column to predict; needed for files of tables."""
    task: Task | None = None
    """Stated instead of inferred."""


def _data(value: Any) -> Any:
    if isinstance(value, str):
        return {"data": value}
    if isinstance(value, Mapping | Data):
        return value
    expected = "expected a dataset's name, or a mapping with `data`, `target`, `task` and how it is to be read"
    raise ValueError(f"{expected}{unquoted(value)}")


def _learner(value: Any) -> Any:
    if isinstance(value, str | Mapping | Learner):
        return value
    raise ValueError(f"expected a learner's name, the path of a learner file, or a learner in full{unquoted(value)}")


def _measure(value: Any) -> Any:
    if isinstance(value, str) or (isinstance(value, Mapping) and isinstance(value.get("measure"), str)):
        return value
    raise ValueError("expected a measure's name, or a mapping with `measure` and its settings")


def _connections(value: Any) -> Any:
    if isinstance(value, bool | Mapping):
        return value
    raise ValueError("expected true, false, or a mapping with settings")


def _form(value: Any) -> str | None:
    if isinstance(value, Mapping):
        return "draw" if "draw" in value else "range"
    return {Range: "range", Draw: "draw", list: "list", tuple: "list"}.get(type(value))


Varied = Annotated[
    Annotated[tuple[JsonValue, ...], Field(min_length=1), Tag("list")]
    | Annotated[Range, Tag("range")]
    | Annotated[Draw, Tag("draw")],
    Discriminator(
        _form,
        custom_error_type="form",
        custom_error_message="expected a list of values, a range (low, high, count), or a draw (draw, low, high)",
    ),
]


class Demand(Settings):
    """What a sweep asks of the machines that it runs on. An option of the command takes precedence."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    workers: Count | None = None
    """Ray actors; left out: as many as there is room and work for."""
    gpus: NonNegative = 0.0
    """Share of a GPU for each net's worker, such as 0.5; GLMs and black boxes take CPUs."""


LearnerAsked = Annotated[str | Learner, BeforeValidator(_learner, json_schema_input_type=str | Learner)]
MeasureAsked = Annotated[
    str | dict[str, JsonValue], BeforeValidator(_measure, json_schema_input_type=str | dict[str, JsonValue])
]


class Sweep(Settings):
    """What a sweep asks for."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: Annotated[str, Field(pattern=f"^{NAME}$")]
    """What the sweep's runs are stored under, and found by."""
    datasets: Annotated[
        tuple[Annotated[Data, BeforeValidator(_data, json_schema_input_type=str | Data)], ...], Field(min_length=1)
    ]
    learners: Annotated[tuple[LearnerAsked, ...], Field(min_length=1)] | None = None
    """Names of `basin learners`, paths of learner files, or learners in full; left out: all that suit the dataset."""
    budget: Budget = "standard"
    """Effort of the learners that go by a name, and of splits and seeds that are not stated."""
    splits: Count | None = None
    """Repeated random splits of each dataset."""
    seeds: Count | None = None
    """Seeds on each split."""
    vary: dict[Annotated[str, Field(max_length=200)], Varied] = Field(default_factory=dict)
    """Settings by their dotted path, such as inference.learning_rate, each with a list of values, a range of them, or
    a random draw. Lists and ranges are crossed. They change the learners that have the setting, and leave the others
    as they are."""
    draws: Count = 10
    """How many combinations are drawn of the settings that vary at random."""
    draw_seed: Annotated[int, Field(ge=0)] = 0
    """Another one draws other values."""
    early_stopping: Halving | None = None
    """Stops configurations early whose validation loss falls behind; left out: all are fitted to their end."""
    measures: tuple[MeasureAsked, ...] | None = None
    """What to measure once all runs are fitted: names, or mappings with `measure` and its settings. Left out: nothing,
    and `basin measure` takes the standard ones when it is called."""
    resources: Demand = Demand()
    """What to run it on."""
    connections: Annotated[bool | dict[str, JsonValue], BeforeValidator(_connections)] = False
    """Whether to measure the loss along paths between runs, too, or the settings of that."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        seen: set[Data] = set()
        for data in self.datasets:
            if data in seen:
                raise ValueError(f"dataset {data.data!r} is named twice")
            seen.add(data)
        for inner in self.vary:
            for outer in itertools.accumulate(inner.split(".")[:-1], lambda path, name: f"{path}.{name}"):
                if outer in self.vary:
                    raise ValueError(f"vary: {inner!r} is a part of {outer!r}: vary one of them")
        return self

    @property
    def n_splits(self) -> int:
        """Splits, stated or by the budget."""
        return self.splits or EFFORTS[self.budget].splits

    @property
    def n_seeds(self) -> int:
        """Seeds on each split, stated or by the budget."""
        return self.seeds or EFFORTS[self.budget].seeds

    @property
    def drawn(self) -> Draws:
        """How random settings are drawn."""
        return Draws(self.draws, self.draw_seed)

    def learners_for(self, *, has_shape: bool) -> list[Learner]:
        """The learners before they are varied, for a dataset of images or sequences (`has_shape`) or a table.

        Raises:
            SpecError: as `services.sweeps.learners.choose` does.
        """
        return choose(default_names(has_shape) if self.learners is None else self.learners, self.budget)


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file, and the learner files that it names.

    Raises:
        SpecError: naming the file, and within it the path of each fault.
    """
    return settle(parse_sweep(read_yaml(path, "a sweep file"), str(path)))


def parse_sweep(data: Any, where: str = "sweep") -> Sweep:
    """Read a sweep from decoded YAML or JSON.

    Raises:
        SpecError: with one line per fault: the path, what is wrong and the remedy.
    """
    if not isinstance(data, Mapping):
        raise SpecError(f"{where}: expected a mapping with `name`, `datasets` and more: see `basin schema sweep`")
    if isinstance(learners := data.get("learners"), Sequence) and not isinstance(learners, str):
        in_full = (
            parse_learner(learner, f"{where}.learners.{i}") if isinstance(learner, Mapping) else learner
            for i, learner in enumerate(learners)
        )
        data = {**data, "learners": list(in_full)}
    try:
        return Sweep.model_validate(data)
    except ValidationError as error:
        faults: list[Any] = [{**fault, "loc": _place(fault["loc"])} for fault in error.errors(include_url=False)]
        raise SpecError("\n".join(explained(faults, lambda fault: _explain(where, fault)))) from None


def _place(loc: tuple[Any, ...]) -> tuple[Any, ...]:
    """Where a fault is, without the name of the form in which a setting varies."""
    return (*loc[:2], *loc[3:]) if loc[:1] == ("vary",) else loc


_EXPECTED = {
    "tuple_type": "expected a list",
    "too_short": "expected at least one entry",
    "dict_type": "expected a mapping",
}


_KEYS: Mapping[Any, type[Settings]] = {"datasets": Data, "resources": Demand, "early_stopping": Halving}


def _explain(where: str, fault: Any) -> str:
    path = ".".join([where, *(shortened(str(part)) for part in fault["loc"])])
    if fault["type"] == "extra_forbidden":
        group = fault["loc"][0] if len(fault["loc"]) > 1 else None
        known = Draw.model_fields if group == "vary" else _KEYS.get(group, Sweep).model_fields
        return f"{path}: unknown key; {did_you_mean(str(fault['loc'][-1]), known, f'known keys: {", ".join(known)}')}"
    if fault["type"] == "string_pattern_mismatch":
        return f"{path} is {shortened(fault['input'])!r}: {NAME_WORDS}"
    return f"{path}: {_EXPECTED.get(fault['type']) or worded(fault)}"


def settle(sweep: Sweep) -> Sweep:
    """The same sweep so that it means the same elsewhere and later: learners in full, files by their whole paths.

    Raises:
        SpecError: an unknown learner, a learner file that is wrong, settings that cannot be varied so, more runs than
            are planned, or a file that may not be read.
    """
    confine(sweep)
    learners = sweep.learners_for(has_shape=True)
    check_varied(learners, sweep.vary)
    check_size(sweep, learners)
    for learner in learners:
        check_variants(learner, sweep.vary, sweep.drawn)
    return sweep.model_copy(
        update={
            "datasets": tuple(data.model_copy(update={"data": _whole_path(data.data)}) for data in sweep.datasets),
            "learners": None if sweep.learners is None else tuple(learners),
            "splits": sweep.n_splits,
            "seeds": sweep.n_seeds,
        }
    )


def check_size(sweep: Sweep, learners: Sequence[Learner], who: str = "Basin") -> None:
    """Refuse more than can be planned, before anything is worked out for each configuration.

    Args:
        sweep: what is asked for.
        learners: those of the sweep.
        who: plans no more, for the message.

    Raises:
        SpecError: saying how much it is.
    """
    configurations = sum(combinations(learner, sweep.vary, sweep.drawn) for learner in learners) * len(sweep.datasets)
    runs = configurations * sweep.n_splits * sweep.n_seeds
    if configurations > MAX_CONFIGURATIONS:
        most = f"plans at most {MAX_CONFIGURATIONS:,} configurations: vary less"
    elif runs > MAX_RUNS:
        most = f"accepts at most {MAX_RUNS:,} runs: ask for fewer splits, seeds or values"
    else:
        return
    splits, seeds = _counted(sweep.n_splits, "split"), _counted(sweep.n_seeds, "seed")
    raise SpecError(
        f"sweep {sweep.name!r} may have {_counted(configurations, 'configuration')}, each on {splits} with {seeds}: "
        f"that is {runs:,} runs, and {who} {most}, or make several sweeps of it"
    )


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def confine(sweep: Sweep) -> None:
    """Refuse datasets that are files outside the folders of BASIN_DATA_ROOTS, where that is set.

    Datasets that have a name, `openml:` ones among them, are no files of this machine, and stay allowed. Reading a file
    asks again; this is so that a sweep is refused when it comes in, and not when it is run.

    Raises:
        SpecError: naming the dataset and the folders.
    """
    if not settings().data_roots:
        return
    from services.datasets.registry import file_of  # seconds to import

    for data in sweep.datasets:
        if (path := file_of(data.data)) is not None:
            permitted(path, f"dataset {data.data!r}")


def _whole_path(data: str) -> str:
    head, colon, rest = data.partition(":")
    if colon and head == "random-labels":
        return f"{head}:{_whole_path(rest)}"
    path = Path(data)
    return str(path.resolve()) if path.suffix and _is_file(data) else data


def _is_file(text: str) -> bool:
    return os.path.isfile(text)  # noqa: PTH113 - Path.is_file raises where a text is too long for a file's name


def comparison(
    data: Data,
    learners: Sequence[str | Learner],
    budget: Budget,
    *,
    splits: int | None = None,
    seeds: int | None = None,
    name: str | None = None,
) -> Sweep:
    """The sweep that a comparison is; no learners are all that suit the dataset.

    Raises:
        SpecError: an unknown learner, or a learner file that is wrong.
    """
    return settle(
        Sweep(
            name=name or name_of(data.data, budget),
            datasets=(data,),
            learners=tuple(learners) or None,
            budget=budget,
            splits=splits,
            seeds=seeds,
        )
    )


def name_of(data: str, budget: Budget) -> str:
    """What a comparison is stored under unless it is given a name: by its dataset, or its file, and the budget."""
    plain = Path(data).stem if _is_file(data) else data
    safe = re.sub(r"[^A-Za-z0-9._]+", "-", plain).strip("-")
    return f"compare-{safe[:45]}-{budget}"

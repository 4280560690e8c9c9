"""Varying settings of a learner, by their dotted paths: listed values, ranges, and random draws."""

import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import ConfigDict, Field, JsonValue, model_validator

from models.spec.learner import Learner
from models.spec.parsing import parse_learner
from models.spec.settings import Count, Settings, SpecError, shortened
from models.spelling import did_you_mean

DIGITS = 4  # significant ones of a value that is computed: a table should show the very value that was used
_ALL_DIGITS = 17  # of a double
_CLOSE = 0.1  # of the distance to the next value: how far off a value of a range may be for having few digits
_FINE = 0.01  # of the way from the lowest to the highest: likewise for a drawn value


class Range(Settings):
    """Values from one number to another, both included, at equal distances or equal ratios."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    low: float
    """The first value."""
    high: float
    """The last value."""
    count: Annotated[int, Field(ge=2, le=1000)]
    """How many values."""
    scale: Literal["linear", "log"] = "linear"
    """Equal distances, or equal ratios."""
    whole: bool = False
    """Rounded to whole numbers."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        _check_ends(self.low, self.high, self.scale, self.whole)
        if not self.whole and len(set(self.values())) < self.count:
            raise ValueError(f"there are no {self.count} different numbers from {self.low!r} to {self.high!r}")
        return self

    def values(self) -> list[float | int]:
        """`count` values in order, the first and the last of which are the ends.

        Those between have as few digits, but at least `DIGITS`, as keep each within a tenth of the distance to the next
        one. Of whole numbers there are fewer if there are not so many.
        """
        if self.whole:
            return self._whole_values()
        exact = [_between(self.low, self.high, i / (self.count - 1), self.scale) for i in range(self.count)]
        step = min(b - a for a, b in itertools.pairwise(exact))
        return [self.low, *(_rounded(x, _CLOSE * step, self.low, self.high) for x in exact[1:-1]), self.high]

    def _whole_values(self) -> list[float | int]:
        low, high = math.ceil(self.low), math.floor(self.high)
        count = min(self.count, high - low + 1)
        found: list[float | int] = []
        for i in range(count):
            if self.scale == "log":
                nearest = round(_between(low, high, i / max(1, count - 1), "log"))
            else:
                nearest = round(low + Fraction(i * (high - low), max(1, count - 1)))
            # Where the nearest ones are taken already, as at the lower end of a logarithmic scale, those next to them.
            least = found[-1] + 1 if found else low
            found.append(max(least, min(nearest, high - (count - 1 - i))))
        return found


class Draw(Settings):
    """Values drawn at random: uniformly between two numbers or their logarithms, or from a list."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    draw: Literal["uniform", "log-uniform", "choice"]
    """How."""
    low: float | None = None
    """The smallest value; not for a choice."""
    high: float | None = None
    """The largest value; not for a choice."""
    values: Annotated[tuple[JsonValue, ...], Field(min_length=1)] | None = None
    """What a choice is from."""
    whole: bool = False
    """Rounded to whole numbers."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.draw == "choice":
            if self.values is None or self.low is not None or self.high is not None:
                raise ValueError("a choice has `values`, and neither `low` nor `high`")
        elif self.values is not None or self.low is None or self.high is None:
            raise ValueError(f"{self.draw} has `low` and `high`, and no `values`")
        else:
            _check_ends(self.low, self.high, self._scale, self.whole)
        return self

    @property
    def _scale(self) -> Literal["linear", "log"]:
        return "log" if self.draw == "log-uniform" else "linear"

    def take(self, count: int, stream: str) -> list[JsonValue]:
        """`count` values of the random stream of this name: the same ones always and everywhere."""
        uniform = random.Random(stream)  # by the text's SHA-512: Python keeps this sequence for all versions
        if self.values is not None:
            return [self.values[int(uniform.random() * len(self.values))] for _ in range(count)]
        assert self.low is not None and self.high is not None
        shares = (uniform.random() for _ in range(count))
        if not self.whole:
            near, low, high = _FINE * (self.high - self.low), self.low, self.high
            return [_rounded(_between(low, high, share, self._scale), near, low, high) for share in shares]
        low, high = math.ceil(self.low), math.floor(self.high)
        if self.draw == "uniform":  # each number alike, both ends included
            return [min(high, math.floor(low + share * (high - low + 1))) for share in shares]
        drawn = (round(_between(self.low, self.high, share, self._scale)) for share in shares)
        return [min(high, max(low, value)) for value in drawn]


Vary = Mapping[str, Sequence[Any] | Range | Draw]


def _check_ends(low: float, high: float, scale: str, whole: bool) -> None:
    if not low < high:
        raise ValueError(f"`low` is {low:g} and `high` is {high:g}: expected a smaller and a larger number")
    if scale == "log" and low <= 0:
        raise ValueError(f"`low` is {low:g}: a logarithmic scale needs numbers above 0")
    if not math.isfinite(high - low):
        raise ValueError(f"`low` is {low:g} and `high` is {high:g}: expected numbers that are less far apart")
    if whole and math.ceil(low) > math.floor(high):
        raise ValueError(f"there is no whole number from {low!r} to {high!r}")


def _between(low: float, high: float, share: float, scale: str) -> float:
    if scale == "log":
        return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    return low + share * (high - low)


def _rounded(value: float, near: float, low: float, high: float) -> float:
    """A number from `low` to `high` at most `near` off, with as few digits, but at least `DIGITS`, as can be."""
    value = min(high, max(low, value))
    for digits in range(DIGITS, _ALL_DIGITS):
        rounded = float(f"{value:.{digits}g}")
        if abs(rounded - value) <= near and low <= rounded <= high:
            return rounded
    return value


class Variant(NamedTuple):
    """A learner with some of its settings varied.

    Attributes:
        varied: the values, by dotted path, as the learner holds them.
    """

    learner: Learner
    varied: Mapping[str, Any]


class Draws(NamedTuple):
    """How many combinations are drawn of the settings that vary at random, and by which seed."""

    count: Count = 10
    seed: int = 0


def check_varied(learners: Sequence[Learner], vary: Vary) -> None:
    """Refuse a path that none of the learners has.

    Raises:
        SpecError: with the nearest paths.
    """
    known = list(dict.fromkeys(itertools.chain.from_iterable(map(paths_of, learners))))
    for path in vary:
        if path not in known:
            hint = did_you_mean(path, known, f"there are {', '.join(known)}")
            raise SpecError(f"vary.{shortened(path)}: no learner of the sweep has this setting; {hint}")


def paths_of(learner: Learner) -> list[str]:
    """The dotted paths of a learner's settings, groups of settings among them; its name is no setting."""
    return list(_paths(learner.model_dump(mode="json", exclude={"name"})))


def _paths(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in settings.items():
        yield prefix + key
        if isinstance(value, Mapping):
            yield from _paths(value, f"{prefix}{key}.")


def variants(learner: Learner, vary: Vary, draws: Draws = Draws()) -> list[Variant]:  # noqa: B008 - a tuple
    """The learner under every combination of those values whose path it has; itself where it has none of them.

    Lists and ranges are crossed with each other, and with the drawn combinations of those that vary at random. Each of
    these has a random stream of its own, by its path, so that one more changes nothing of the others. Combinations that
    mean the same, as of 1 and 1.0, are one.

    Raises:
        SpecError: a combination that the learner cannot have.
    """
    found: dict[Learner, Variant] = {}
    has = set(paths_of(learner))
    for made in _made(learner, vary, draws):
        if made not in found:
            held = made.model_dump(mode="json")
            found[made] = Variant(made, {path: _group(held, path.split(".")) for path in vary if path in has})
    return list(found.values())


def check_variants(learner: Learner, vary: Vary, draws: Draws) -> None:
    """Refuse combinations that a learner cannot have, and keep none of them.

    Raises:
        SpecError: as `variants` does.
    """
    for _ in _made(learner, vary, draws):
        pass


def _made(learner: Learner, vary: Vary, draws: Draws) -> Iterator[Learner]:
    has = set(paths_of(learner))
    crossed = {path: _values(asked) for path, asked in vary.items() if path in has and not isinstance(asked, Draw)}
    drawn = {
        path: asked.take(draws.count, f"{draws.seed}:{path}")
        for path, asked in vary.items()
        if path in has and isinstance(asked, Draw)
    }
    mine = [*crossed, *drawn]
    joint = list(zip(*drawn.values(), strict=True)) if drawn else [()]
    for *values, last in itertools.product(*crossed.values(), joint):
        asked = dict(zip(mine, [*values, *last], strict=True))
        settings = learner.model_dump(mode="json")
        for path, value in asked.items():
            *groups, name = path.split(".")
            _group(settings, groups)[name] = value
        try:
            yield parse_learner(settings, learner.name)
        except SpecError as error:
            words = ", ".join(f"{path} = {json.dumps(value)}" for path, value in asked.items())
            raise SpecError(f"vary: {learner.name!r} cannot have {words}: {error}") from None


def combinations(learner: Learner, vary: Vary, draws: Draws) -> int:
    """How many combinations `variants` goes through, by arithmetic."""
    has = set(paths_of(learner))
    mine = [asked for path, asked in vary.items() if path in has]
    crossed = math.prod(
        asked.count if isinstance(asked, Range) else len(asked) for asked in mine if not isinstance(asked, Draw)
    )
    return crossed * (draws.count if any(isinstance(asked, Draw) for asked in mine) else 1)


def _values(asked: Sequence[Any] | Range) -> Sequence[Any]:
    return asked.values() if isinstance(asked, Range) else asked


def _group(settings: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        settings = settings[key]
    return settings

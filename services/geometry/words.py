"""How table, charts and page alike name measures, and put into words what has no value."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from models.digits import format_signed
from services.geometry.document import Barriers, Bounded, MeasureSummary, Ranking, Typical
from services.rendering.formatting import format_probability
from services.store.rows import settings_text

# Whether rescaling the layers of a ReLU net, which leaves its function alone, moves a measure.
MOVES = {"rescaling": "no", "permutation": "yes", "none": "yes"}
NAMED_AT_MOST = 3

RANKING_NOTES = (
    "Tau: Kendall's rank correlation with the gap (test minus train loss), over pairs of runs on one split.",
    "Psi: the same where one setting alone differs. Information: what is left once two settings are known, 0 to 1.",
    "Sign error: share of pairs ordered wrongly in the worst pair of settings; 0.5 is guessing.",
)


def named(measure: str, component: str = "", settings: str = "") -> str:
    """A measure with its component and the settings that tell it from its twins."""
    return measure + (f" [{component}]" if component else "") + (f", {settings}" if settings else "")


Row = MeasureSummary | Ranking | Typical


def twins_of(rows: Iterable[Row]) -> Callable[[Row], str]:
    """The settings of a measure that tell it from its twins: those in which a row of the same measure differs."""
    values: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        for key, value in row.settings.items():
            values.setdefault((row.measure, key), set()).add(str(value))

    def told(row: Row) -> str:
        return ", ".join(
            f"{key} {value}" for key, value in row.settings.items() if len(values.get((row.measure, key), ())) > 1
        )

    return told


class Group(NamedTuple):
    """The rows of one measure, a row for each learner and component, with the measure's name."""

    name: str
    rows: tuple[MeasureSummary, ...]


def by_measure(rows: Sequence[MeasureSummary]) -> list[Group]:
    """Rows with a number, which curves have not, by measure and settings: measures as they come, learners by name."""
    told = twins_of(rows)
    groups: dict[tuple[str, str], list[MeasureSummary]] = {}
    for row in rows:
        if row.median is not None:
            groups.setdefault((row.measure, settings_text(row.settings)), []).append(row)
    return [
        Group(named(of[0].measure, settings=told(of[0])), tuple(sorted(of, key=lambda row: row.learner)))
        for of in groups.values()
    ]


def learner_and_component(row: MeasureSummary) -> str:
    """Where a row of a `Group` belongs."""
    return row.learner + (f" [{row.component}]" if row.component else "")


def without_value(rows: Iterable[MeasureSummary]) -> list[str]:
    """What did not converge, is not applicable or failed, with the reason: one sentence for each learner and reason."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        n = row.n_values + row.n_unconverged + row.n_not_applicable + row.n_failed
        reason = "".join(f": {each}" for each in row.reasons[:1])
        counts = {"did not converge": row.n_unconverged, "not applicable": row.n_not_applicable, "failed": row.n_failed}
        for status, count in counts.items():
            if count:
                at = "" if count == n else f" at {count:,} of {n:,}"
                why = "" if status == "did not converge" else reason
                groups.setdefault((row.learner, status + at, why), []).append(row.measure)
    return [f"{learner}: {_listed(names)} {status}{why}" for (learner, status, why), names in groups.items()]


def _listed(names: Sequence[str]) -> str:
    unique = list(dict.fromkeys(names))
    more = f" and {len(unique) - NAMED_AT_MOST} more" if len(unique) > NAMED_AT_MOST else ""
    return ", ".join(unique[:NAMED_AT_MOST]) + more


def bounded(found: Bounded, *, signed: bool = False) -> tuple[str, str]:
    """A statistic and its interval; the interval is empty where there is none. Shares have no sign."""
    tell = format_signed if signed else format_probability
    if found.value is None or found.lower is None or found.upper is None:
        return tell(found.value), ""
    return tell(found.value), f"{tell(found.lower)} to {tell(found.upper)}"


def ranked(rows: Iterable[Ranking]) -> list[Ranking]:
    """Those with a tau, the largest |tau| first."""
    return sorted((row for row in rows if row.tau.value is not None), key=lambda row: -abs(row.tau.value or 0.0))


def worst_environments(rows: Iterable[Ranking]) -> Iterator[str]:
    """Where measures err most, those of one environment together."""
    groups: dict[str, list[str]] = {}
    for row in rows:
        if row.worst_environment:
            groups.setdefault(row.worst_environment, []).append(named(row.measure, row.component))
    for environment, names in groups.items():
        yield f"Worst for {_listed(names)}: {environment}"


class Between(NamedTuple):
    """Barriers between the solutions of two learners (or of one) over all splits, by the way of connecting them.

    Attributes:
        barriers: by method, in nats per row.
    """

    learners: tuple[str, str]
    barriers: Mapping[str, list[float]]


def between_learners(matrices: Iterable[Barriers]) -> list[Between]:
    """Barriers by pairs of learners, where there are too many solutions for matrices."""
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for matrix in matrices:
        for i, row in enumerate(matrix.barriers):
            for j, value in enumerate(row[:i]):
                if value is not None:
                    a, b = sorted((matrix.learners[i], matrix.learners[j]))
                    found.setdefault((a, b), {}).setdefault(matrix.method, []).append(value)
    return [Between(pair, barriers) for pair, barriers in found.items()]


def shown_first(rows: Iterable[Typical]) -> list[Typical]:
    """Those with a ratio, an interval without 1 first: there a difference is shown."""
    return sorted((row for row in rows if row.ratio is not None), key=lambda row: not _differs(row))


def _differs(row: Typical) -> bool:
    return row.lower is not None and row.upper is not None and (row.lower > 1 or row.upper < 1)

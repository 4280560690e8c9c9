"""Leaderboards as a table for a paper or a page: LaTeX with booktabs, or Markdown as GitHub reads it."""

import re
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from models.comparison.criteria import criterion
from models.digits import MISSING, format_estimate
from services.comparison.document import Comparison, Document, LearnerResult, gather_warnings
from services.comparison.stored import compare_stored
from services.comparison.summary import faults_of
from services.errors import StoreError
from services.rendering.formatting import printable
from services.rendering.records import Estimate
from services.store.store import Store

Format = Literal["markdown", "latex"]

_FAULTY, _PARTIAL = 1, 2


class Column(NamedTuple):
    """What stands under a heading.

    Attributes:
        metric: by which learners were compared; None where they were not.
        better: the direction, where there is one.
    """

    heading: str
    metric: str | None
    better: Literal["up", "down"] | None
    of: Callable[[LearnerResult], Estimate | None]


class Entry(NamedTuple):
    """An estimate in digits; `best` where it is shown to be better than all others."""

    value: str
    error: str
    best: bool


class Row(NamedTuple):
    """A learner: which of the notes apply to it, and its entries."""

    name: str
    marks: tuple[int, ...]
    entries: tuple[Entry, ...]


_COLUMNS = (
    Column("test log score", "log_score", "up", lambda each: each.parts.test.log_score),
    Column("accuracy", "accuracy", "up", lambda each: each.parts.test.accuracy),
    Column("RMSE", "rmse", "down", lambda each: each.parts.test.rmse),
    Column("calibration error", None, "down", lambda each: each.parts.test.calibration_error),
    Column("gap", None, None, lambda each: each.gap),
)


def leaderboard(store: Store, sweep: str, form: Format) -> str:
    """The table of a stored sweep, as `render` writes it.

    Raises:
        StoreError: there is no such sweep, or none of its runs is stored.
    """
    documents = [found.document for found in compare_stored(store, sweep)]
    if not documents:
        raise StoreError(f"no run of sweep {sweep!r} is stored: `basin sweep resume {sweep}` fits them")
    return render(documents, sweep, form)


def render(documents: Sequence[Document], sweep: str, form: Format) -> str:
    """A table with a row for each learner, grouped by dataset, and notes on what it shows.

    Each entry is an estimate ± its standard error, in digits that the error allows. One is bold where its learner is
    shown to be better than every other one on the dataset, paired on the same rows and splits, after Holm's correction:
    the best number alone is not enough.
    """
    columns = [c for c in _COLUMNS if any(_known(c.of(each)) for document in documents for each in document.learners)]
    groups = [(document.dataset.name, _rows(document, columns)) for document in documents]
    return (_latex if form == "latex" else _markdown)(sweep, columns, groups, _notes(documents, groups))


def _known(estimate: Estimate | None) -> bool:
    return estimate is not None and estimate.value is not None


def _rows(document: Document, columns: Sequence[Column]) -> list[Row]:
    learners = document.learners
    best = {c.metric: _shown_best(c, learners, document.comparisons) for c in columns if c.metric is not None}
    return [
        Row(
            each.name,
            _marks(each),
            tuple(_entry(c.of(each), c.metric is not None and best.get(c.metric) == each.name) for c in columns),
        )
        for each in learners
    ]


def _entry(estimate: Estimate | None, best: bool) -> Entry:
    if estimate is None:
        return Entry(MISSING, "", best=False)
    return Entry(*format_estimate(estimate.value, estimate.standard_error), best=best)


def _shown_best(column: Column, learners: Sequence[LearnerResult], pairs: Sequence[Comparison]) -> str | None:
    """Who is shown to be better than every other learner that has a score; nobody who did not finish on all splits."""
    assert column.metric is not None
    scores = {each.name: found.value for each in learners if (found := column.of(each)) and found.value is not None}
    whole = [each.name for each in learners if each.name in scores and not each.splits.partial]
    if len(scores) < 2 or not whole:
        return None
    best = (max if criterion(column.metric).higher_is_better else min)(whole, key=lambda name: scores[name] or 0.0)
    mine = [c if c.a == best else c.swapped() for c in pairs if c.metric == column.metric and best in (c.a, c.b)]
    beaten = {c.b for c in mine if c.outcome == "better"}
    return best if beaten >= scores.keys() - {best} else None


def _marks(learner: LearnerResult) -> tuple[int, ...]:
    marks = []
    if faults_of(learner.kind, learner.posterior, learner.improper):
        marks.append(_FAULTY)
    if learner.splits.partial:
        marks.append(_PARTIAL)
    return tuple(marks)


def _notes(documents: Sequence[Document], groups: Sequence[tuple[str, list[Row]]]) -> list[tuple[int | None, str]]:
    """What holds for the whole table, which configurations it is of, and what each mark means that it has."""
    numbers = dict.fromkeys((document.invocation.splits, document.invocation.seeds) for document in documents)
    times = " or ".join(
        f"{splits} split{'' if splits == 1 else 's'} × {seeds} seed{'' if seeds == 1 else 's'}"
        for splits, seeds in numbers
    )
    said = (
        f"Mean ± standard error over test rows, {times}; the error allows for overlapping splits. "
        "Log score: nats per row. Gap: train minus test log score. "
    )
    if any(entry.best for _, rows in groups for row in rows for entry in row.entries):
        said += "Bold: shown to be better than every other learner on the dataset, paired, after Holm's correction."
    else:
        said += "No learner is shown to be better than every other one on a dataset, so nothing is bold."
    meanings = {
        _FAULTY: "Its posterior failed a check (propriety, R-hat, effective sample size or divergences): its scores "
        "are those of the draws, not of the posterior.",
        _PARTIAL: "It did not finish on all splits: its scores are of the runs that did, and it ranks below those that "
        "finished on more.",
    }
    used = {mark for _, rows in groups for row in rows for mark in row.marks}
    chosen = dict.fromkeys(text for document in documents for text in _of_the_whole(document))
    return [
        (None, said),
        *((None, f"{text}.") for text in chosen),
        *((mark, text) for mark, text in meanings.items() if mark in used),
    ]


def _of_the_whole(document: Document) -> list[str]:
    """Warnings of the comparison as a whole, such as which configuration of a learner it is of."""
    own = set(gather_warnings(document.learners))
    return [text for text in document.warnings if text not in own]


# --- Markdown ---------------------------------------------------------------------------------------------------------

_SIGNS = {_FAULTY: "†", _PARTIAL: "‡"}
_ARROWS = {"up": " ↑", "down": " ↓", None: ""}


def escape_markdown(text: str) -> str:
    """Text that stands for itself in a cell of a table."""
    return re.sub(r"([\\`*_\[\]<>|~$&#!])", r"\\\1", printable(text))


def _markdown(
    sweep: str,
    columns: Sequence[Column],
    groups: Sequence[tuple[str, list[Row]]],
    notes: Sequence[tuple[int | None, str]],
) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    def cell(entry: Entry) -> str:
        text = f"{entry.value} ± {entry.error}" if entry.error else entry.value
        return f"**{text}**" if entry.best else text

    lines = [
        f"**{escape_markdown(sweep)}**: {', '.join(escape_markdown(dataset) for dataset, _ in groups)}",
        "",
        line(["learner", *(c.heading + _ARROWS[c.better] for c in columns)]),
        line(["---", *("---:" for _ in columns)]),
    ]
    for dataset, rows in groups:
        if len(groups) > 1:
            lines.append(line([f"*{escape_markdown(dataset)}*", *("" for _ in columns)]))
        for row in rows:
            marks = "".join(_SIGNS[mark] for mark in row.marks)
            lines.append(line([escape_markdown(row.name) + marks, *map(cell, row.entries)]))
    for mark, text in notes:
        lines += ["", f"{_SIGNS[mark]} {text}" if mark else escape_markdown(text)]
    return "\n".join(lines) + "\n"


# --- LaTeX ------------------------------------------------------------------------------------------------------------

_DAGGERS = {_FAULTY: r"$^\dagger$", _PARTIAL: r"$^\ddagger$"}
_LATEX_ARROWS = {"up": r" $\uparrow$", "down": r" $\downarrow$", None: ""}
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "\N{REPLACEMENT CHARACTER}": "?",  # which pdflatex has no letter for
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def escape_latex(text: str) -> str:
    """Text that stands for itself in LaTeX. Letters of other scripts stay, for a font that has them."""
    return "".join(_LATEX.get(character, character) for character in printable(text))


def _latex_number(text: str) -> str:
    """Digits as mathematics: no space after the comma of thousands, and powers of ten."""
    mantissa, e, power = text.replace(",", "{,}").partition("e")
    return f"{mantissa} \\times 10^{{{int(power)}}}" if e else mantissa


def _latex(
    sweep: str,
    columns: Sequence[Column],
    groups: Sequence[tuple[str, list[Row]]],
    notes: Sequence[tuple[int | None, str]],
) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"{' & '.join(cells)} \\\\"

    def cell(entry: Entry) -> str:
        if entry.value == MISSING:
            return "--"
        text = _latex_number(entry.value)
        if entry.error:
            text += f" \\pm {_latex_number(entry.error)}"
        return f"{{\\boldmath${text}$}}" if entry.best else f"${text}$"

    about = f"{sweep}: {', '.join(dataset for dataset, _ in groups)}."
    marked = (f"{_DAGGERS[mark] if mark else ''}{escape_latex(text)}" for mark, text in notes)
    caption = " ".join([escape_latex(about), *marked])
    lines = [
        "% \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering\\footnotesize\\setlength{\\tabcolsep}{3pt}",
        f"\\caption{{{caption}}}",
        f"\\label{{tab:{sweep}}}\\medskip",
        f"\\begin{{tabular}}{{l{'r' * len(columns)}}}",
        "\\toprule",
        line(["Learner", *(f"{c.heading[0].upper()}{c.heading[1:]}{_LATEX_ARROWS[c.better]}" for c in columns)]),
    ]
    for dataset, rows in groups:
        lines.append("\\midrule")
        if len(groups) > 1:
            lines.append(line([f"\\multicolumn{{{len(columns) + 1}}}{{l}}{{\\textit{{{escape_latex(dataset)}}}}}"]))
        for row in rows:
            marks = "".join(_DAGGERS[mark] for mark in row.marks)
            lines.append(line([escape_latex(row.name) + marks, *map(cell, row.entries)]))
    lines += ["\\bottomrule", "\\end{tabular}", "\\end{table}"]
    return "\n".join(lines) + "\n"

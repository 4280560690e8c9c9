"""A sweep, and the submission of one, as people handle them."""

from typing import TYPE_CHECKING

from services.client import tabular
from services.client.backend import Backend, Submitted, SweepFacts
from services.client.watching import bar_html, watch, words
from services.rendering.formatting import printable

if TYPE_CHECKING:
    from services.execution.status import Standing


class SweepView:
    """A sweep of a store as it was when it was asked for.

    Attributes:
        name: of the sweep.
        definition: what it asks for, as a sweep file has it.
        state: in which it was, such as running or finished.
        standing: what the process that works on it said last; None where none ever did.
        active: whether it would still change by itself.
        learners: a row for each learner: how many runs it has, and how many of each status.
    """

    def __init__(self, facts: SweepFacts) -> None:
        self.name, self.definition, self.learners = facts.name, facts.definition, facts.learners
        self._stands = facts.stands
        self.state, self.standing, self.active = facts.stands.state, facts.stands.standing, facts.stands.active

    def __repr__(self) -> str:
        rows = self.learners.rows()
        width = max((len(str(row[0])) for row in rows), default=0)
        columns = self.learners.columns[1:]
        lines = [
            f"  {row[0]!s:{width}}  " + ", ".join(f"{n} {name}" for name, n in zip(columns, row[1:], strict=True) if n)
            for row in rows
        ]
        return "\n".join(map(printable, [f"Sweep {self.name}: {words(self._stands)}", *lines]))

    def _repr_html_(self) -> str:
        return bar_html(self.name, self._stands) + tabular.table(self.learners.columns, self.learners.rows())


class Submission:
    """A sweep that was handed over, and will run.

    Attributes:
        name: of the sweep.
        id: of the submission.
        runs: how many the sweep asks for, at most: learners that do not suit a dataset are left out later.
        state: in which it was handed over.
    """

    def __init__(self, backend: Backend, submitted: Submitted) -> None:
        self._backend = backend
        self.name, self.id, self.runs, self.state = (
            submitted.name,
            submitted.submission,
            submitted.runs,
            submitted.state,
        )

    def watch(self) -> "Standing":
        """Show its progress until it ends: see `Basin.watch`."""
        return watch(self._backend, self.name)

    def stop(self) -> None:
        """Ask it to stop; it keeps what is finished."""
        self._backend.stop(self.name)

    def __repr__(self) -> str:
        runs = f"{self.runs:,} run{'' if self.runs == 1 else 's'}"
        return printable(f"Submission {self.id} of sweep {self.name!r}: {self.state}, {runs}")

    def _repr_html_(self) -> str:
        return tabular.facts(f"Submission of {self.name}", {"id": self.id, "state": self.state, "runs": self.runs})

"""Chains of one run on several workers, for runs that would hold all others up.

Each part is an item of its own. When all parts of a run are there, they are one checkpoint, from which the run's fit
has nothing left to sample.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import polars as pl

from cluster.packing import Item
from cluster.resources import Resources
from models.fitting.chains import ChainsRequest, FittedChains, merge_chains, n_chains, spread
from models.runs.events import Progress
from services.store.writer import Writer
from services.sweeps.plan import Plan


def worth_spreading(plan: Plan, missing: pl.DataFrame, n_workers: int, resources: Resources) -> pl.DataFrame:
    """Those of the missing runs that cost more than a worker's fair share of all of them, and have several chains.

    Not those that a GPU is for: there all chains of a run take as long as one.
    """
    counts = dict(missing.group_by("configuration").len().iter_rows())
    share = sum(plan.configurations[i].cost * n for i, n in counts.items()) / n_workers
    large = [i for i in counts if plan.configurations[i].cost > share]
    items = plan.items(missing.filter(pl.col("configuration").is_in(large)), resources)
    several = {item.run_key for item in items if not item.resources.gpus and n_chains(item.payload) > 1}
    return missing.filter(pl.col("run_key").is_in(list(several)))


@dataclass
class Spread:
    """Runs on their way in parts."""

    writer: Writer
    _parts: dict[str, list[ChainsRequest]] = field(default_factory=dict)
    _fitted: dict[str, list[FittedChains]] = field(default_factory=lambda: defaultdict(list))
    _progress: dict[str, dict[str, Progress]] = field(default_factory=lambda: defaultdict(dict))

    def items(self, wholes: Iterable[Item], n_parts: int) -> Iterator[Item]:
        """The parts of runs."""
        for whole in wholes:
            parts = self._parts[whole.run_key] = spread(whole.payload, n_parts)
            for part in parts:
                share = len(part.chains) / n_chains(whole.payload)
                program = f"{len(part.chains)} chains: {whole.program}"
                yield replace(whole, run_key=part.key, payload=part, program=program, cost=whole.cost * share)

    def note(self, part: ChainsRequest, fitted: FittedChains) -> None:
        """Keep what a part ended in, and the whole run's checkpoint once all are there.

        Raises:
            StoreError: the store cannot be written to.
        """
        run_key = part.run.run_key
        self.writer.save_checkpoint(part.key, fitted.arrays)
        found = self._fitted[run_key]
        found.append(fitted)
        if len(found) < len(self._parts[run_key]):
            return
        if (arrays := merge_chains(found)) is not None:
            self.writer.save_checkpoint(run_key, arrays)
        for each in self._parts[run_key]:
            self.writer.remove_checkpoint(each.key)
        del self._fitted[run_key]

    def progress(self, part: ChainsRequest, event: Progress) -> Progress:
        """What a part's progress is of the whole run."""
        parts = self._progress[part.run.run_key]
        parts[part.key] = event
        n = len(self._parts[part.run.run_key])
        alike = [each for each in parts.values() if each.phase == event.phase]
        facts = {name: sum(each.facts.get(name, 0.0) for each in alike) for name in event.facts}
        return Progress(part.run.run_key, event.phase, sum(each.done for each in alike), n * event.total, facts)

"""`basin learners`: the learners that have a name."""

from typing import Annotated

import typer
from rich.console import Console

from services.sweeps.learners import Budget


def list_learners(
    name: Annotated[
        str | None, typer.Argument(help="Print this learner's settings as YAML, a file to start from.")
    ] = None,
    budget: Annotated[Budget, typer.Option("--budget", "-b")] = "standard",
) -> None:
    """List the learners by name, or print one's settings.

    To compare with settings of your own:

      basin learners mlp-adam > my-net.yaml
      basin compare iris --learners mlp-adam,my-net.yaml

    Change the name in the file, too. `basin schema learner` has all settings for an editor.
    """
    import yaml
    from rich.table import Table

    from services.sweeps.learners import choose, presets

    if name:
        (learner,) = choose([name], budget)
        typer.echo(yaml.safe_dump(learner.model_dump(mode="json"), sort_keys=False).rstrip())
        return
    table = Table("name", "kind", "predictor", "inference", box=None, pad_edge=False)
    for learner in presets(budget).values():
        table.add_row(learner.name, learner.kind, learner.predictor.kind, learner.inference.method)
    Console().print(table)

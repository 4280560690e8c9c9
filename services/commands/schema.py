"""`basin schema`: JSON Schemas, for editors and programs."""

import typer

from services.commands.options import print_json

app = typer.Typer(help="JSON Schemas, for editors and programs.", no_args_is_help=True)


@app.command("compare")
def compare_schema() -> None:
    """JSON Schema of what `basin compare --json` writes."""
    from services.comparison.document import Document

    print_json(Document.model_json_schema())


@app.command("learner")
def learner_schema() -> None:
    """JSON Schema of a learner file."""
    from models.spec.learner import Learner

    print_json(Learner.model_json_schema())


@app.command("sweep")
def sweep_schema() -> None:
    """JSON Schema of a sweep file."""
    from services.sweeps.definition import Sweep

    print_json(Sweep.model_json_schema())

"""The notebooks: executed from clean, each in a folder of its own, as a reader would run them."""

import ast
import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parent.parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture
def executed(
    starts_ray: None, path: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> NotebookNode:
    """The notebook with the outputs of a run in an empty folder."""
    for name in [name for name in os.environ if name.startswith("BASIN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("BASIN_CACHE", str(cache))
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(path, as_version=4)
    (tmp_path / "work").mkdir()
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path / "work")}}).execute()
    return notebook


def cells_of(notebook: NotebookNode, kind: str) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def text_of(notebook: NotebookNode) -> str:
    """All that its cells print and show, as text."""
    outputs = [output for cell in cells_of(notebook, "code") for output in cell.outputs]
    return "\n".join(str(output.get("text") or output.get("data", {}).get("text/plain", "")) for output in outputs)


def test_there_are_five() -> None:
    assert len(NOTEBOOKS) == 5


@by_name
def test_it_runs_from_clean_and_every_command_in_it_succeeds(path: Path, executed: NotebookNode) -> None:
    text = text_of(executed)
    assert not re.search("^error:", text, re.MULTILINE)  # commands begin so what they tell of a fault
    assert "Traceback" not in text
    last = cells_of(executed, "code")[-1]
    assert last.outputs or not last.source.strip()
    html = [o for cell in cells_of(executed, "code") for o in cell.outputs if "text/html" in o.get("data", {})]
    assert html, "nothing of it is shown as a table"


@by_name
def test_it_is_kept_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in cells_of(notebook, "code"):
        assert (cell.outputs, cell.execution_count) == ([], None)
        assert cell.metadata == {}


@by_name
def test_it_defines_nothing(path: Path) -> None:
    for cell in cells_of(nbformat.read(path, as_version=4), "code"):
        source = "" if cell.source.startswith("%%") else cell.source  # %%bash, %%writefile
        defined = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        assert defined == []


@by_name
def test_it_begins_with_a_title_and_links_to_files_that_are_there(path: Path) -> None:
    texts = [cell.source for cell in cells_of(nbformat.read(path, as_version=4), "markdown")]
    assert texts[0].startswith("# ")
    links = re.findall(r"\]\(([^)\s]+)\)", "\n".join(texts))
    assert all((FOLDER / link).exists() for link in links if "://" not in link)

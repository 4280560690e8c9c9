import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from services.comparison.document import DatasetFacts
from services.comparison.terminal import print_document
from tests.support.documents import digits_document, real_document


def printed(document, width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    print_document(document, console)
    return console.export_text()


def row(text: str, learner: str) -> list[list[str]]:
    """The two lines of a learner in the first table, as words."""
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(learner + " "))
    return [lines[at].split(), lines[at + 1].split()]


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
@pytest.mark.parametrize("document", [digits_document(), real_document()], ids=["classes", "real"])
def test_no_line_is_wider_than_the_console_and_no_number_is_cut(document, width):
    text = printed(document, width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    for learner in document.learners:
        assert learner.name in text


def test_at_120_columns_nine_learners_fit_one_table():
    text = printed(digits_document(), 120)
    assert sum(line.startswith("kind ") for line in text.splitlines()) == 1
    assert row(text, "mlp-adam") == [
        ["mlp-adam", "-0.079", "0.9792", "0.0103", "0.077", "182.1", "±4.2", "14.830", "61.2", "6.4", "s"],
        ["deterministic", "±0.011", "±0.0041", "±0.0031", "±0.012", "/", "3,466", "±1.5e-3", "±1.3"],
    ]


def test_at_80_columns_the_rest_of_the_columns_stand_below():
    text = printed(digits_document(), 80)
    assert sum(line.startswith("kind ") for line in text.splitlines()) == 2
    assert text.index("calibr.") < text.index("R-hat")


def test_posteriors_show_their_median_curvature_with_its_spread_and_their_diagnostics():
    first, second = row(printed(digits_document(), 120), "bnn-nuts")
    assert first[-5:] == ["2.31", "18.7", "1.310", "2", "min"]
    assert second[-5:] == ["[1.41,", "4.39]", "[11.4,", "35.5]", "23"]


def test_without_posteriors_there_is_no_column_for_them():
    document = digits_document()
    without = tuple(each for each in document.learners if each.posterior is None)
    assert "R-hat" not in printed(document.model_copy(update={"learners": without, "warnings": (), "verdict": ""}), 120)


def test_real_targets_show_rmse():
    text = printed(real_document(), 120)
    assert "RMSE" in text
    assert "accuracy" not in text
    assert "54.3" in text


def test_a_learner_without_a_finished_run_is_a_row_without_numbers():
    first, second = row(printed(digits_document(), 120), "convnet")
    assert first == ["convnet", "–", "–", "–", "–", "–", "–", "–", "13", "s"]
    assert second[:3] == ["no", "finished", "run"]


def test_order_is_table_comparison_verdict_warnings():
    document = digits_document()
    text = printed(document, 120)
    parts = [
        "best test log score first",
        "Test log score minus that of svm",
        "Test accuracy minus",
        "Verdict",
        "Warnings",
    ]
    positions = [text.index(part) for part in parts]
    assert positions == sorted(positions)
    unwrapped = " ".join(text.split())
    assert document.verdict in unwrapped
    assert all(warning in unwrapped for warning in document.warnings)
    assert text.rstrip().endswith("24 runs fitted by this command, 3 reused from the store.")


def test_comparison_is_of_the_others_against_the_best():
    lines = printed(digits_document(), 120).splitlines()
    trees = [line.split() for line in lines if line.startswith("boosted-trees")][1]
    assert trees == ["boosted-trees", "-0.101", "±", "0.012", "0.00", "0.00", "1.00", "<0.001", "worse"]


def test_degrees_of_freedom_are_told_with_their_range_and_the_comparison_stays_in_one_table():
    document = digits_document()
    assert "by t distributions with 14 degrees of freedom" in " ".join(printed(document, 80).split())
    first, *rest = document.comparisons
    uneven = (first.model_copy(update={"degrees": 3.46}), *rest)
    assert "with 3.5 to 14 degrees of freedom" in " ".join(printed(digits_document(comparisons=uneven), 80).split())
    headings = [line for line in printed(document, 80).splitlines() if "adj. p" in line]
    assert headings and all("outcome" in heading for heading in headings)


def test_names_are_never_taken_for_markup_or_terminal_codes():
    facts = DatasetFacts(name="[red]\x1b[2Jx", rows=1, columns=1, target="[/]", fingerprint="0")
    text = printed(digits_document(dataset=facts, warnings=("[bold]loud\x07",)), 120)
    assert "[red]\N{REPLACEMENT CHARACTER}[2Jx" in text
    assert "[/]" in text
    assert "[bold]loud\N{REPLACEMENT CHARACTER}" in text


def test_a_document_without_scores_still_prints_its_verdict():
    diverged = tuple(each for each in digits_document().learners if each.name == "convnet")
    text = printed(digits_document(learners=diverged, comparisons=(), verdict="No learner finished a run."), 120)
    assert "No learner finished a run." in text
    assert "minus that of" not in text

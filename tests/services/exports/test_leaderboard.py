"""Tables for papers: which numbers are bold, how many digits they have, and text that stands for itself."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from models.digits import format_estimate
from services.errors import StoreError
from services.exports.leaderboard import escape_latex, escape_markdown, leaderboard, render
from tests.support.documents import digits_document, real_document
from tests.support.stored import net, request, result
from tests.support.sweeps import Member, put_sweep

HOSTILE = "a_b & 50% $x$ {y} #1 \\cmd | ~^<b>*`[z](w)\x1b"


def decided(document, winner: str, but_for: str | None = None):
    """The same comparison with `winner` shown to be better than all others, or all but one."""

    def outcome(pair):
        if winner not in (pair.a, pair.b):
            return pair
        won = pair if pair.a == winner else pair.swapped()
        shown = won.b != but_for
        return won.model_copy(update={"outcome": "better" if shown else "not shown", "shown": shown})

    return document.model_copy(update={"comparisons": tuple(map(outcome, document.comparisons))})


def cells(text: str, learner: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith((f"| {learner}", f"{learner} ", f"{learner}$"))]
    return [cell.strip() for cell in line.strip("|\\ ").split("|" if line.startswith("|") else " & ")]


def test_every_learner_has_a_row_with_its_estimates_in_the_digits_of_their_errors() -> None:
    document = digits_document()
    text = render([document], "s", "markdown")
    for learner in document.learners:
        if learner.name in ("convnet", "bnn-nuts"):
            continue
        score = learner.parts.test.log_score
        expected = " ± ".join(format_estimate(score.value, score.standard_error))
        assert cells(text, learner.name + " ")[1].strip("*") == expected
    assert cells(text, "convnet")[1:] == ["–", "–", "–", "–"]
    assert text.index("| svm") < text.index("| mlp-adam") < text.index("| convnet")


@pytest.mark.parametrize("form", ["markdown", "latex"])
def test_the_best_is_bold_only_if_it_is_shown_to_beat_every_other_learner(form) -> None:
    bold = "**-0.069" if form == "markdown" else "\\boldmath$-0.069"
    document = digits_document()
    assert bold in render([decided(document, "svm")], "s", form)
    almost = render([decided(document, "svm", but_for="mlp-adam")], "s", form)
    assert bold not in almost
    assert "-0.069" in almost


def test_the_lowest_rmse_is_the_best_one() -> None:
    document = decided(real_document(), "bnn-nuts")
    learners = [
        each.model_copy(
            update={
                "parts": each.parts.model_copy(
                    update={
                        "test": each.parts.test.model_copy(
                            update={"rmse": each.parts.test.rmse.model_copy(update={"value": rmse})}
                        )
                    }
                )
            }
        )
        for each, rmse in zip(
            sorted(document.learners, key=lambda e: e.name != "bnn-nuts"), (50.0, 60.0, 70.0), strict=True
        )
    ]
    text = render([document.model_copy(update={"learners": tuple(learners)})], "s", "markdown")
    assert "**50.0 ± 1.9**" in text
    assert "RMSE ↓" in text
    assert "accuracy" not in text


def test_a_posterior_that_failed_its_checks_and_missing_runs_are_marked() -> None:
    text = render([digits_document()], "s", "markdown")
    assert "| bnn-nuts† |" in text
    assert "| convnet‡ |" in text
    assert "| glm-bayes |" in text
    assert "† Its posterior failed a check" in text
    assert "‡ It did not finish on all splits" in text
    sound = digits_document(learners=[e for e in digits_document().learners if e.name == "svm"])
    assert "†" not in render([sound], "s", "markdown")


def test_datasets_are_groups_with_the_columns_that_any_of_them_needs() -> None:
    text = render([digits_document(), real_document()], "s", "markdown")
    assert text.index("| *digits* |") < text.index("| svm |") < text.index("| *diabetes* |")
    assert "accuracy ↑ | RMSE ↓" in text


@pytest.mark.parametrize("form", ["markdown", "latex"])
def test_rows_have_as_many_cells_as_the_head_whatever_the_names_are(form) -> None:
    document = digits_document()
    learners = (document.learners[0].model_copy(update={"name": HOSTILE}), *document.learners[1:])
    text = render([document.model_copy(update={"learners": learners})] * 2, "s", form)
    separator = r"(?<!\\)\|" if form == "markdown" else r"(?<!\\)&"
    lines = [line for line in text.splitlines() if line.startswith("|") or line.endswith("\\\\")]
    counts = {len(re.findall(separator, line)) for line in lines if "multicolumn" not in line}
    assert len(lines) == 2 * len(document.learners) + (4 if form == "markdown" else 3)
    assert len(counts) == 1
    assert "\x1b" not in text
    if form == "latex":
        bare = re.sub(r"\\[\\{}]", "", text)
        assert bare.count("{") == bare.count("}")
        assert re.findall(r"\\(?:begin|end)\{(\w+)\}", text) == ["table", "tabular", "tabular", "table"]


def test_text_is_escaped() -> None:
    assert escape_latex("50% a_b") == r"50\% a\_b"
    assert escape_latex("a\x1b") == "a?"
    assert escape_latex("\\~") == r"\textbackslash{}\textasciitilde{}"
    assert escape_markdown("a|b <i>*c*") == r"a\|b \<i\>\*c\*"


def test_large_numbers_are_mathematics_in_latex() -> None:
    document = real_document()
    first = document.learners[0]
    gap = first.gap.model_copy(update={"value": -12345.6, "standard_error": 3.2})
    huge = first.parts.test.log_score.model_copy(update={"value": 2.5e7, "standard_error": 0.0})
    test = first.parts.test.model_copy(update={"log_score": huge})
    changed = first.model_copy(update={"gap": gap, "parts": first.parts.model_copy(update={"test": test})})
    text = render([document.model_copy(update={"learners": (changed,)})], "s", "latex")
    assert "$-12{,}346 \\pm 3.2$" in text
    assert "$2.500 \\times 10^{7}$" in text


def test_latex_compiles(tmp_path: Path) -> None:
    found = shutil.which("pdflatex") and subprocess.run(["kpsewhich", "booktabs.sty"], check=False, capture_output=True)
    if not found or found.returncode:
        pytest.skip("pdflatex with booktabs is not installed")
    document = decided(digits_document(), "svm")
    learners = (*document.learners, document.learners[0].model_copy(update={"name": HOSTILE}))
    table = render([document.model_copy(update={"learners": learners}), real_document()], "s_1", "latex")
    (tmp_path / "t.tex").write_text(
        f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}\n{table}\\end{{document}}\n"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]


def runs(learner, level: float, **varied) -> list[Member]:
    """Of a learner on four splits."""
    asked = [request(learner, split) for split in range(4)]
    return [Member(each, result(each, level), varied=varied) for each in asked]


def test_a_stored_sweep_is_shown_by_its_best_configurations_and_says_which(tmp_path: Path) -> None:
    members = [
        *runs(net("a", learning_rate=0.1), -0.9, **{"inference.learning_rate": 0.1}),
        *runs(net("a", learning_rate=1.0), -0.3, **{"inference.learning_rate": 1.0}),
        *runs(net("b"), -2.0),
    ]
    text = leaderboard(put_sweep(tmp_path, "s", members), "s", "markdown")
    assert text.startswith(
        "**s**: made-up\n\n| learner | test log score ↑ | accuracy ↑ | calibration error ↓ | gap |\n"
    )
    assert [line.split()[1] for line in text.splitlines() if line.startswith("| ")] == ["learner", "---", "a", "b"]
    assert cells(text, "a ")[1].startswith("**-0.")
    assert "a: compared at learning\\_rate 1.0, the best of its 2 configurations" in text


def test_a_sweep_without_stored_runs_says_what_to_do(tmp_path: Path) -> None:
    store = put_sweep(tmp_path, "s", [Member(request(net("a")), None)])
    with pytest.raises(StoreError, match="no run of sweep 's' is stored: `basin sweep resume s` fits them"):
        leaderboard(store, "s", "latex")

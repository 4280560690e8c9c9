import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from services.geometry.terminal import print_geometry
from tests.support.geometry_documents import BLACK_BOX, ENVIRONMENT, NETS, sweep_document


def printed(document, width: int = 80) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    print_geometry(document, console)
    return console.export_text()


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_no_line_is_wider_than_the_console_and_nothing_is_cut(width):
    text = printed(sweep_document(), width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "…" not in text


def test_a_measure_is_named_once_with_its_learners_beneath_it():
    lines = printed(sweep_document(datasets=("digits",))).splitlines()
    at = lines.index(next(line for line in lines if line.startswith("hessian_trace ")))
    assert lines[at].split() == ["hessian_trace", "yes"]  # it moves when layers are rescaled
    assert lines[at + 1].split() == ["bnn-nuts", "61.2", "±1.8", "30.6", "to", "184", "24"]
    assert lines[at + 4].split() == ["mlp-sgd", "61.2", "±1.8", "30.6", "to", "184", "120"]
    assert next(line for line in lines if line.startswith("adaptive_sharpness_gaussian")).split()[1] == "no"
    assert sum(line.startswith("  mlp-adam [layers.1]") for line in lines) == 1


def test_twins_of_one_measure_are_told_apart_by_the_setting_that_differs():
    text = printed(sweep_document())
    assert "sharpness_l2, rho 0.05 " in text and "sharpness_l2, rho 0.1 " in text
    assert "steps 20" not in text and "relative_error" not in text


def test_a_single_value_has_no_range():
    (one, *_) = sweep_document().measures
    one = one.model_copy(update={"n_values": 1, "lower": one.median, "upper": one.median})
    assert "61.2 ±1.8" in printed(sweep_document(measures=(one,)))
    assert " to 61.2" not in printed(sweep_document(measures=(one,)))


def test_what_has_no_value_is_said_once_with_its_reason():
    text = words(printed(sweep_document(datasets=("digits",))))
    names = "hessian_trace, hessian_top_eigenvalue, hessian_trace_by_layer and 4 more"
    assert text.count(f"boosted-trees: {names} not applicable: {BLACK_BOX}") == 1
    assert text.count("mlp-sgd: sharpness_l2 did not converge at 3 of 120") == 1


def test_where_nothing_has_a_value_the_reasons_are_said_all_the_same():
    black = tuple(m for m in sweep_document().measures if m.learner == "boosted-trees")
    text = words(printed(sweep_document(measures=black)))
    assert BLACK_BOX in text
    assert "5 % to 95 %" not in text


def test_cost_is_shown_where_there_is_room():
    assert " cost" not in printed(sweep_document(), 80)
    line = next(line for line in printed(sweep_document(), 100).splitlines() if line.startswith("  mlp-adam"))
    assert line.split()[-1] == "410"


def test_the_largest_correlation_is_first_and_says_where_it_errs_most():
    text = printed(sweep_document(), 120)
    lines = text[text.index("Which measure tells") :].splitlines()
    tables = [line.split()[0] for line in lines if "480" in line]
    assert tables[:3] == ["adaptive_sharpness_gaussian", "hessian_trace", "hessian_trace_by_layer"]
    best = next(i for i, line in enumerate(lines) if line.startswith("adaptive_sharpness_gaussian"))
    assert lines[best].split() == ["adaptive_sharpness_gaussian", "+0.52", "+0.42", "0.07", "0.61", "480"]
    assert lines[best + 1].split()[:4] == ["sharper", "+0.31", "to", "+0.73"]
    assert ENVIRONMENT in words(text)


def test_a_missing_interval_has_a_reason():
    text = words(printed(sweep_document()))
    assert "an interval needs at least 5 splits" in text
    assert "use more seeds or splits" in text


def test_long_rankings_are_cut_and_say_so():
    rankings = tuple(
        r.model_copy(update={"component": f"part {i}"}) for i in range(3) for r in sweep_document().rankings
    )
    text = printed(sweep_document(rankings=rankings))
    assert "15 more: --json." in text


def test_effective_numbers_stand_side_by_side():
    lines = printed(sweep_document(datasets=("digits",))).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("mlp-adam") and "3,466" in line)
    assert lines[at].split() == ["mlp-adam", "3,466", "–", "182.1", "88.7"]
    assert lines[at + 1].split() == ["deterministic", "±4.2", "±9.1"]
    assert not any(line.startswith("boosted-trees ") for line in lines)


def test_differences_between_draws_and_optima_come_first():
    text = printed(sweep_document())
    table = text[text.index("Draws of posteriors") :]
    assert table.index("hessian_trace") < table.index("l2_norm")
    assert "3.47 to 4.18" in table


def test_few_solutions_have_a_matrix_and_many_a_summary():
    text = printed(sweep_document())
    assert "Barriers on digits, split 0, linear" in text
    lines = text.splitlines()
    assert "1 mlp-adam, seed 0             0  0.40  0.27  0.20" in lines
    assert "Barriers on diabetes, split 0" not in text
    many = text[text.index("Barriers on diabetes") :].splitlines()
    at = next(i for i, line in enumerate(many) if line.startswith("bnn-nuts"))
    assert many[at].split()[-1] == "24" and many[at + 1].split()[0] in NETS


def test_basins_state_their_threshold():
    assert "a barrier of at most 0.05 nats per row" in words(printed(sweep_document()))


def test_order_is_measures_ranking_effective_barriers_verdict_warnings():
    document = sweep_document(datasets=("digits",))
    text = printed(document)
    parts = (
        "Measures on",
        "Which measure",
        "Effective numbers",
        "Draws of posteriors",
        "Barriers",
        "Verdict",
        "Warnings",
    )
    positions = [text.index(part) for part in parts]
    assert positions == sorted(positions)
    assert document.verdict in words(text) and all(warning in words(text) for warning in document.warnings)


def test_names_are_never_taken_for_markup_or_terminal_codes():
    (first, *_) = sweep_document().measures
    text = printed(sweep_document(measures=(first.model_copy(update={"learner": "[red]\x1b[2Jx"}),)))
    assert "[red]\N{REPLACEMENT CHARACTER}[2Jx" in text


def test_an_empty_sweep_says_what_to_do():
    nothing = dict.fromkeys(("measures", "rankings", "effective", "typical", "barriers", "basins", "warnings"), ())
    assert "Nothing is measured yet: basin measure flat-or-sharp" in printed(sweep_document(**nothing))

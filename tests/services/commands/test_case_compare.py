"""Tables whose comparisons said nothing, or said it in thirty digits."""

import re

from tests.support.cases import case

HOW = ("--learners", "linear-map,boosted-trees", "--budget", "quick", "--seeds", "1", "--workers", "0")


def said(command, folder: str, name: str, *options: str) -> str:
    ended = command("compare", case(folder) / name, *options, *HOW)
    assert ended.status == 0, ended.err
    return " ".join(ended.out.split())


def test_the_row_that_decides_is_named_with_its_value_and_what_is_left_without_it(command) -> None:
    text = said(command, "one-row-decides", "glitchc.csv", "--target", "kind", "--splits", "8")
    assert "row 61 (load = 9,999,999) is 9.2e6 standard deviations from the training rows and makes nearly all" in text
    assert re.search(r"without this row -?0\.\d+ ± 0\.\d+\)", text)
    assert "more splits would not help" in text


def test_numbers_of_any_size_have_a_few_digits_and_an_exact_target_is_said(command) -> None:
    text = said(command, "number-format", "exact.csv", "--target", "y", "--splits", "2")
    assert not re.search(r"\d(,\d{3}){3}|0\.0{5}", text)
    assert re.search(r" \d\.\d{1,4}e12 ", text)  # the trace of the Hessian at the least noise scale there is
    assert re.search(r" \d\.\de-9 ", text)
    assert "predicts the target to within rounding: it is a function of the columns" in text

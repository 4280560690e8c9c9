"""Figures into tables, and tables into a page."""

import pytest

from benchmarks.__main__ import BENCHMARKS, PAGE, PAGES
from benchmarks.table import Table, figure, markdown, write_section


@pytest.mark.parametrize(
    ("value", "text"),
    [(25842.7, "25,800"), (0.24293, "0.243"), (5.0, "5"), (1234567.0, "1,230,000"), (0, "0"), (None, "–")],
)
def test_a_figure_has_three_significant_digits(value, text):
    assert figure(value) == text


def test_a_table_in_markdown_has_its_first_column_on_the_left():
    lines = markdown(Table("Times", ["what", "ms"], [["a", "1"], ["b", "2"]])).splitlines()
    assert lines == ["**Times**", "", "| what | ms |", "| :-- | --: |", "| a | 1 |", "| b | 2 |"]


def test_a_section_is_replaced_and_the_rest_of_the_page_is_left_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a:begin -->\nold\n<!-- a:end -->\nafter\n<!-- b:begin --><!-- b:end -->\n")
    for text in ("first", r"then \1 as it is"):
        write_section(page, "a", text)
    expected = "before\n<!-- a:begin -->\nthen \\1 as it is\n<!-- a:end -->\nafter\n<!-- b:begin --><!-- b:end -->\n"
    assert page.read_text() == expected


def test_a_page_without_the_section_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing here\n")
    with pytest.raises(ValueError, match="0 sections <!-- a:begin -->"):
        write_section(page, "a", "text")


@pytest.mark.parametrize("name", [*BENCHMARKS, "gpu"])
def test_a_page_has_a_section_for_every_benchmark(name):
    text = PAGES.get(name, PAGE).read_text(encoding="utf-8")
    assert text.count(f"<!-- {name}:begin -->") == text.count(f"<!-- {name}:end -->") == 1

"""Texts of YAML and JSON: each key once, texts for keys, and no more than can be meant."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from models.spec.settings import SpecError
from services.sweeps.yaml_file import DEEPEST, MOST_VALUES, decode_yaml, read_yaml, reason_of

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


def refusal(text: str, **options: Any) -> str:
    with pytest.raises((SpecError, yaml.YAMLError, ValueError)) as refused:
        decode_yaml(text, "it", **options)
    return reason_of(refused.value)


@given(PLAIN)
def test_what_was_written_is_read(value: Any) -> None:
    assert decode_yaml(yaml.safe_dump(value), "it") == value  # with allow_unicode the writer loses U+0085


@given(PLAIN)
def test_aliases_are_read_as_what_they_stand_for(value: Any) -> None:
    text = yaml.safe_dump({"first": value, "second": value, "third": [value]})
    assert decode_yaml(text, "it") == {"first": value, "second": value, "third": [value]}


@pytest.mark.parametrize(
    ("text", "line", "key", "first"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "a", 1),
        ("vary:\n  x.y: [1]\n  z: 2\n  x.y: [2]\n", 4, "x.y", 2),
        ('{"name": "a",\n "name": "b"}', 2, "name", 1),
        ('{"a": [{"b": 1, "c": 2}, {"b": 1,\n\n"b": 1}]}', 3, "b", 1),
        ("? a\n: 1\n? 'a'\n: 2\n", 3, "a", 1),
        ("base: &base {x: 1}\nmine:\n  <<: *base\n  y: 1\n  y: 2\n", 5, "y", 4),
        ("base: &base {x: 1}\nmine:\n  <<: *base\n  <<: *base\n", 4, "<<", 3),
    ],
)
def test_a_key_that_is_there_twice_is_told_with_both_lines(text: str, line: int, key: str, first: int) -> None:
    told = refusal(text)
    assert told.startswith(f"line {line}, ")
    assert f"the key {key!r} is there twice, first on line {first}: keep one of them" in told


def test_the_same_key_in_different_mappings_is_no_fault() -> None:
    assert decode_yaml("a: {a: {a: 1}}\nb: [{a: 1}, {a: 2}]\n", "it") == {
        "a": {"a": {"a": 1}},
        "b": [{"a": 1}, {"a": 2}],
    }
    merged = "base: &base {x: 1, y: 1}\nmine: {<<: *base, y: 2}\nyours: {<<: *base, y: 3}\n"
    assert decode_yaml(merged, "it")["mine"] == {"x": 1, "y": 2}


@pytest.mark.parametrize("key", ["no", "yes", "1", "0x10", "1.5", "2026-01-01", "~"])
def test_a_key_that_is_no_text_is_told_with_the_remedy(key: str) -> None:
    told = refusal(f"a: 1\n{key}: 2\n")
    assert told.startswith("line 2, column 1: ")
    assert f"the key {key} is read as" in told and "put it in quotation marks" in told
    assert decode_yaml(f"a: 1\n'{key}': 2\n", "it") == {"a": 1, key: 2}


@pytest.mark.parametrize("key", ["[1]", "{a: 1}"])
def test_a_list_or_mapping_is_no_key(key: str) -> None:
    assert "cannot be a key" in refusal(f"? {key}\n: 2\n")


@pytest.mark.parametrize("text", ["9" * 5000, "1" + ":1" * 5000, "0x" + "f" * 5000, "1." + "9" * 5000])
def test_an_enormous_number_is_refused_before_it_is_one(text: str) -> None:
    assert refusal(f"- 1\n- {text}\n").startswith("line 2, column 3: a number of more than 400 digits")
    assert decode_yaml(f"'{text}'", "it") == text


@pytest.mark.parametrize("text", ["[" * 10_000, "- " * 10_000, "{a: " * 40 + "1" + "}" * 40])
def test_what_is_nested_too_deeply_is_refused(text: str) -> None:
    assert f"it: it is nested more than {DEEPEST} deep" in refusal(text)


def test_what_is_nested_less_deeply_is_read() -> None:
    assert decode_yaml("[" * DEEPEST + "]" * DEEPEST, "it")


def test_aliases_count_wherever_they_stand() -> None:
    """A thousand million values in a few lines, made of lists of lists."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    start = time.process_time()
    assert "more than 100,000 values" in refusal("\n".join(lines))
    assert time.process_time() - start < 1
    assert len(decode_yaml("\n".join(lines[:4]), "it")["a3"]) == 10
    assert "aliases (*name) are not taken here" in refusal("\n".join(lines[:2]), aliases=False)


def test_what_holds_itself_is_refused() -> None:
    assert "it contains itself by an alias" in refusal("a: &a\n  b: [*a]\n")


@pytest.mark.parametrize("piece", ["[],", "{},", "x,", "'',"])
def test_a_great_many_values_are_refused_before_they_are_built(piece: str) -> None:
    assert f"more than {MOST_VALUES:,} values" in refusal(f"[{piece * 300_000}]")
    assert "more than 1,000 values" in refusal(f"[{piece * 1000}]", most=1000)
    assert len(decode_yaml(f"[{piece * 999}]", "it", most=1000)) == 999


def test_a_file_is_told_by_name_and_line(tmp_path: Path) -> None:
    for name, text in (("s.yaml", "name: a\nseeds: 1\nname: b\n"), ("s.json", '{"name": "a",\n\n"name": "b"}')):
        (tmp_path / name).write_text(text)
        with pytest.raises(SpecError) as refused:
            read_yaml(tmp_path / name, "a sweep file")
        assert str(refused.value).startswith(f"'{tmp_path / name}' is not YAML: line 3, column ")
        assert "the key 'name' is there twice" in str(refused.value)
    (tmp_path / "large.yaml").write_text(json.dumps(["x" * 5 * 2**20]))
    with pytest.raises(SpecError, match=r"has more than 4,194,304 bytes: expected a sweep file"):
        read_yaml(tmp_path / "large.yaml", "a sweep file")

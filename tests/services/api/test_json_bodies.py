"""What is told of a body of JSON before it is parsed."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.errors import ApiError
from services.api.json_bodies import check_json

MIB = 2**20
TEXTS = st.text(st.sampled_from('ab"\\{}[]:,\n é'), max_size=4)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def refusal(body: bytes, **options: Any) -> str:
    with pytest.raises(ApiError) as refused:
        check_json(body, 32, **options)
    assert refused.value.code == "invalid_request"
    return refused.value.message


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_what_a_mapping_can_hold_is_passed(value: Any, ascii_only: bool, indent: int | None) -> None:
    check_json(json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode(), 32)


@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4), st.data(), st.booleans())
def test_a_key_that_is_there_twice_is_refused_however_it_is_written(
    value: dict[str, Any], data: st.DataObject, ascii_only: bool
) -> None:
    again = data.draw(st.sampled_from(sorted(value)))
    inner = json.dumps(value)[1:-1] + "," + json.dumps({again: 1}, ensure_ascii=ascii_only)[1:-1]
    assert "again: keep one of them" in refusal(('[{"x": {' + inner + "}}]").encode())


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b'{"name":"a","name":"b"}', 1),
        (b'{"name": "a",\n "datasets": ["iris"],\n "name": "b"}', 3),
        (b'{"a": {"name": 1,\n"n\\u0061me": 2}}', 2),
        (b'[{"b": 1, "name": [{"name": 1}]}, {"name": 1, "x": {},\n\n"name" : 2}]', 3),
    ],
)
def test_the_line_and_the_key_are_told(body: bytes, line: int) -> None:
    assert refusal(body) == f'line {line} of the body has the key "name" again: keep one of them'


def test_the_same_key_in_different_mappings_is_no_fault() -> None:
    check_json(b'{"a": {"a": {"a": 1}}, "b": [{"a": 1}, {"a": 2}], "c": ["a", "a"], "d": "\\"a\\": 1, \\"a\\": 2"}', 32)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[" + b"[]," * (4 * MIB // 3), "more than 100,000 values"),
        (b"[" + b"1," * (2 * MIB), "more than 100,000 values"),
        (b"{" + b",".join(b'"%d":1' % i for i in range(300_000)), "more than 100,000 values"),
        (b'{"a": ' + b"1" * 4 * MIB + b"}", "a number of more than 400 digits"),
        (b'{"a": 1.' + b"1" * 4 * MIB + b"}", "a number of more than 400 digits"),
    ],
    ids=["lists", "numbers", "keys", "a whole number", "a number"],
)
def test_what_would_take_long_or_much_to_parse_is_refused_quickly(body: bytes, words: str) -> None:
    start = time.process_time()
    assert words in refusal(body)
    assert time.process_time() - start < 2


def test_as_many_values_as_are_taken_are_taken() -> None:
    check_json(json.dumps(list(range(1000))).encode(), 32, 1000)
    assert "more than 1,000 values" in refusal(json.dumps(list(range(1001))).encode(), most=1000)

import pytest

from services.api.errors import ApiError
from services.api.formats import is_known, negotiate

ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, "json"),
        ("", "json"),
        ("*/*", "json"),
        ("application/*", "json"),
        ("text/html, */*;q=0.1", "json"),
        (ARROW, "arrow"),
        (f"{ARROW};q=0.5, {PARQUET}", "parquet"),
        (f"{ARROW}; q=0.5 , application/json;q=0.4", "arrow"),
        (f"{PARQUET.upper()}", "parquet"),
        ("application/json;q=0, */*", "arrow"),
        (f"application/*;q=0.2, {PARQUET};q=0.9", "parquet"),
        ("application/json;q=abc, application/*", "arrow"),
    ],
)
def test_the_format_that_is_preferred_is_chosen(accept: str | None, form: str) -> None:
    assert negotiate(accept) == form


@pytest.mark.parametrize("accept", ["text/csv", "application/json;q=0", ";;;", "application/json;q=nan"])
def test_none_that_is_acceptable_is_an_error(accept: str) -> None:
    with pytest.raises(ApiError) as fault:
        negotiate(accept)
    assert fault.value.code == "not_acceptable"


def test_tags_are_compared_weakly() -> None:
    assert is_known('"a"', '"a"') and is_known('"a"', 'W/"a"') and is_known('"a"', '"b", "a"') and is_known('"a"', "*")
    assert not is_known('"a"', None) and not is_known('"a"', '"b"') and not is_known('"a"', "a")

import pytest

from services.web.checks import EXAMPLE, LARGEST, check


def faults(text: str | bytes) -> list[tuple[str, str]]:
    found = check(text.encode() if isinstance(text, str) else text, ())["faults"]
    return [(fault["path"], fault["message"]) for fault in found]


def test_the_example_can_be_submitted_as_it_stands() -> None:
    found = check(EXAMPLE.encode(), ())
    assert found["faults"] == []
    assert found["sweep"]["datasets"] == ["two-moons"]
    assert found["outlook"] == "first-look: 15 runs at most, on two-moons; 3 splits with 1 seed each."


def test_faults_have_their_paths() -> None:
    told = faults("name: 'no name'\ndatasets: [iris]\nlearners: [svm]\nsplits: 0\nvary: {a.b: 3}\n")
    assert [path for path, _ in told] == ["name", "splits", "vary.a.b"]
    assert all(message for _, message in told)


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("a: [", "line 1, column 5", "not YAML"),
        ("a: &x [1]\nb: *x\n", "", "aliases"),
        ("[" * 5000, "", "nested more than 32 deep"),
        ("- " * 5000, "", "nested more than 32 deep"),
        ("{a: " * 33 + "1" + "}" * 33, "", "nested more than 32 deep"),
        ("a: [" + "1," * 10_001 + "]", "", "at most 10,000 values"),
        ("name: .inf", "", "plain values"),
        ("name: 2026-01-01", "", "dates in quotes"),
        ("!!python/object/apply:os.system ['true']", "line 1, column 1", "could not determine a constructor"),
        ("- 1", "", "expected a mapping"),
        ("name: x\ndatasets: [../../etc/passwd.csv]\n", "", "name no files"),
        ("name: x\ndatasets: ['http://169.254.169.254/x.csv']\n", "", "nothing is fetched"),
        ("name: x\ndatasets: [nope]\n", "", "no data set 'nope'"),
        (b"\xff\xfe\x00", "", "UTF-8"),
        ("name: a\nname: b\n", "line 2, column 1", "the key 'name' is there twice"),
        ("name: a\nsplits: yes\ndatasets: [iris]\n", "splits", "expected a number, and this is yes"),
        ("name: a\ndatasets: [{data: iris, target: no}]\n", "datasets.0.target", "put it in quotation marks"),
        ("name: a\ndatasets: [iris]\nseeds: 100000000\n", "", "a server accepts at most 1,000,000 runs"),
        ("[" + "[]," * 80_000 + "]", "", "more than 15,000 values"),
        ("[" + "[]," * 12_000 + "]", "", "at most 10,000 values"),
        ("#" * (LARGEST + 1), "", "are taken"),
    ],
)
def test_what_is_no_sweep_is_told_and_nothing_is_read_or_run(text: str | bytes, path: str, words: str) -> None:
    ((where, message),) = faults(text)
    assert where == path
    assert words in message

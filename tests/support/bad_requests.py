"""Requests that must be refused, and how: a table of cases, some of them by families.

Paths, headers and bodies are sent byte by byte as they stand here, by a client that mends nothing.
"""

import base64
import gzip
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from services.api.access import COOKIE, PAGE_HEADER
from services.store.queries import KEYS, Query, _seal
from tests.support.seeded import definition

SWEEPS, SCHEDULES, RUNS = "/api/v1/sweeps", "/api/v1/schedules", "/api/v1/runs"
JSON = {"Content-Type": "application/json"}
MARKUP = "<script>alert(1)</script>"
PAGE = "page"  # instead of a code: the error is told as a page
REQUEST_BYTES = 300_000  # limits of the server that is asked
JSON_DEPTH = 32


class Bad(NamedTuple):
    """A request, and the status and the code that it must be answered with."""

    about: str
    method: str
    path: str
    status: int
    code: str
    headers: Mapping[str, str] = {}
    body: bytes = b""
    token: str | None = "admin"  # whose
    stated_length: int | None = None  # of the body, where that is not its own


class Raw(NamedTuple):
    """Bytes that are no request, or no whole one, and the status of the answer; 0 is a connection that is closed."""

    about: str
    data: bytes
    status: int


class Seeds(NamedTuple):
    """What there is, so that a request is wrong in one respect alone.

    Attributes:
        operations: method, path with `{parameters}`, and names of the parameters of the query, of all that there are.
        canary: address of a server that nobody must ask.
    """

    operations: Sequence[tuple[str, str, Sequence[str]]]
    run_key: str
    sweep: str
    schedule: str
    canary: str
    secrets: Mapping[str, str]


OPEN = ("/health", "/ready", "/api/v1/version")


def bad_requests(seeds: Seeds) -> list[Bad]:
    """All of them."""
    families = (
        _without_a_token,
        _with_too_narrow_a_scope,
        _with_a_path_that_is_none,
        _with_a_query_that_is_none,
        _with_a_question_that_means_nothing,
        _with_a_cursor_that_is_none,
        _with_a_body_that_is_none,
        _with_a_sweep_that_is_none,
        _with_data_from_elsewhere,
        _with_a_schedule_that_is_none,
        _with_headers_that_are_none,
        _with_a_method_that_there_is_not,
        _of_another_site,
        _of_pages,
    )
    return [case for family in families for case in family(seeds)]


def _filled(path: str, seeds: Seeds, **stated: str) -> str:
    """A path with its parameters as they are in the store, but for those that are stated."""
    name = seeds.schedule if path.startswith(SCHEDULES) else seeds.sweep
    known = {"run_key": seeds.run_key, "name": name, "table": "runs", "part": "run.json"} | stated
    return re.sub(r"\{(\w+)\}", lambda found: known[found[1]], path)


# --- who asks ---------------------------------------------------------------------------------------------------------


def _without_a_token(seeds: Seeds) -> Iterator[Bad]:
    wrong = {
        "no token": {},
        "an unknown token": {"Authorization": f"Bearer basin_{'A' * 43}"},
        "a revoked token": {"Authorization": f"Bearer {seeds.secrets['revoked']}"},
        "an expired token": {"Authorization": f"Bearer {seeds.secrets['expired']}"},
        "another scheme": {"Authorization": "Basic YWRtaW46YWRtaW4="},
    }
    for (method, path, _), (about, headers) in itertools.product(seeds.operations, wrong.items()):
        if path not in OPEN:
            body = JSON if method == "POST" else {}
            yield Bad(
                about, method, _filled(path, seeds), 401, "unauthorized", headers | body, b"{}" * bool(body), None
            )
    odd = {
        "a token in the address": ("?token={}", {}),
        "a token of the wrong form": ("", {"Authorization": "Bearer {} {}"}),
        "a token and more": ("", {"Authorization": "Bearer {}x"}),
        "a token cut short": ("", {"Authorization": "Bearer " + seeds.secrets["admin"][:-1]}),
        "a token with a wildcard": ("", {"Authorization": "Bearer basin_%"}),
        "a token with SQL": ("", {"Authorization": "Bearer basin_' OR 1=1 --"}),
        "a huge token": ("", {"Authorization": "Bearer " + "A" * 30_000}),
        "a token in two headers": ("", {"Authorization": "Bearer", "authorization": "Bearer {}"}),
        "a cookie of another name": ("", {"Cookie": "token={}"}),
        "a hash instead of a token": ("", {"Authorization": "Bearer " + "0" * 64}),
    }
    for about, (query, headers) in odd.items():
        secret = seeds.secrets["admin"]
        sent = {name: value.replace("{}", secret) for name, value in headers.items()}
        yield Bad(about, "GET", f"{RUNS}{query.format(secret)}", 401, "unauthorized", sent, token=None)
    yield Bad(
        "a large body of a stranger", "POST", SWEEPS, 413, "too_large", JSON, b"[]", token=None, stated_length=100_000
    )


def _with_too_narrow_a_scope(seeds: Seeds) -> Iterator[Bad]:
    for method, path, _ in seeds.operations:
        if method != "GET":
            body = json.dumps(definition()).encode() if path in (SWEEPS, SCHEDULES) else b""
            sent = JSON if body else {}
            yield Bad("a scope that reads", method, _filled(path, seeds), 403, "forbidden", sent, body, "read")


def _of_another_site(seeds: Seeds) -> Iterator[Bad]:
    cookie = {"Cookie": f"{COOKIE}={seeds.secrets['admin']}"}
    stop = f"{SWEEPS}/{seeds.sweep}/stop"
    for about, headers in {
        "a cookie that another site's form sends along": {},
        "another site's form": {"Content-Type": "application/x-www-form-urlencoded"},
        "a page's header that says no": {PAGE_HEADER: "0"},
    }.items():
        yield Bad(about, "POST", stop, 401, "unauthorized", cookie | headers, token=None)
        yield Bad(about, "DELETE", f"{SCHEDULES}/{seeds.schedule}", 401, "unauthorized", cookie | headers, token=None)
        yield Bad(about, "POST", "/web/check", 401, "unauthorized", cookie | headers, b"a: 1", token=None)
    for about, headers in {
        "signing in from another site": {"Sec-Fetch-Site": "cross-site"},
        "signing in from a neighbour": {"Sec-Fetch-Site": "same-site"},
        "signing in from another origin": {"Origin": "https://evil.example"},
        "signing in from a page without an origin": {"Origin": "null"},
    }.items():
        form = {"Content-Type": "application/x-www-form-urlencoded"} | headers
        body = f"token={seeds.secrets['admin']}".encode()
        yield Bad(about, "POST", "/login", 403, PAGE, form, body, token=None)


# --- what is asked for ------------------------------------------------------------------------------------------------

TRAVERSALS = (
    *("..", ".", "%2e%2e", "%252e%252e", "..%2f..%2fstore.json", "..%2F..%2Fledger%2Fledger.sqlite", "%2fetc%2fpasswd"),
    *(
        "..%5c..%5cstore.json",
        "%00",
        "a%00.parquet",
        "%c0%ae%c0%ae",
        "%ff",
        "%F0%9F%98%80",
        "%E2%80%AE",
        ".hidden",
        "-a",
    ),
    *("a%0d%0aSet-Cookie:%20a=b", "%3Cscript%3Ealert(1)%3C%2Fscript%3E", "%7B%7B7*7%7D%7D", "a" * 300, "a%20b", "*"),
)


def _with_a_path_that_is_none(seeds: Seeds) -> Iterator[Bad]:
    for method, path, _ in seeds.operations:
        for parameter in re.findall(r"\{(\w+)\}", path):
            for spelling in TRAVERSALS:
                status, code = (404, "not_found") if "%2f" in spelling.lower() else (422, "invalid_request")
                wrong = _filled(path, seeds, **{parameter: spelling})
                yield Bad(f"{parameter} {spelling[:30]}", method, wrong, status, code)
    for path in (
        *("/api", "/api/v2/runs", "/api/v1/runs/", "//api/v1/runs", "/api/v1//runs", "/api/v1/./runs", "/API/V1/RUNS"),
        *("/api/v1/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..;/api/v1/runs", "/docs", "/redoc", "/.env"),
        *("/.git/config", "/server-status", "/api/v1/runs%3Flimit=1", "/api/v1/runs;a=b"),
    ):
        yield Bad("no such address", "GET", path, 404, "not_found")
    missing = "0" * 32
    yield Bad("no such run", "GET", f"{RUNS}/{missing}", 404, "not_found")
    yield Bad("a run in capitals", "GET", f"{RUNS}/{missing.replace('0', 'A')}", 422, "invalid_request")
    yield Bad("no such part", "GET", f"{RUNS}/{seeds.run_key}/parts/store.json", 404, "not_found")
    yield Bad("no such sweep", "GET", f"{SWEEPS}/nothing", 404, "not_found")
    yield Bad("no such sweep", "GET", f"{SWEEPS}/nothing/ranking", 404, "not_found")
    yield Bad("a sweep's file", "GET", f"{SWEEPS}/{seeds.sweep}.parquet", 404, "not_found")
    yield Bad("no such schedule", "DELETE", f"{SCHEDULES}/nothing", 404, "not_found")
    yield Bad("no such dataset", "GET", f"{SWEEPS}/{seeds.sweep}/comparison?dataset={MARKUP}", 404, "not_found")


WRONG_VALUES: Mapping[str, Sequence[str]] = {
    "limit": ("0", "-1", "10001", "9" * 30, "1e3", "NaN", "", "abc", "1.5", "0x10", "%00", "1;drop", "%F0%9F%98%80"),
    "sweep": ("../../etc/passwd", "%2e%2e", "%00", "", "a%0d%0ab", MARKUP.replace("<", "%3C"), "a" * 65),
    "threshold": ("nan", "inf", "-inf", "-1", "1e7", "x", "", "1e999"),
    "dataset": ("x" * 501,),
}


_UNKNOWN = (422, "invalid_request")
_JSON_OF = {SWEEPS: JSON, SCHEDULES: JSON}


def _with_a_query_that_is_none(seeds: Seeds) -> Iterator[Bad]:
    for method, path, names in seeds.operations:
        for name in names:
            for value in WRONG_VALUES.get(name, ()):
                asked = f"{_filled(path, seeds)}?{name}={value}"
                yield Bad(f"{name} {value[:30]}", method, asked, 422, "invalid_request")
        unknown = f"{_filled(path, seeds)}?nothing=1"
        if path not in (*OPEN, "/metrics"):
            yield Bad("an unknown parameter", method, unknown, *_UNKNOWN, _JSON_OF.get(path, {}))
    for name in ("were", "Limit", "limit[]", "__class__", "a" * 5000, MARKUP.replace("<", "%3C"), "%00", "callback"):
        yield Bad(f"an unknown parameter {name[:20]}", "GET", f"{RUNS}?{name}=1", *_UNKNOWN)
    yield Bad("33 conditions", "GET", f"{RUNS}?{'&'.join(['where=seed:eq:1'] * 33)}", 422, "invalid_request")
    yield Bad("a long list of columns", "GET", f"{RUNS}?select={'seed,' * 801}", 422, "invalid_request")
    yield Bad("a long order", "GET", f"{RUNS}?sort={'seed,' * 801}", 422, "invalid_request")
    yield Bad("a page that there cannot be", "GET", f"{SWEEPS}?cursor=../up", 422, "invalid_request")


def _with_a_question_that_means_nothing(seeds: Seeds) -> Iterator[Bad]:
    wheres = (
        *("", "seed", "seed:eq", "seed:1", ":::", "::", "seed::1", "nothing:eq:1", "seed:like:1", "seed:EQ:1"),
        *("seed:eq:x", "seed:eq:1.5", "seed:eq:9223372036854775808", "seed:eq:-9223372036854775809", "seed:eq:NaN"),
        *("seed:eq:%D9%A3", "seed:in:1,x", "seed:in:", "seed:contains:1", "wall_seconds:eq:nan", "wall_seconds:eq:1_0"),
        *(
            "wall_seconds:gt:one",
            "stored_at:gt:yesterday",
            "stored_at:gt:0000-01-01",
            "stored_at:gt:0001-01-01T00:00%2B23:00",
        ),
        *(
            "seed:is_null:maybe",
            "warnings:eq:x",
            "__class__:eq:1",
            "seed;drop%20table%20runs:eq:1",
            "SEED:eq:1",
            "%00:eq:1",
        ),
        *("../seed:eq:1", f"{MARKUP.replace('<', '%3C')}:eq:1", "seed:eq:%0d%0aSet-Cookie:a=b", "x" * 5000),
        "seed:in:" + "1," * 1001,
    )
    for where in wheres:
        yield Bad(f"where {where[:40]}", "GET", f"{RUNS}?where={where}", 400, "invalid_query")
    for name, values in {
        "select": ("nothing", "seed,nothing", "*", "count(seed)", MARKUP.replace("<", "%3C"), "%00", "seed;"),
        "sort": ("nothing", "--seed", "seed,seed", "seed,-seed", "warnings", "%2Bseed", "seed desc", "-"),
    }.items():
        for value in values:
            yield Bad(f"{name} {value}", "GET", f"{RUNS}?{name}={value.replace(' ', '%20')}", 400, "invalid_query")
    for table in KEYS:
        for wrong in ("where=nothing:eq:1", "select=nothing", "sort=nothing", "cursor=nothing"):
            yield Bad(f"of {table}", "GET", f"/api/v1/{table}?{wrong}", 400, "invalid_query")
    yield Bad("rows of a sweep that there is not", "GET", f"{RUNS}?sweep=nothing", 404, "not_found")


def _with_a_cursor_that_is_none(seeds: Seeds) -> Iterator[Bad]:
    def sealed(position: Any, table: str = "runs", **asked: Any) -> str:
        """A cursor as somebody makes it who has read the code."""
        return _encoded([1, _seal(Query.model_validate({"table": table} | asked), position), position])

    good = sealed([seeds.run_key])
    by_seed = {"sort": ("seed",)}
    cursors = {
        "no base64": "%%%",
        "empty": "",
        "no JSON": _encoded(None)[:-2] + "!",
        "null": _encoded(None),
        "a number": _encoded(1),
        "a mapping": _encoded({"a": 1}),
        "too short": _encoded([1]),
        "too long": _encoded([1, 2, 3, 4]),
        "no seal": _encoded([1, "", [seeds.run_key]]),
        "a forged seal": _encoded([1, "0" * 32, [seeds.run_key]]),
        "another version": _encoded([2, json.loads(_decoded(good))[1], [seeds.run_key]]),
        "another place under the same seal": _encoded([1, json.loads(_decoded(good))[1], ["f" * 32]]),
        "cut short": good[:-4],
        "with more behind": good + "AAAA",
        "of another table": sealed([seeds.run_key, 1], "curves"),
        "of another sort": sealed([1, seeds.run_key], sort=("seed",)),
        "of another condition": sealed([seeds.run_key], where=("seed:eq:1",)),
        "of another sweep": sealed([seeds.run_key], sweep="other"),
        "a place of too many parts": sealed([seeds.run_key, 1]),
        "a place that is none": sealed("a"),
        "a place that is a mapping": sealed({"a": 1}),
        "a number for a text": sealed([1]),
        "a list for a text": sealed([["a"]]),
        "a mapping for a text": sealed([{"a": 1}]),
        "a truth for a text": sealed([True]),
        "deep": _encoded(json.loads("[" * 500 + "]" * 500)),
        "deep beyond parsing": _b64(b"[" * 20_000),
        "a huge number": _b64(b"[1,2,[" + b"9" * 5000 + b"]]"),
        "no text": _b64(b"\xff\xfe"),
        "code": _b64(b"c__builtin__\neval\n(S'1'\ntR."),
    }
    for about, cursor in cursors.items():
        yield Bad(f"cursor: {about}", "GET", f"{RUNS}?cursor={cursor}", 400, "invalid_query")
    for about, position in {
        "a text for a number": ["x", seeds.run_key],
        "a fraction for a number": [0.5, seeds.run_key],
        "a truth for a number": [True, seeds.run_key],
        "a number beyond 64 bits": [2**64, seeds.run_key],
        "a list for a number": [[1], seeds.run_key],
    }.items():
        cursor = sealed(position, **by_seed)
        yield Bad(f"cursor: {about}", "GET", f"{RUNS}?sort=seed&cursor={cursor}", 400, "invalid_query")
    for about, column, value in (
        ("a text for a moment", "stored_at", "noon"),
        ("a number for a moment", "stored_at", 5),
        ("a text for a fraction", "wall_seconds", "x"),
        ("a list for a fraction", "wall_seconds", []),
    ):
        cursor = sealed([value, seeds.run_key], sort=(column,))
        yield Bad(f"cursor: {about}", "GET", f"{RUNS}?sort={column}&cursor={cursor}", 400, "invalid_query")


def _encoded(value: Any) -> str:
    return _b64(json.dumps(value, separators=(",", ":")).encode())


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


# --- what is sent -----------------------------------------------------------------------------------------------------


def _with_a_body_that_is_none(seeds: Seeds) -> Iterator[Bad]:
    good = json.dumps(definition()).encode()
    arrow = pl.DataFrame({"name": ["bad"]}).write_ipc_stream(None).getvalue()
    bodies: dict[str, bytes] = {
        "nothing": b"",
        "a list": b"[]",
        "a text": b'"iris"',
        "a number": b"3",
        "null": b"null",
        "cut short": good[:-1],
        "with more behind": good + b"}",
        "two": good + good,
        "single quotes": good.replace(b'"', b"'"),
        "a comma too many": good.replace(b"}", b",}"),
        "a comment": b"/**/" + good,
        "NaN": good.replace(b"2}", b"NaN}"),
        "Infinity": good.replace(b"2}", b"Infinity}"),
        "-Infinity": good.replace(b"2}", b"-Infinity}"),
        "a number of 5,000 digits": good.replace(b"2}", b"9" * 5000 + b"}"),
        "a number of many digits": good.replace(b"2}", b"9" * 4000 + b"}"),
        "a number beyond floats": good.replace(b"2}", b"1e999}"),
        "deep lists": b"[" * 40 + b"]" * 40,
        "deep mappings": b'{"a":' * 40 + b"1" + b"}" * 40,
        "lists that never end": b"[" * 100_000,
        "deep under a known key": good.replace(b"2}", b'2,"vary":{"a":' + b"[" * 31 + b"]" * 31 + b"}}"),
        "UTF-16": good.decode().encode("utf-16"),
        "UTF-32": good.decode().encode("utf-32"),
        "no UTF-8": good.replace(b"bad", b"\xff\xfe"),
        "overlong UTF-8": good.replace(b"bad", b"\xc0\xaf"),
        "half a character": good.replace(b"bad", b"\\ud800"),
        "a NUL": good.replace(b"bad", b"\\u0000"),
        "a byte order mark": b"\xef\xbb\xbf" + good[:-1],
        "Arrow that says it is JSON": arrow,
        "a pickle": b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00\x8c\x01a\x94.",
        "gzip that says nothing": gzip.compress(good),
    }
    for about, body in bodies.items():
        code = (
            "invalid_sweep" if about in ("a number beyond floats", "half a character", "a NUL") else "invalid_request"
        )
        yield Bad(f"body: {about}", "POST", SWEEPS, 422, code, JSON, body)
        yield Bad(f"body: {about}", "POST", SCHEDULES, 422, "invalid_request", JSON, body)
    for kind in (
        *("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a", "application/x-yaml"),
        *(
            "application/vnd.apache.arrow.stream",
            "application/vnd.apache.parquet",
            "text/json",
            "application/jsonp",
            "",
        ),
        *("application/json5", "application/xml", "application/x-python-pickle", "text/plain; application/json"),
    ):
        body = arrow if "arrow" in kind else good
        for path in (SWEEPS, SCHEDULES):
            yield Bad(f"type {kind}", "POST", path, 415, "unsupported_media_type", {"Content-Type": kind}, body)
    bomb = gzip.compress(b" " * 10_000_000)
    for encoding in ("gzip", "deflate", "br", "zstd", "gzip, gzip", "unknown"):
        headers = JSON | {"Content-Encoding": encoding}
        yield Bad(f"encoding {encoding}", "POST", SWEEPS, 415, "unsupported_media_type", headers, bomb)
    too_long = b'{"name": "' + b"a" * REQUEST_BYTES + b'"}'
    yield Bad("too long", "POST", SWEEPS, 413, "too_large", JSON, too_long)
    for length in (REQUEST_BYTES + 1, 10**9, 10**18):
        yield Bad(f"says that it has {length}", "POST", SWEEPS, 413, "too_large", JSON, b"{", stated_length=length)


def _with_a_sweep_that_is_none(seeds: Seeds) -> Iterator[Bad]:
    in_full = {"name": "x", "predictor": {"kind": "mlp"}, "likelihood": {"kind": "categorical"}}
    stated: list[dict[str, Any]] = [
        *(
            {"name": name}
            for name in ("", "a/b", "../up", ".hidden", MARKUP, "a" * 65, "é", "a\nb", "a\0", 3, None, [])
        ),
        *({"budget": value} for value in ("huge", 3, None, "")),
        *({name: value} for name in ("splits", "seeds", "draws") for value in (0, -1, 1.5, "many", 2**70, [])),
        *(
            {"learners": value}
            for value in ([], ["svn"], [MARKUP], [3], [[]], "svm", ["svm", "svm"], {}, [{}], [in_full])
        ),
        *(
            {"datasets": value}
            for value in ([], ["irsi"], [MARKUP], [3], [[]], {}, ["iris", "iris"], ["iris"] * 201, [""])
        ),
        *(
            {"datasets": [{"data": "iris", name: value}]}
            for name, value in (("task", "x"), ("other", 1), ("target", []))
        ),
        *({"vary": value} for value in ([], {"a": [1]}, {"": [1]}, {"predictor": [1], "predictor.c": [1]}, {"a": 1})),
        *(
            {"vary": {"predictor.c": value}}
            for value in ([], ["x"], {"low": 1}, {"draw": "x"}, {"low": 1, "high": 0, "count": 3})
        ),
        *({name: 1} for name in ("split", "__class__", "__proto__", MARKUP, "constructor", "name ", "Name")),
        {"vary": {"predictor.c": [1e308, -1e308]}},
        {"splits": 10**9},
        {"splits": 1000, "seeds": 1001},
        {"learners": ["mlp-sgd"], "vary": {"inference.learning_rate": {"low": 0.1, "high": 1, "count": 10**6}}},
        {
            "learners": ["mlp-sgd"],
            "vary": {"inference.learning_rate": {"draw": "uniform", "low": 0, "high": 1}},
            "draws": 10**6,
        },
        {"learners": ["svm"] * 10_001},
        {f"key-{i}": i for i in range(5000)},
        {"datasets": [{"data": f"nothing-{i}"} for i in range(4000)]},
        {"early_stopping": {"nothing": 1}},
        {"resources": {"workers": -1}},
        {"resources": {"gpus": -0.5}},
        {"connections": "yes"},
        {"measures": [3]},
    ]
    for each in stated:
        about = json.dumps(each)[:60]
        yield Bad(f"sweep {about}", "POST", SWEEPS, 422, "invalid_sweep", JSON, json.dumps(definition(**each)).encode())
    twice = json.dumps(definition())[:-1] + ', "name": "../up"}'
    yield Bad("the second of two names", "POST", SWEEPS, 422, "invalid_request", JSON, twice.encode())
    yield Bad("nothing asked for", "POST", SWEEPS, 422, "invalid_sweep", JSON, b"{}")


def _with_data_from_elsewhere(seeds: Seeds) -> Iterator[Bad]:
    canary = seeds.canary
    places = (
        *(
            f"http://{canary}/data.csv",
            f"https://{canary}/data.csv",
            f"HTTP://{canary}/data.csv",
            f"//{canary}/data.csv",
        ),
        *(f"ftp://{canary}/data.csv", f"gopher://{canary}/1", f"http:{canary}/data.csv", f"http:/{canary}/data.csv"),
        *(f"http://user:password@{canary}/data.csv", f"http://{canary}#.csv", f"http://0x7f000001:{canary[-5:]}/a.csv"),
        *(
            f"\\\\{canary}\\share\\data.csv",
            f"//{canary}/share/data.npz",
            f"hf://{canary}/data.parquet",
            "smb://x/a.csv",
        ),
        *(
            "http://169.254.169.254/latest/meta-data/",
            "http://[::1]/a.csv",
            "http://localhost/a.csv",
            "data:text/csv,a",
        ),
        *("s3://bucket/data.parquet", "gs://bucket/data.csv", "az://container/data.csv", "file:///etc/passwd"),
        *(
            "file:/etc/passwd",
            "file://localhost/etc/passwd.csv",
            "/etc/passwd",
            "/etc/passwd.csv",
            "/proc/self/environ",
        ),
        *(
            "../store/store.json",
            "../ledger.sqlite",
            "..\\..\\x.csv",
            "./../outside.csv",
            "link.csv",
            "folder/../../outside.csv",
        ),
        *(
            "~/.ssh/id_rsa.csv",
            "$HOME/a.csv",
            "*.csv",
            "a\0.csv",
            "a\nb.csv",
            "points.csv\0",
            "a" * 1001,
            "a" * 300 + ".csv",
        ),
        *(
            "openml:",
            "openml:../../x",
            "openml:http://x/a",
            "openml:a b",
            "openml:61/../../x",
            "openml:\n61",
            "openml:61?x",
        ),
        *(
            "random-labels:",
            f"random-labels:http://{canary}/a.csv",
            "random-labels:/etc/passwd",
            "random-labels:../x.csv",
        ),
        *(
            "random-labels:openml:../x",
            "random-labels:random-labels:/etc/passwd.csv",
            "two-moons:n=x",
            "two-moons:other=1",
        ),
        *("two-moons:n=1e999", "iris\r\nX: y", "iris\x1b[31m", "iris\u2028", "\u202eiris", "fifo.csv", "folder", "."),
        *("points.csv/..", "POINTS.CSV", "iris ", " iris", "Iris"),
    )
    for place in places:
        body = json.dumps(definition(datasets=[{"data": place, "target": "y"}])).encode()
        yield Bad(f"dataset {place[:40]!r}", "POST", SWEEPS, 422, "invalid_sweep", JSON, body)
    for place in (
        *(f"http://{canary}/learner.yaml", f"//{canary}/learner.yaml", "file:///etc/passwd.yaml", "/etc/passwd.yaml"),
        *("../ledger.yaml", "../outside.yaml", "link.yaml", "a\0.yaml", "a\n.yaml", "a" * 1001 + ".yaml", "~/x.json"),
        *("code.yaml", "broken.yaml", "text.yaml", "folder/../../outside.yaml", "points.csv"),
    ):
        body = json.dumps(definition(learners=[place])).encode()
        yield Bad(f"learner {place[:40]!r}", "POST", SWEEPS, 422, "invalid_sweep", JSON, body)


def _with_a_schedule_that_is_none(seeds: Seeds) -> Iterator[Bad]:
    good: dict[str, Any] = {"sweep": definition(), "cron": "0 2 * * *", "name": "bad"}
    stated: list[dict[str, Any]] = [
        *({"cron": value} for value in ("", "x", "* * * *", "61 * * * *", "0 0 31 2 *", "@reboot", "a" * 201, 3, None)),
        *({"cron": value} for value in ("* * * * * *", "0 2 * * *; reboot", "*/0 * * * *", "0-99999999 * * * *")),
        *(
            {"timezone": value}
            for value in ("Mars/Olympus", "../../etc/passwd", "a\0b", "", "/etc/localtime", "x" * 101, 3)
        ),
        *({"name": value} for value in ("", "../up", MARKUP, "a" * 65, "a\nb", 3)),
        *({"overlap": value} for value in ("", "sometimes", 3, None)),
        *({"misfire_grace_seconds": value} for value in (0, -1, 10**9, 1.5, "x", None, 2**70)),
        *({"workers": value} for value in (-1, 10_001, 1.5, "x", 2**70)),
        *({"gpus": value} for value in (-0.5, "x", [])),
        *({"coalesce": value} for value in ("perhaps", 3, None, [])),
        *({name: 1} for name in ("store", "address", "command", "__class__", "state")),
        {"sweep": "nightly"},
        {"sweep": None},
        {f"key-{i}": i for i in range(5000)},
    ]
    for each in stated:
        body = json.dumps(good | each).encode()
        yield Bad(f"schedule {json.dumps(each)[:60]}", "POST", SCHEDULES, 422, "invalid_request", JSON, body)
    for each in (
        {"datasets": [f"http://{seeds.canary}/data.csv"]},
        {"datasets": ["/etc/passwd"]},
        {"learners": ["/etc/passwd.yaml"]},
        {"name": MARKUP},
    ):
        body = json.dumps(good | {"sweep": definition(**each)}).encode()
        yield Bad(f"schedule of {json.dumps(each)}", "POST", SCHEDULES, 422, "invalid_sweep", JSON, body)


def _with_headers_that_are_none(seeds: Seeds) -> Iterator[Bad]:
    good = json.dumps(definition()).encode()
    resume = f"{SWEEPS}/{seeds.sweep}/resume"
    for key in ("", " ", "a b", "a\tb", "x" * 201, "é", "a%0d%0ab c"):
        headers = {"Idempotency-Key": key}
        yield Bad(f"key {key[:20]!r}", "POST", SWEEPS, 422, "invalid_request", JSON | headers, good)
        yield Bad(f"key {key[:20]!r}", "POST", resume, 422, "invalid_request", headers)
    for accept in (
        *("text/html", "application/xml", "application/vnd.apache.arrow.file", "application/json;q=0", "image/*", "*"),
        *("application/json;q=nan", "application/json;q=2", "application/json;q=-1", "application/", "x" * 5000, ";"),
        *("../../etc/passwd", MARKUP, "application/jsonp", "application/*;q=0"),
    ):
        yield Bad(f"accept {accept[:30]}", "GET", RUNS, 406, "not_acceptable", {"Accept": accept})
    part = f"{RUNS}/{seeds.run_key}/parts/run.json"
    for wanted in ("bytes=999999999-", "bytes=99999999-999999999", "bytes=-0", f"bytes={10**17}-"):
        yield Bad(f"range {wanted}", "GET", part, 416, "range_not_satisfiable", {"Range": wanted})


def _with_a_method_that_there_is_not(seeds: Seeds) -> Iterator[Bad]:
    there = {(method, path) for method, path, _ in seeds.operations}
    for method, path in itertools.product(("TRACE", "PUT", "PATCH", "DELETE"), sorted({path for _, path in there})):
        if (method, path) not in there:
            yield Bad("no such method", method, _filled(path, seeds), 405, "method_not_allowed")
    for method, path in itertools.product(("OPTIONS", "PROPFIND"), (RUNS, "/")):
        yield Bad("no such method", method, path, 405, "method_not_allowed")
    yield Bad("writing a part", "PUT", f"{RUNS}/{seeds.run_key}/parts/run.json", 405, "method_not_allowed", {}, b"x")
    yield Bad("reading what changes something", "GET", f"{SWEEPS}/{seeds.sweep}/stop", 405, "method_not_allowed")
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        yield Bad(name, "POST", f"{SCHEDULES}/{seeds.schedule}", 405, "method_not_allowed", {name: "DELETE"})
    yield Bad("a method in the body", "POST", f"{SCHEDULES}/{seeds.schedule}?_method=DELETE", 405, "method_not_allowed")


# --- pages ------------------------------------------------------------------------------------------------------------


def _of_pages(seeds: Seeds) -> Iterator[Bad]:
    for path in ("/sweeps/{}", "/runs/{}", "/schedules/{}", "/web/static/0000000000000000/{}"):
        for spelling in TRAVERSALS:
            code = "not_found" if "%2f" in spelling.lower() else PAGE
            yield Bad(f"page {spelling[:30]}", "GET", path.format(spelling), 404, code)
    for spelling in TRAVERSALS:
        status, code = (404, "not_found") if "%2f" in spelling.lower() else (422, "invalid_request")
        yield Bad(f"part {spelling[:30]}", "GET", f"/web/sweeps/{spelling}/comparison?dataset=a", status, code)
        yield Bad(f"part {spelling[:30]}", "GET", f"/web/sweeps/{spelling}/geometry?dataset=a", status, code)
        yield Bad(f"part {spelling[:30]}", "GET", f"/web/runs/{spelling}/details", 404, "not_found")
        if "%2f" not in spelling.lower():
            yield Bad(f"events {spelling[:30]}", "GET", f"/web/events?sweep={spelling}", 422, "invalid_request")
    yield Bad("51 sweeps at once", "GET", "/web/events?" + "sweep=a&" * 51, 422, "invalid_request")
    yield Bad("a pair that is none", "GET", f"/pair?a={MARKUP}&b=x", 404, PAGE)
    yield Bad("a pair that is none", "GET", f"/web/pair?a={MARKUP}&b=x", 404, "not_found")
    yield Bad("half a pair", "GET", "/web/pair?a=x", 422, "invalid_request")
    yield Bad("a comparison of nothing", "GET", f"/web/sweeps/{seeds.sweep}/comparison", 422, "invalid_request")
    yield Bad(
        "a comparison of markup", "GET", f"/web/sweeps/{seeds.sweep}/comparison?dataset={MARKUP}", 404, "not_found"
    )
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    yield Bad("a wrong token", "POST", "/login", 401, PAGE, form, b"token=basin_" + b"A" * 43, token=None)
    yield Bad("no token", "POST", "/login", 401, PAGE, form, b"", token=None)
    yield Bad(
        "markup for a token", "POST", "/login", 401, PAGE, form, b"token=%3Cscript%3Ealert(1)%3C/script%3E", token=None
    )
    yield Bad("a form of many fields", "POST", "/login", 422, PAGE, form, b"a=1&" * 10_000, token=None)
    yield Bad("a huge form", "POST", "/login", 413, "too_large", form, b"a" * 10, token=None, stated_length=10**6)


YAML: Mapping[str, bytes] = {
    "aliases that grow": b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (n, n, b",".join([b"*%c" % (n - 1)] * 9)) for n in range(ord("b"), ord("j"))),
    "an alias of itself": b"a: &a [*a]",
    "merged keys": b"a: &a {b: 1}\nc:\n  <<: *a\n",
    "a large anchor": b"a: &a '" + b"x" * 100_000 + b"'\nb: *a\n",
    "deep lists": b"[" * 5_000,
    "deep indents": b"- " * 5_000 + b"a",
    "deep mappings": b"{a: " * 5_000,
    "just too deep": b"a: " + b"[" * 40 + b"]" * 40,
    "code": b"!!python/object/apply:os.system ['touch /tmp/taken']",
    "code in a key": b"? !!python/name:os.system\n: 1",
    "a module": b"a: !!python/module:subprocess",
    "a Java class": b"!!javax.script.ScriptEngineManager [x]",
    "an unknown tag": b"a: !include /etc/passwd",
    "binary": b"a: !!binary aGVsbG8=",
    "a set": b"!!set {a, b}",
    "a list for a key": b"? [a]\n: 1",
    "not a number": b"name: a\nsplits: .nan",
    "infinity": b"name: a\nsplits: .inf",
    "a number of 5,000 digits": b"splits: " + b"9" * 5_000,
    "a number in base 16": b"name: a\ndatasets: [iris]\nsplits: 0x" + b"f" * 5_000,
    "a number in base 60": b"name: a\ndatasets: [iris]\nsplits: 9" + b":59" * 1_000,
    "a date": b"name: 2026-01-01",
    "a month that there is not": b"name: 2026-13-41",
    "two documents": b"a: 1\n---\nb: 2\n",
    "a tab": b"a:\n\tb: 1",
    "NUL": b"a: \0",
    "no UTF-8": b"\xff\xfe\x00",
    "nothing": b"",
    "too long": b"#" * 2**18 + b"#",
    "a file": b"name: a\ndatasets: [/etc/passwd]",
    "an address": b"name: a\ndatasets: ['http://169.254.169.254/a.csv']",
    "a learner's file": b"name: a\ndatasets: [iris]\nlearners: [/etc/passwd.yaml]",
    "markup": b"name: <script>alert(1)</script>\ndatasets: [iris]",
    "many keys": b"".join(b"k%d: 1\n" % i for i in range(12_000)),
}
"""Texts that the page for new sweeps must find fault with."""


def raw_requests(host: str) -> list[Raw]:
    """What is no request, or means two at once."""
    get = f"GET /api/v1/runs HTTP/1.1\r\nHost: {host}\r\n"
    post = f"POST /login HTTP/1.1\r\nHost: {host}\r\n"
    smuggled = "GET /api/v1/version HTTP/1.1\r\nHost: x\r\n\r\n"
    cases = {
        "two lengths": (f"{post}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        "a length and chunks": (
            f"{post}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}",
            400,
        ),
        "chunks and a length": (
            f"{post}Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n{smuggled}",
            400,
        ),
        "chunks that are not the last coding": (f"{post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
        "a coding of another name": (f"{post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        "a space before the colon": (f"{post}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        "a length below zero": (f"{post}Content-Length: -1\r\n\r\n", 400),
        "a length that is no number": (f"{post}Content-Length: 1x\r\n\r\na", 400),
        "a length with a sign": (f"{post}Content-Length: +1\r\n\r\na", 400),
        "a length beyond 64 bits": (f"{post}Content-Length: {'9' * 30}\r\n\r\na", 400),
        "a chunk of no size": (f"{post}Transfer-Encoding: chunked\r\n\r\nx\r\na\r\n0\r\n\r\n", 400),
        "a chunk of a size beyond 64 bits": (f"{post}Transfer-Encoding: chunked\r\n\r\n{'f' * 17}\r\na", 400),
        "a chunk of a size below zero": (f"{post}Transfer-Encoding: chunked\r\n\r\n-1\r\na\r\n0\r\n\r\n", 400),
        "a header that is folded": (f"{get}X-A: a\r\n  b\r\n\r\n", 400),
        "a header with a NUL": (f"{get}X-A: a\0b\r\n\r\n", 400),
        "a header with a bare CR": (f"{get}X-A: a\rb\r\n\r\n", 400),
        "a header without a colon": (f"{get}X-A\r\n\r\n", 400),
        "a header without a name": (f"{get}: a\r\n\r\n", 400),
        "a header's name with a space": (f"{get}X A: a\r\n\r\n", 400),
        "a large header": (f"{get}X-A: {'a' * 70_000}\r\n\r\n", 400),
        "a header that never ends": (f"{get}X-A: {'a' * 70_000}", 400),
        "many headers": (get + "".join(f"X-{i}: {'a' * 100}\r\n" for i in range(1000)) + "\r\n", 400),
        "a large address": (f"GET /{'a' * 70_000} HTTP/1.1\r\nHost: {host}\r\n\r\n", 400),
        "HTTP/0.9": ("GET /\r\n\r\n", 303),
        "another version": (f"GET / HTTP/3.0\r\nHost: {host}\r\n\r\n", 400),
        "HTTP/2": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        "a method that is none": (f"G@T / HTTP/1.1\r\nHost: {host}\r\n\r\n", 400),
        "a tunnel": (f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n", 400),
        "bytes beyond ASCII in the address": (f"GET /\xff HTTP/1.1\r\nHost: {host}\r\n\r\n", 400),
        "TLS": ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        "a proxy's request": (
            f"GET http://169.254.169.254/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n",
            303,
        ),
    }
    return [Raw(about, data.encode("latin-1"), status) for about, (data, status) in cases.items()]

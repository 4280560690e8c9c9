"""No code of ours makes code of what it reads: from the store, from the network, or from a person's files.

Ray itself pickles what the driver and its workers send to each other; the cluster's token guards that.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [path for folder in ("models", "cluster", "services", "benchmarks") for path in (ROOT / folder).rglob("*.py")]

MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
# The last part of a dotted name, whatever it is a part of.
METHODS = {"read_pickle", "deserialize", "unsafe_load", "full_load", "load_pickle"}
# What makes a call safe, without which it is not. xarray's other engines may read pickled objects.
NEEDED = {
    ("np", "load"): ("allow_pickle", False),
    ("np", "lib", "format", "read_array"): ("allow_pickle", False),
    ("torch", "load"): ("weights_only", True),
    **{
        ("xarray", f"{verb}_{kind}"): ("engine", "h5netcdf")
        for verb in ("open", "load")
        for kind in ("dataset", "datatree")
    },
}
REFUSED = {("yaml", "load"), ("yaml", "load_all"), ("os", "system"), ("os", "popen")}
SHELL, ALLOW_PICKLE = ("shell", True), ("allow_pickle", True)
_SHORT = {"numpy": "np", "xr": "xarray"}


def findings(source: str) -> Iterator[str]:
    """What in a module could make code of data."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names if MODULES & set(name.name.split(".")))
            case ast.ImportFrom(module=module, names=names):
                parts = {*(module or "").split("."), *(name.name for name in names)}
                yield from sorted(parts & (MODULES | METHODS | {"read_array"}))
            case ast.Attribute(attr=attr) if attr in MODULES:
                yield attr
            case ast.Call():
                yield from _of_call(node)


def _of_call(call: ast.Call) -> Iterator[str]:
    name = _dotted(call.func)
    said = {(each.arg, each.value.value) for each in call.keywords if isinstance(each.value, ast.Constant)}
    if (len(name) == 1 and name[0] in BUILTINS) or name[-1] in METHODS or name in REFUSED:
        yield ".".join(name)
    if name in NEEDED and NEEDED[name] not in said:
        yield f"{'.'.join(name)} without {NEEDED[name][0]}={NEEDED[name][1]!r}"
    yield from (f"{word}={value}" for word, value in said & {SHELL, ALLOW_PICKLE})


def _dotted(node: ast.expr) -> tuple[str, ...]:
    match node:
        case ast.Name(id=name):
            return (_SHORT.get(name, name),)
        case ast.Attribute(value=value, attr=attr):
            return (*_dotted(value), attr)
    return ("",)


def test_nothing_that_is_read_can_become_code():
    found = {str(path.relative_to(ROOT)): list(findings(path.read_text(encoding="utf-8"))) for path in SOURCES}
    assert len(found) > 100
    assert {path: what for path, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import ray.cloudpickle",
        "from pickle import loads",
        "from ray import cloudpickle",
        "from pandas import read_pickle",
        "from numpy.lib.format import read_array",
        "ray.cloudpickle.loads(x)",
        "eval(x)",
        "exec(x)",
        "__import__(x)",
        "np.load(x)",
        "numpy.load(x, allow_pickle=True)",
        "np.lib.format.read_array(x)",
        "np.lib.format.write_array(x, y, allow_pickle=True)",
        "torch.load(x)",
        "pd.read_pickle(x)",
        "pl.LazyFrame.deserialize(x)",
        "yaml.load(x, Loader)",
        "yaml.unsafe_load(x)",
        "xr.open_dataset(x, engine='zarr')",
        "xarray.load_datatree(x)",
        "subprocess.run(x, shell=True)",
        "os.system(x)",
    ],
)
def test_what_could_is_found(source: str):
    assert list(findings(source))


@pytest.mark.parametrize(
    "source", ["np.load(x, allow_pickle=False)", "yaml.safe_load(x)", "re.compile(x)", "jitted.lower().compile()"]
)
def test_what_could_not_is_let_pass(source: str):
    assert not list(findings(source))

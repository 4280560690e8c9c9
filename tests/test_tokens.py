"""Wherever a Ray is started here, it asks for a token: that one does is tested in tests/cluster."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("cluster", "services", "benchmarks", "tests", "deploy", "examples")
FILES = [
    ROOT / "ray_cluster.yaml",
    ROOT / "Makefile",
    *(p for f in FOLDERS for p in (ROOT / f).rglob("*") if p.is_file()),
]
TEXTS = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in FILES
    if path.suffix in (".py", ".yaml", ".sh", "") and path != Path(__file__).resolve()
}

STARTS = re.compile(
    r"\bray\.init\(|\bCluster\(init|\bray start --|\"start\", \"--head\"|^kind: Ray(Cluster|Job)$", re.M
)
TOKEN = re.compile(r"RAY_AUTH_(TOKEN|MODE=token)|mode: token")
MODE = re.compile(r"""RAY_AUTH_MODE\W{1,12}?(?:value\W+)?(\w+)""")


def test_whatever_starts_ray_gives_it_a_token():
    starting = {name for name, text in TEXTS.items() if STARTS.search(text)}
    assert starting >= {
        "cluster/runtime.py",
        "tests/support/head.py",
        "ray_cluster.yaml",
        "deploy/kuberay/raycluster.yaml",
    }
    tested = {name for name in starting if name.startswith("tests/")}  # in processes that have the token of this one
    assert 'os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))' in TEXTS["tests/conftest.py"]
    assert {name for name in starting - tested if not TOKEN.search(TEXTS[name])} == set()


def test_nothing_turns_the_tokens_off():
    modes = {(name, mode) for name, text in TEXTS.items() for mode in MODE.findall(text)}
    assert {name for name, mode in modes if mode == "token"} >= {
        "tests/support/head.py",
        "ray_cluster.yaml",
        "deploy/Dockerfile",
    }
    # But for one client, which is refused.
    assert {each for each in modes if each[1] in ("disabled", "none", "off")} == {
        ("tests/cluster/test_runtime.py", "disabled")
    }

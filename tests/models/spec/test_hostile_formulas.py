"""Formulas as an enemy writes them: each is refused or gives a design, and reaches no file, process or network."""

import random
import re
import sys
from contextlib import contextmanager

import bambi as bmb
import numpy as np
import pytest

from models.data.dataset import Part, Split
from models.glm.design import design_of, frame
from models.glm.formula import formula_model
from models.spec.formula_grammar import read
from models.spec.likelihoods import Gaussian
from models.spec.settings import SpecError
from tests.support.glm_problems import learner

FORBIDDEN = ("open", "import", "os.", "subprocess.", "socket.", "shutil.", "ctypes.", "urllib.", "pickle.", "tempfile.")
WATCHED: list[list[str]] = []


def hook(event, arguments):
    if WATCHED and event.startswith(FORBIDDEN):
        WATCHED[-1].append(f"{event} {arguments}")


@contextmanager
def nothing_touched():
    if not hasattr(sys, "_formula_hook"):
        sys.addaudithook(hook)  # it stays for ever, so once
        sys._formula_hook = True
    WATCHED.append([])
    try:
        yield
    finally:
        seen = WATCHED.pop()
    assert seen == []


@pytest.fixture(scope="module")
def split():
    rng = np.random.default_rng(0)
    n = 60
    k = np.resize([1.0, 2.0, 5.0], n)
    x = np.column_stack([rng.normal(size=(n, 2)), rng.uniform(1, 2, n), k])
    text = {
        "g": np.resize(np.array(["u", "v", "w"], object), n),
        "h": rng.permutation(np.resize(np.array(["p", "q"], object), n)),
        "site": np.array([f"s{i % 20}" for i in range(n)], object),
    }
    numbers = dict(zip(("a", "b", "positive", "k"), x.T, strict=True))
    part = Part(x, rng.normal(size=n), np.arange(n), text, numbers)
    return Split("real", 0, tuple(numbers), None, part, part, part)


class Grammar:
    """Pieces that are harmless, joined with those that are not."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, *choices):
        chosen = self.random.choice(choices)
        return chosen() if callable(chosen) else chosen

    def column(self):
        return self.pick(
            "a", "b", "g", "h", "k", "site", "positive", "A", "no_such", "the target", "Intercept", "sigma"
        )

    def word(self):
        return self.pick(
            *[
                "np",
                "pd",
                "os",
                "sys",
                "fm",
                "formulae",
                "self",
                "env",
                "data",
                "design_matrices",
                "__builtins__",
                "__import__",
                "eval",
                "exec",
                "open",
                "print",
            ],
            *[
                "getattr",
                "globals",
                "vars",
                "make",
                "arguments",
                "Environment",
                "capture",
                "bmb",
                "df",
                "Treatment",
                "Sum",
                "c",
                "counts",
                "censored",
            ],
            *[
                "log",
                "exp",
                "center",
                "scale",
                "bs",
                "poly",
                "I",
                "C",
                "S",
                "T",
                "B",
                "abs",
                "offset",
                "p",
                "proportion",
                "hsgp",
                "truncated",
                "weighted",
            ],
            *(
                "а",
                "ｏｓ",
                "𝐨𝐬",
                "ﬁle",
                "os\u200b",
                "o\u0301s",
                "²",
                "ⅷ",
                "١",
                "os\x00",
                "\N{RIGHT-TO-LEFT OVERRIDE}os",
            ),
        )

    def chain(self):
        links = [
            self.pick(self.word, "io", "common", "system", "__class__", "__mro__", "__subclasses__", "__globals__", "T")
            for _ in range(self.random.randint(1, 6))
        ]
        return ".".join([self.word(), *links])

    def number(self):
        return self.pick(
            "0", "1", "2", "-1", "7", "1.5", "1e9", "9" * 30, "10000000", "0x10", "1_000", ".5", "1j", "99999"
        )

    def string(self):
        quote = self.pick("'", '"')
        return quote + self.pick("u", "touch PWNED", "__import__('os')", "../../etc/passwd", "x" * 50, "\\") + quote

    def argument(self):
        return self.pick(
            self.column, self.number, self.string, self.chain, self.call, self.comparison, self.arithmetic,
            lambda: f"{self.word()}={self.pick(self.number, self.string, self.chain, self.column)}",
            lambda: f"{self.pick('df', 'degree', 'raw', 'ref', 'success', 'levels', 'contrast')}={self.number()}",
            "[1, 2]", "{'a': 1}", "True", "None", "*a", "**a", "lambda: 0", "(y := 1)", "f'{a}'", "yield a", "await a",
        )  # fmt: skip

    def arithmetic(self):
        operator = self.pick("+", "-", "*", "/", "**", "//", "%", "@", "==", "<", "&", "|", "^", "<<")
        return f"({self.pick(self.column, self.number)}{operator}{self.pick(self.number, self.column, self.call)})"

    def comparison(self):
        return f"{self.column()} {self.pick('==', '!=', '>', '<=', 'in', 'is')} {self.pick(self.string, self.number)}"

    def call(self):
        if self.random.random() < 0.4:
            function = self.pick("log", "exp", "I", "C", "S", "T", "B", "bs", "poly", "scale", "center", "abs")
            further = self.pick("", "", f", {self.argument()}", f", df={self.number()}", f", degree={self.number()}")
            return f"{function}({self.pick(self.column, self.arithmetic, self.comparison)}{further})"
        called = self.pick(self.chain, self.word, lambda: f"`{self.chain()}`", lambda: f"({self.chain()})", self.column)
        index = self.pick("", "", "['x']", '["x"]', "[a]", "[0]", "[::]")
        arguments = (
            ", ".join(self.argument() for _ in range(self.random.randint(0, 2))) if self.random.random() < 0.7 else ""
        )
        return f"{called}{index}({arguments})"

    def term(self):
        return self.pick(
            self.column, self.column, self.column, self.call, self.call, self.chain, self.number, self.string,
            lambda: f"({self.pick('1', '0 + a', 'a', self.column)}|{self.pick(self.column, self.call, 'g:h', 'g/h')})",
            lambda: f"{self.column()}:{self.column()}", lambda: f"{self.column()}*{self.column()}",
            lambda: f"({self.column()} + {self.column()})**{self.number()}", lambda: f"{{{self.argument()}}}",
            lambda: f"{self.column()} %in% {self.column()}", lambda: f"{self.column()}[{self.argument()}]",
            lambda: f"`{self.chain()}`", lambda: f"{self.column()}.{self.word()}", lambda: f"-{self.column()}",
            lambda: "(" * self.random.randint(1, 40) + self.column() + ")" * self.random.randint(1, 40),
            lambda: ":".join(self.column() for _ in range(self.random.randint(2, 40))),
            lambda: "-" * self.random.randint(1, 400) + "a", lambda: "a." * self.random.randint(100, 900),
            lambda: "*".join(["a", "b", "k", "g", "h", "site", "positive"][: self.random.randint(2, 7)]),
            lambda: f"I({self.pick('a', '10', '2')}**({self.pick('10', '9')}**{self.pick('9', '(10**9)', 'k')}))",
            lambda: f"I({self.pick('g', self.string)} * {self.number()})",
            "y ~ a", "a; import os", "a\nimport os", "a # b",
        )  # fmt: skip

    def formula(self):
        operator = self.pick(" + ", " + ", " + ", " - ", ":", "*", "/", " ", "|", ",", "~", "")
        return operator.join(str(self.term()) for _ in range(self.random.randint(1, 3)))


def test_ten_thousand_hostile_formulas_are_refused_or_give_a_design_and_touch_nothing(split):
    grammar = Grammar(0)
    formulas = [grammar.formula() for _ in range(10_000)]
    design_of("a + C(k) + bs(a, df=4) + (1|g) + T(a > 0) + I(g == 'u')", split)  # imports what is imported once
    accepted, longest = [], 0
    with nothing_touched():
        for formula in formulas:
            try:
                read(formula)
                design_of(formula, split)
            except SpecError as error:
                longest = max(longest, len(str(error)))
            else:
                accepted.append(formula)
    assert longest < 1000
    assert 300 < len(accepted) < 5000
    allowed = set("abcdefghijklmnopqrstuvwxyzABCIST0123456789 _+-*/:|().,='\"<>!\n")
    text = re.compile(r"""(['"]).*?['"]""")
    assert all(set(text.sub("", formula)) <= allowed for formula in accepted)
    simple = [formula for formula in accepted if len(formula) < 30 and "(" in formula and "site" not in formula]
    for formula in random.Random(0).sample(simple, 5):
        built = formula_model(learner(Gaussian(), formula), split)
        assert built.built


def test_the_hook_sees_what_a_formula_could_touch():
    with pytest.raises(AssertionError, match="open"), nothing_touched():
        open("/dev/null").close()  # noqa: PTH123


@pytest.mark.parametrize(
    "formula",
    [
        "a + b:k + g*h - 1",
        "0 + g",
        "(a + b + k)**2",
        "a/g + (a + b)/h",
        "log(positive) + log2(positive) + log10(positive) + exp(b) + abs(a)",
        "center(a) + scale(b) + standardize(k)",
        "I(a**2 + 2*b / (1 + abs(k))) + I(-a)",
        "bs(a, df=6, degree=2) + bs(b, 5, intercept=True)",
        "poly(a, 3) + poly(b, degree=2, raw=True)",
        "C(k) + S(g) + T(h, ref='q')",
        "C(g):a + S(k, omit=2)",
        "B(g, success='v') + B(k, 5)",
        "T(a > 0.5) + I(k >= 2) + I(g == 'u') + I(h != 'q')",
        "a + (1|g) + (0 + a|h)",
        "(a|g:h) + (1|g/h) + (poly(b, 2)|g) + (g|h)",
        "(1|k) + (1|site)",
    ],
)
def test_what_is_allowed_gives_the_design_that_bambi_gives_by_itself(formula, split):
    ours = design_of(formula, split)[1]
    data = frame(split, split.train).assign(y=0.0)
    theirs = bmb.Model(f"y ~ {formula}", data).parameters["mu"].design
    if theirs.common:
        np.testing.assert_array_equal(np.asarray(ours.common), np.asarray(theirs.common), strict=False)
    if theirs.group:
        np.testing.assert_array_equal(ours.group.design_matrix.toarray(), theirs.group.design_matrix.toarray())
    assert bool(ours.common) == bool(theirs.common) and bool(ours.group) == bool(theirs.group)


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ('pd.io.common.os.system["x"]("touch PWNED")', "has an index"),
        ("a %in% g", "has a '%'; nesting, as by %in%, is written a:g or g/a"),
        ("T(a > 1000)", "'T(a > 1000)', which is the same in all training rows"),
        ("a|g", "write it in parentheses"),
        ("(a|g):b", "write it in parentheses"),
        ("a**2", "a power of its values is I(a ** 2)"),
        ("a > 1", "write I(a > 0)"),
        ("I(g * 1000000)", "'g', which is a column of text, where numbers stand"),
        ("I(k == 'u')", "'k', which is a column of numbers, and compares it with text"),
        ("I(10**(10**9))", "a power of a number"),
        ("I(a**(10**9))", "a power that is no number from -10 to 10"),
        ("poly(a, 1000000)", "a degree that is not a whole number from 1 to 10"),
        ("bs(a, df=1000000)", "a df that is not a whole number from 1 to 50"),
        ("bs(a, knots=k)", "calls bs with 'knots'; it takes df, degree, intercept, lower_bound, upper_bound"),
        ("log(a, where=b)", "calls log with 'where'; it takes nothing but the column"),
        ("B(g)", "calls B without 'success'"),
        ("g:h:k:a:b:site", "an interaction of 6 columns, and may have one of 5"),
        ("bs(a, df=50):bs(b, df=50)", "makes 2,501 columns, and may make 2,000"),
        ("a:b + b:a", "the term 'a:b' twice"),
        ("I((a + b) * 2) + I(a + b * 2)", "twice"),
        ("a + True", "of values only 1 and 0"),
        ("'a'", "of values only 1 and 0"),
        ("a." * 1900, "nothing has attributes in a formula"),
        ("a" * 4001, "has 4,001 characters"),
    ],
)
def test_what_is_refused_is_named(formula, said, split):
    with pytest.raises(SpecError) as caught:
        design_of(formula, split)
    assert said in str(caught.value)

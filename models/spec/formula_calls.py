"""What a formula may call, and what may stand in a call: values row by row, levels, and bounded further arguments."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from formulae.expr import Assign, Binary, Call, Grouping, Literal, Unary, Variable
from formulae.token import Token

from models.spec.settings import SpecError, shortened

MAX_DEGREE = 10
MAX_KNOTS = 50
MAX_POWER = 10

COMPARISONS = ("EQUAL_EQUAL", "BANG_EQUAL", "LESS_EQUAL", "LESS", "GREATER_EQUAL", "GREATER")
ARITHMETIC = ("PLUS", "MINUS", "STAR", "SLASH")


class Argument(NamedTuple):
    """A further argument of a function: which values it takes, and in words."""

    takes: Callable[[Any], bool]
    words: str


def _whole(low: int, high: int) -> Argument:
    return Argument(lambda v: type(v) is int and low <= v <= high, f"a whole number from {low} to {high}")


_NUMBER = Argument(lambda v: type(v) in (int, float), "a number")
_LEVEL = Argument(lambda v: type(v) in (int, float, str, bool), "a level: a number or a string")
_TRUTH = Argument(lambda v: type(v) is bool, "True or False")

# Of numbers, element by element, but for the mean and the scale, which are those of the training part.
NUMERIC = ("I", "abs", "center", "exp", "log", "log10", "log2", "scale", "standardize")
# Of a column's levels.
LEVELS = ("B", "C", "S", "T")
FUNCTIONS: dict[str, dict[str, Argument]] = {
    **{name: {} for name in NUMERIC},
    "B": {"success": _LEVEL},
    "C": {},
    "S": {"omit": _LEVEL},
    "T": {"ref": _LEVEL},
    "bs": {
        "df": _whole(1, MAX_KNOTS),
        "degree": _whole(1, 5),
        "intercept": _TRUTH,
        "lower_bound": _NUMBER,
        "upper_bound": _NUMBER,
    },
    "poly": {"degree": _whole(1, MAX_DEGREE), "raw": _TRUTH},
}
# The places of formulae's further arguments; one that is not listed above has no place of ours.
_PLACES = {
    "B": ("success",),
    "S": ("omit",),
    "T": ("ref",),
    "bs": ("df", "knots", "degree", "intercept", "lower_bound", "upper_bound"),
    "poly": ("degree", "raw"),
}
_REQUIRED = {"B": ("success",), "bs": ("df",)}


class Use(NamedTuple):
    """A place where a column is named.

    Attributes:
        token: of the name.
        kinds: what the column may hold there: numbers, text.
        own: whether a column of numbers stands for its own values there, and not for the standardised ones.
    """

    token: Token
    kinds: tuple[str, ...]
    own: bool

    @property
    def name(self) -> str:
        """The column's."""
        return self.token.lexeme


def check_call(node: Any, uses: list[Use]) -> None:
    """A function of a column, as a term."""
    name = _callee(node)
    first, *further = _arguments(node, name)
    before = len(uses)
    if name in LEVELS and isinstance(first, Variable):
        uses.append(Use(plain(first), ("number", "text"), own=True))
    elif name in LEVELS and not _is_comparison(first):
        raise SpecError(f"calls {name}, which takes a column or a comparison, such as {name}(a > 0)")
    else:
        _values(first, uses, own=False)
    if len(uses) == before:
        raise SpecError(f"calls {name} of no column")
    _check_further(name, further)


def plain(node: Any) -> Token:
    """The token of a name that may be a column's."""
    if node.level is not None:
        raise SpecError("has an index, '['")
    if "." in node.name.lexeme:
        raise SpecError(f"has {shortened(node.name.lexeme)!r}, which is no column: nothing has attributes in a formula")
    return node.name


def _callee(node: Any) -> str:
    if not isinstance(node.callee, Variable) or node.callee.level is not None:
        raise SpecError("cannot be read: what is called has no plain name")
    name = node.callee.name.lexeme
    if name not in FUNCTIONS:
        raise SpecError(f"calls {shortened(name)!r}; it may call {', '.join(sorted(FUNCTIONS))}")
    return name


def _arguments(node: Any, name: str) -> Sequence[Any]:
    if not node.args or isinstance(node.args[0], Assign):
        raise SpecError(f"calls {name} without a column as the first argument")
    return node.args


def _check_further(name: str, arguments: Sequence[Any]) -> None:
    known, given = FUNCTIONS[name], set()
    for keyword, value in _placed(name, arguments):
        if keyword not in known:
            can = f"it takes {', '.join(known)}" if known else "it takes nothing but the column"
            raise SpecError(f"calls {name} with {keyword!r}; {can}")
        if keyword in given:
            raise SpecError(f"calls {name} with {keyword!r} twice")
        given.add(keyword)
        if not known[keyword].takes(value):
            raise SpecError(f"calls {name} with a {keyword} that is not {known[keyword].words}")
    for keyword in _REQUIRED.get(name, ()):
        if keyword not in given:
            raise SpecError(f"calls {name} without {keyword!r}: {known[keyword].words}")


def _placed(name: str, arguments: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Each further argument with its keyword, and its value, or None for what is no value."""
    places = iter(_PLACES.get(name, ()))
    for argument in arguments:
        if isinstance(argument, Assign):
            places = iter(())
            yield argument.name.name.lexeme, _literal(argument.value)
        else:
            yield next(places, "one more argument"), _literal(argument)


def _literal(node: Any) -> Any:
    match node:
        case Literal():
            return node.value
        case Unary(operator=Token(kind="MINUS"), right=Literal(value=int() | float() as value)):
            return -value
        case _:
            return None


def _values(node: Any, uses: list[Use], *, own: bool) -> None:
    """An expression of numbers, row by row."""
    match node:
        case Grouping():
            _values(node.expression, uses, own=own)
        case Literal(value=bool() | int() | float()) if type(node.value) is not bool:
            pass
        case Literal():
            raise SpecError(f"has {node.lexeme or node.value!r} among numbers")
        case Variable():
            uses.append(Use(plain(node), ("number",), own=own))
        case Unary():
            _values(node.right, uses, own=own)
        case Call():
            name = _callee(node)
            if name not in NUMERIC:
                raise SpecError(f"calls {name} in a function; it may stand there as a term only")
            first, *further = _arguments(node, name)
            _values(first, uses, own=own)
            _check_further(name, further)
        case Binary(operator=Token(kind="STAR_STAR")):
            _power(node, uses, own=own)
        case Binary() if _is_comparison(node):
            _compared(node, uses)
        case Binary() if node.operator.kind in ARITHMETIC:
            _values(node.left, uses, own=own)
            _values(node.right, uses, own=own)
        case Binary():
            raise SpecError(f"has a {node.operator.lexeme!r} in a function")
        case _:
            raise SpecError("has a '=' where there is no argument")


def _power(node: Any, uses: list[Use], *, own: bool) -> None:
    before = len(uses)
    _values(node.left, uses, own=own)
    if len(uses) == before:
        raise SpecError("has a power of a number; write the number")
    exponent = _literal(node.right.expression if isinstance(node.right, Grouping) else node.right)
    if type(exponent) not in (int, float) or abs(exponent) > MAX_POWER:
        raise SpecError(f"has a power that is no number from -{MAX_POWER} to {MAX_POWER}")


def _is_comparison(node: Any) -> bool:
    if isinstance(node, Grouping):
        return _is_comparison(node.expression)
    return isinstance(node, Binary) and node.operator.kind in COMPARISONS


def _compared(node: Any, uses: list[Use]) -> None:
    """A column of text with a string, or numbers with numbers; these as the data has them."""
    sides = (node.left, node.right)
    for side, other in (sides, sides[::-1]):
        if isinstance(other, Literal) and isinstance(other.value, str):
            if not isinstance(side, Variable) or node.operator.kind not in ("EQUAL_EQUAL", "BANG_EQUAL"):
                raise SpecError("compares a string otherwise than with a column by '==' or '!='")
            uses.append(Use(plain(side), ("text",), own=True))
            return
    for side in sides:
        _values(side, uses, own=True)

"""What a formula may say: it is read and walked, and refused or bounded, before anything of it is computed.

To formulae a formula is a program: it looks names up in modules, follows their attributes and calls what it finds. Here
its own scanner and parser make the tree, and only this is let through: names, calls of the listed functions by their
plain name, with numbers and strings as their further arguments, operators, and `(effects|groups)`. What the parser
would drop without a word, as it drops all after `a` in `a %in% g`, is refused, too.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import formulae
from formulae.expr import Assign, Binary, Call, Grouping, Literal, Unary, Variable
from formulae.parser import ParseError, Parser
from formulae.resolver import ResolverError
from formulae.scanner import ScanError, Scanner
from formulae.terms.call_resolver import CallResolver, CallResolverError
from formulae.terms.terms import Model
from formulae.token import Token

from models.spec.formula_calls import ARITHMETIC, COMPARISONS, Use, check_call, plain
from models.spec.settings import SpecError

MAX_LENGTH = 4000
MAX_TOKENS = 800
MAX_DEPTH = 20  # parentheses in parentheses
MAX_OPERATORS = 200  # formulae goes down one level of Python's stack for each
MAX_TERMS = 300
MAX_ORDER = 5
MAX_DIGITS = 20

RESPONSE = "the target"  # a column's name is an identifier, so none is called so

_FORBIDDEN = {
    "LEFT_BRACKET": "has an index, '['",
    "RIGHT_BRACKET": "has an index, ']'",
    "LEFT_BRACE": "has braces; write I(...)",
    "RIGHT_BRACE": "has braces; write I(...)",
    "BQNAME": "has a name in backticks; columns go by their plain names",
    "TILDE": "write the linear predictor alone, without '~'; the target is the dataset's",
    "MODULO": "has a '%'; nesting, as by %in%, is written a:g or g/a",
    "SLASH_SLASH": "has a '//'",
    "BANG": "has a '!'",
    "PERIOD": "has a '.'; name the columns",
}


class Reading(NamedTuple):
    """A formula that may be evaluated once its columns are known.

    Attributes:
        tokens: all of it.
        uses: every place where a column is named.
        model: formulae's own account of the terms, not yet evaluated.
    """

    tokens: Sequence[Token]
    uses: Sequence[Use]
    model: Model


def read(formula: str) -> Reading:
    """Read a formula: the right side alone.

    Raises:
        SpecError: naming the formula and what in it is not allowed, or is too much.
    """
    try:
        tokens, tree = _parsed(formula)
        uses: list[Use] = []
        _sum(tree, uses)
        text = " ".join(token.lexeme for token in tokens)
        return Reading(tokens, uses, _described(text))
    except SpecError as error:
        raise refusal(formula, str(error)) from None
    except RecursionError:
        raise refusal(formula, "is nested too deep: write it flatter") from None


def refusal(formula: str, reason: str) -> SpecError:
    """The error that names the formula and the reason, neither at any length."""
    return SpecError(f"formula {shown(formula)} {reason if len(reason) <= 400 else f'{reason[:397]}...'}")


def shown(formula: str) -> str:
    """The formula in quotes, its beginning alone if it is long."""
    return repr(formula if len(formula) <= 100 else f"{formula[:97]}...")


# --- reading ----------------------------------------------------------------------------------------------------------


def _parsed(formula: str) -> tuple[Sequence[Token], Any]:
    if len(formula) > MAX_LENGTH:
        raise SpecError(f"has {len(formula):,} characters, and may have {MAX_LENGTH:,}")
    try:
        *tokens, end = Scanner(formula).scan(add_intercept=False)
    except (ScanError, IndexError, ValueError) as error:  # the last two: an open backtick, a digit that is no decimal
        raise SpecError(f"cannot be read: {error}") from None
    _check_tokens(tokens)
    try:
        parser = Parser([*tokens, end])
        tree = parser.parse()
    except ParseError as error:
        raise SpecError(f"cannot be read: {error}") from None
    if not parser.at_end():
        raise SpecError(f"cannot be read: {parser.peek().lexeme!r} has no place there")
    return tokens, tree


def _check_tokens(tokens: Sequence[Token]) -> None:
    depth = operators = 0
    for token in tokens:
        if token.kind in _FORBIDDEN:
            raise SpecError(_FORBIDDEN[token.kind])
        if token.kind == "NUMBER" and len(token.lexeme) > MAX_DIGITS:
            raise SpecError(f"has a number of {len(token.lexeme)} digits, and one may have {MAX_DIGITS}")
        depth += {"LEFT_PAREN": 1, "RIGHT_PAREN": -1}.get(token.kind, 0)
        operators += token.kind in (*ARITHMETIC, *COMPARISONS, "STAR_STAR", "COLON", "PIPE")
        if depth > MAX_DEPTH:
            raise SpecError(f"is nested too deep: at most {MAX_DEPTH} parentheses in each other")
    if len(tokens) > MAX_TOKENS or operators > MAX_OPERATORS:
        raise SpecError(
            f"is too long: {operators} operators, and it may have {MAX_OPERATORS}; "
            "a learner without a formula takes all columns"
        )


def _described(text: str) -> Model:
    try:
        model = formulae.model_description(f"`{RESPONSE}` ~ {text}")
    except (ResolverError, CallResolverError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise SpecError(f"cannot be meant: {error}") from None
    seen: dict[frozenset[str], str] = {}
    for term in model.common_terms:
        parts = frozenset(str(part.name) for part in getattr(term, "components", ()))
        if parts in seen:
            raise SpecError(f"has the term {seen[parts]!r} twice, also as {term.name!r}: leave one out")
        seen[parts] = term.name
    return model


# --- terms ------------------------------------------------------------------------------------------------------------

# A term by the names of its parts; none is the intercept.
_Term = frozenset[str]


def _sum(node: Any, uses: list[Use]) -> set[_Term]:
    """The common terms of a sum that may have group-specific ones, too."""
    match node:
        case Grouping(expression=Binary(operator=Token(kind="PIPE")) as inner):
            _grouped(inner, uses)
            return set()
        case Grouping():
            return _sum(node.expression, uses)
        case Binary(operator=Token(kind="PLUS" | "MINUS")):
            return _added(node, _sum(node.left, uses), _sum(node.right, uses))
        case _:
            return _terms(node, uses)


def _grouped(node: Any, uses: list[Use]) -> None:
    _terms(node.left, uses)
    inner: list[Use] = []
    groups = _terms(node.right, inner)
    if frozenset() in groups or any("(" in part for group in groups for part in group):
        raise SpecError("has a group that is no column: right of '|' stand columns, as in (1|a), (1|a:b) or (1|a/b)")
    uses += [Use(use.token, use.kinds, own=True) for use in inner]


def _terms(node: Any, uses: list[Use]) -> set[_Term]:
    """The terms that an expression stands for."""
    match node:
        case Grouping():
            return _terms(node.expression, uses)
        case Literal():
            return _intercept(node)
        case Unary(operator=Token(kind="PLUS")):
            return _terms(node.right, uses)
        case Unary(right=Literal(value=1)):
            return _intercept(node.right) - {frozenset()}
        case Unary():
            raise SpecError("has a minus before a term; write I(-a) for the negative of a")
        case Variable():
            uses.append(Use(plain(node), ("number", "text"), own=False))
            return {frozenset([node.name.lexeme])}
        case Call():
            check_call(node, uses)
            return {frozenset([str(CallResolver(node).resolve())])}
        case Binary(operator=Token(kind="PLUS" | "MINUS")):
            return _added(node, _terms(node.left, uses), _terms(node.right, uses))
        case Binary(operator=Token(kind="STAR_STAR")):
            return _to_the_order(_of_columns(node.left, uses), node.right)
        case Binary(operator=Token(kind="COLON" | "STAR" | "SLASH" as kind)):
            return _crossed(kind, _of_columns(node.left, uses), _of_columns(node.right, uses))
        case Binary(operator=Token(kind="PIPE")):
            raise SpecError("has a '|' that is no term of its own: write it in parentheses and add it, as in a + (1|g)")
        case Binary():
            raise SpecError(f"compares by {node.operator.lexeme!r} outside of a function; write I(a > 0)")
        case Assign():
            raise SpecError("has a '=' outside of a function; equality is written I(a == 0)")
        case _:
            raise SpecError("cannot be read")


def _intercept(node: Any) -> set[_Term]:
    if type(node.value) is not int or node.value not in (0, 1):
        raise SpecError(f"has {node.lexeme or node.value!r} as a term; of values only 1 and 0 are one: the intercept")
    return {frozenset()} if node.value else set()


def _added(node: Any, left: set[_Term], right: set[_Term]) -> set[_Term]:
    if node.operator.kind == "PLUS":
        return _bounded(left | right)
    if isinstance(node.right, Literal) and node.right.value == 0:
        raise SpecError("takes 0 away; an intercept is added by '+ 1' and taken away by '- 1'")
    return left - right


def _of_columns(node: Any, uses: list[Use]) -> set[_Term]:
    """Terms that can be crossed with others."""
    terms = _terms(node, uses)
    if frozenset() in terms or isinstance(node, Literal) or not terms:
        raise SpecError("crosses a number with a term; products of values are written I(2 * a)")
    return terms


def _crossed(kind: str, left: set[_Term], right: set[_Term]) -> set[_Term]:
    _check_count(len(left) * len(right))
    if kind == "SLASH" and len(left) > 1:
        if any(len(term) > 1 for term in right):
            raise SpecError("nests an interaction in a sum by '/'; write its terms out")
        left, alone = {frozenset().union(*left)}, left
    else:
        alone = left
    products = {a | b for a in left for b in right}
    return _bounded(products | {"COLON": set(), "STAR": left | right, "SLASH": alone}[kind])


def _to_the_order(terms: set[_Term], power: Any) -> set[_Term]:
    if not isinstance(power, Literal) or type(power.value) is not int or not 2 <= power.value <= MAX_ORDER:
        raise SpecError(f"has a power of terms that is no whole number from 2 to {MAX_ORDER}")
    if len(terms) == 1:
        raise SpecError("has a power of one term, which would be the term alone; a power of its values is I(a ** 2)")
    _check_count(sum(math.comb(len(terms), n) for n in range(1, power.value + 1)))
    choices = (itertools.combinations(terms, n) for n in range(1, power.value + 1))
    return _bounded({frozenset().union(*chosen) for chosen in itertools.chain.from_iterable(choices)})


def _bounded(terms: set[_Term]) -> set[_Term]:
    _check_count(len(terms))
    if (order := max(map(len, terms), default=0)) > MAX_ORDER:
        raise SpecError(f"has an interaction of {order} columns, and may have one of {MAX_ORDER}")
    return terms


def _check_count(count: int) -> None:
    if count > MAX_TERMS:
        raise SpecError(f"has {count:,} terms, and may have {MAX_TERMS}")

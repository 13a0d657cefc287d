"""From a formula to the columns of a design: the home of ``formulaic``, which parses and decides how levels are coded.

Formulas are read where an analysis is written. Of a factor that is more than a variable's name only the functions of
:data:`~federation.statistics.design.Transform` are known, and the text is checked before anything is handed on: a formula is
never code. ``formulaic`` gets one made-up row for every level of the contract, so that it knows all levels and no patient.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from federation.data.contract import Categorical, DataContract, Ordinal
from federation.errors import ConfigurationError, ManifestError
from federation.statistics.design import Design, Factor, Transform

_NAME: Final = r"`?([A-Za-z0-9_-]+)`?"
_FACTOR: Final = re.compile(
    rf"(?:{_NAME}|C\(\s*{_NAME}\s*\)|(log|sqrt)\(\s*{_NAME}\s*\)|I\(\s*{_NAME}\s*\*\*\s*([23])\s*\))"
)
_POWERS: Final[dict[str, Transform]] = {"2": "square", "3": "cube"}
_LONGEST: Final = 1000
_CHARACTERS: Final = re.compile(r"[A-Za-z0-9_`+*/:()~^\s-]*")


@dataclass(frozen=True)
class ReadFormula:
    """A formula in the terms of a contract.

    Args:
        outcome: The variable on the left; empty if there is none.
        design: The columns on the right.
    """

    outcome: str
    design: Design


def read_formula(text: str, contract: DataContract, *, has_intercept: bool = True) -> ReadFormula:
    """Read a formula.

    Args:
        text: Such as ``outcome ~ age + C(ward) + age:ward + log(creatinine) + I(age**2)``. ``outcome`` is the contract's outcome.
        contract: Supplies variables and levels.
        has_intercept: Whether the intercept is kept; a Cox model has none.

    Raises:
        ConfigurationError: If the text is no formula, or uses a function that is not known.
        ManifestError: If a variable is not in the contract.
    """
    from formulaic import Formula
    from formulaic.errors import FormulaicError

    if len(text) > _LONGEST or text.count("~") > 1 or not _CHARACTERS.fullmatch(text):
        raise ConfigurationError(
            f"expected a formula with one '~' and without brackets, quotes, dots or bars, got {text[:80]!r}",
            remedy="write for example formula='outcome ~ age + sex'",
        )
    left, tilde, right = text.partition("~")
    outcome = _variable(left.strip(), contract) if tilde and left.strip() else ""
    try:
        formula = Formula.from_spec(right if tilde else text)
        terms: list[Any] = list(formula)
    except (FormulaicError, SyntaxError, TypeError, ValueError) as failure:
        raise ConfigurationError(
            f"cannot read the formula {text!r}", remedy="write for example formula='outcome ~ age + sex'"
        ) from failure
    factors = {
        factor.expr: _factor(factor.expr, contract) for term in terms for factor in term.factors if factor.expr != "1"
    }
    products = _products(formula, factors, contract)
    if not has_intercept:
        products = tuple(product for product in products if product)
    if not products:
        raise ConfigurationError(f"expected a term in the formula {text!r}, got none", remedy="add a variable")
    return ReadFormula(outcome=outcome, design=Design.of(products, contract, ignores_shifts=not has_intercept))


def read_factor(text: str, contract: DataContract) -> Factor:
    """One factor without levels, such as ``log(exposure)`` of an offset.

    Raises:
        ConfigurationError: If it is none.
        ManifestError: If the variable is not in the contract or the function not defined on its range.
    """
    factor = _factor(text.strip(), contract)
    factor.bounds(contract)
    return factor


def _variable(name: str, contract: DataContract) -> str:
    plain = name.strip("`")
    known = {variable.name for variable in contract.columns}
    if plain == "outcome" and plain not in known:
        return contract.outcome.name
    return contract.variable(plain).name


def _factor(text: str, contract: DataContract) -> Factor:
    found = _FACTOR.fullmatch(text)
    if found is None:
        raise ConfigurationError(
            f"cannot use {text!r} in a formula: it is not a variable or a function that sites know",
            remedy="use NAME, C(NAME), log(NAME), sqrt(NAME), I(NAME**2) or I(NAME**3); names with '-' in backticks",
        )
    plain, coded, function, of_function, of_power, power = found.groups()
    name = plain or coded or of_function or of_power
    variable = contract.variable(_variable(name, contract))
    if isinstance(variable, Categorical | Ordinal) and (function or power):
        raise ManifestError(
            f"expected a number in {text}, got {variable.name} with levels", remedy="use its name alone"
        )
    functions: dict[str | None, Transform] = {"log": "log", "sqrt": "sqrt", None: "identity"}
    transform = _POWERS[power] if power else functions[function]
    return Factor(variable=variable.name, transform=transform)


def _products(formula: Any, factors: dict[str, Factor], contract: DataContract) -> tuple[tuple[Factor, ...], ...]:  # noqa: ANN401 - formulaic's
    """The factors of every column. Which level is left out where depends on the other terms; ``formulaic`` knows the rules."""
    from formulaic.materializers import PandasMaterializer

    levels = {expression: _levels(contract, factor.variable) for expression, factor in factors.items()}
    rows = max([len(names) for names in levels.values()] + [2])
    names = {factor.variable: _levels(contract, factor.variable) for factor in factors.values()}
    made_up: dict[str, list[str] | list[float]] = {
        name: [of[row % len(of)] for row in range(rows)] if of else [float(row + 1) for row in range(rows)]
        for name, of in names.items()
    }
    if contract.outcome.name in made_up and "outcome" not in {variable.name for variable in contract.columns}:
        made_up["outcome"] = made_up[contract.outcome.name]
    specification: Any = PandasMaterializer(made_up).get_model_matrix(formula, output="numpy").model_spec
    products: list[tuple[Factor, ...]] = []
    for encoded in specification.structure:
        for scoped in encoded.scoped_terms:
            choices = [
                _coded(factors[part.factor.expr], levels[part.factor.expr], is_reduced=part.reduced)
                for part in scoped.factors
            ]
            products.extend(_crossed(choices))
    return tuple(products)


def _levels(contract: DataContract, name: str) -> tuple[str, ...]:
    variable = contract.variable(name)
    return variable.levels if isinstance(variable, Categorical | Ordinal) else ()


def _coded(factor: Factor, levels: tuple[str, ...], *, is_reduced: bool) -> list[Factor]:
    if not levels:
        return [factor]
    return [
        factor.model_copy(update={"level": level, "level_index": index, "is_reduced": is_reduced})
        for index, level in enumerate(levels)
        if index or not is_reduced
    ]


def _crossed(choices: list[list[Factor]]) -> list[tuple[Factor, ...]]:
    crossed: list[tuple[Factor, ...]] = [()]
    for options in choices:
        crossed = [(*done, option) for done in crossed for option in options]
    return crossed

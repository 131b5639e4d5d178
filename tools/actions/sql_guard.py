"""What db.query lets through: one SELECT over the allowed tables, with allowed functions. Pure; runs nothing.

The first of two walls. The second is the database's own (an authorizer on SQLite, a login role with row-level
security on PostgreSQL) and holds alone if this one is passed.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from tools.actions.args import refuse

SQL_LIMIT = 4000
"""Characters of a statement."""

TABLES = frozenset({"customers", "orders", "payments", "refunds"})

FUNCTIONS = frozenset(
    {
        *("and", "or", "between", "case", "cast", "coalesce", "exists", "if", "iif", "ifnull", "nullif"),
        *("avg", "count", "group_concat", "max", "min", "string_agg", "sum", "total"),
        *("abs", "ceil", "ceiling", "floor", "greatest", "least", "round"),
        *("char_length", "length", "lower", "ltrim", "rtrim", "substr", "substring", "trim", "upper"),
        *("current_date", "current_timestamp", "date", "date_part", "date_trunc", "datetime", "extract", "julianday"),
        *("strftime", "dense_rank", "first_value", "lag", "last_value", "lead", "rank", "row_number"),
    }
)
"""Functions by name. Whatever is not here is refused: a new function of a new database version, too."""

_STATEMENTS = (exp.Select, exp.SetOperation)
# sqlglot's own names for some of them, as parsed from either dialect.
_ALIASES = {
    "time_to_str": "strftime",
    "ts_or_ds_to_timestamp": "strftime",
    "timestamp_trunc": "date_trunc",
    "ts_or_ds_to_date": "date",
    "str_position": "instr",
}
_FORBIDDEN = (
    exp.Insert,
    exp.Update,
    exp.Delete,
    exp.Merge,
    exp.Create,
    exp.Drop,
    exp.Alter,
    exp.Command,
    exp.Pragma,
    exp.Into,
    exp.Lock,
    exp.Parameter,
    exp.Placeholder,
    exp.Values,
    exp.Lateral,
    exp.Unnest,
)


def guard(sql: str, dialect: str) -> str:
    """`sql` (``sqlite`` or ``postgres``) as it may be run: written anew from what was checked, comments gone.

    Raises:
        ActionError: anything but one plain SELECT. The sentence says what to leave out.
    """
    statement = _parse(sql, dialect)
    for node in statement.walk():
        if isinstance(node, _FORBIDDEN):
            raise refuse(f"db.query only reads: {type(node).__name__.upper()} is not allowed. Use one plain SELECT.")
        if isinstance(node, exp.With) and node.args.get("recursive"):
            raise refuse("Recursive WITH is not allowed in db.query. Use a plain SELECT.")
        if isinstance(node, exp.Func):
            _check_function(node)
        if isinstance(node, exp.Table):
            _check_table(node)
    return statement.sql(dialect=dialect, comments=False)


def tables_in(sql: str, dialect: str) -> tuple[str, ...]:
    """The business tables that `sql`, which `guard` lets through, reads, by alphabet; not WITH's names."""
    named = (node for node in _parse(sql, dialect).walk() if isinstance(node, exp.Table))
    return tuple(sorted({node.name.lower() for node in named if node.name not in _names_before(node)}))


def _parse(sql: str, dialect: str) -> exp.Expr:
    if len(sql) > SQL_LIMIT:
        raise refuse(f"The statement is too long: at most {SQL_LIMIT} characters.")
    try:
        parsed = [part for part in sqlglot.parse(sql, read=dialect) if part is not None]
    except (SqlglotError, RecursionError, ValueError) as error:
        raise refuse("The statement could not be read as SQL. Write one plain SELECT.") from error
    if len(parsed) != 1:
        raise refuse("db.query runs exactly one statement. Write one plain SELECT, without a second after it.")
    if not isinstance(parsed[0], _STATEMENTS):
        raise refuse("db.query only reads. Write one plain SELECT.")
    return parsed[0]


def _check_function(node: exp.Func) -> None:
    if isinstance(node, (exp.Anonymous, exp.AnonymousAggFunc)):
        names: Iterable[str] = (node.name,)
    else:
        names = node.sql_names()
    known = {_ALIASES.get(name.lower(), name.lower()) for name in names}
    if not known & FUNCTIONS:
        raise refuse(f"The function {next(iter(names))} is not allowed in db.query. Use sum, count, min, max.")


def _check_table(node: exp.Table) -> None:
    if node.args.get("db") or node.args.get("catalog"):
        raise refuse("Name tables without a schema: customers, orders, payments, refunds.")
    if not isinstance(node.this, exp.Identifier):
        raise refuse("Only tables can stand in FROM: customers, orders, payments, refunds.")
    if node.name.lower() not in TABLES and node.name not in _names_before(node):
        raise refuse(f"There is no table {node.name} for db.query. It reads customers, orders, payments and refunds.")


def _names_before(node: exp.Table) -> frozenset[str]:
    """The names that WITH clauses around `node` have given."""
    found: set[str] = set()
    above = node.parent
    while above is not None:
        clause = above.args.get("with_") or above.args.get("with")
        if isinstance(clause, exp.With):
            found.update(cte.alias for cte in clause.expressions)
        above = above.parent
    return frozenset(found)

"""Statements of SQLAlchemy, compiled once and run on the driver itself.

SQLAlchemy's `execute` looks a statement up in its caches, builds a context around it and wraps every
row, which costs several times what SQLite takes to run it. The statements of the store never change,
so their text and the order of their parameters are worked out once; what runs per call is the
driver's cursor.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa


@dataclass(frozen=True, slots=True)
class _Compiled:
    text: str
    # Names of the parameters in the order of their places; None where the driver takes names.
    names: tuple[str, ...] | None
    # Values that stand in the statement itself, e.g. a fixed LIMIT.
    fixed: Mapping[str, Any]
    # Makes a named tuple of a row.
    row: Callable[[Sequence[Any]], Any]

    def bind(self, parameters: Mapping[str, Any]) -> Any:
        if self.fixed:
            parameters = {**self.fixed, **parameters}
        return parameters if self.names is None else [parameters[name] for name in self.names]


class Compiler:
    """Remembers the text of every statement; one per engine."""

    def __init__(self, dialect: sa.Dialect):
        self._dialect = dialect
        self._compiled: dict[Any, _Compiled] = {}

    def compile(self, statement: Any) -> _Compiled:
        """The text of a statement, and how its parameters and rows are passed."""
        compiled = self._compiled.get(statement)
        if compiled is None:
            compiled = self._compiled[statement] = _compile(statement, self._dialect)
        return compiled

    def named(self, error: Exception, text: str) -> Exception:
        """An error of the driver as the `sqlalchemy.exc` error it stands for."""
        driver = self._dialect.loaded_dbapi
        return sa.exc.DBAPIError.instance(text, None, error, driver.Error, dialect=self._dialect)


class Cursor:
    """A driver's cursor that takes statements of SQLAlchemy whose text does not depend on parameters.

    Rows are named tuples of the driver's own types: SQLite's booleans are 0 and 1.

    Args:
      connection: of the driver.
      compiler: of the engine that made the connection.
    """

    def __init__(self, connection: Any, compiler: Compiler):
        self._cursor = connection.cursor()
        self._compiler = compiler

    def run(self, statement: Any, parameters: Mapping[str, Any]) -> Any:
        """Runs a statement; returns the driver's cursor.

        Raises:
          sqlalchemy.exc.DBAPIError: as SQLAlchemy itself would.
        """
        compiled = self._compiler.compile(statement)
        try:
            return self._cursor.execute(compiled.text, compiled.bind(parameters))
        except Exception as error:
            raise self._compiler.named(error, compiled.text) from error

    def run_text(self, text: str) -> None:
        """Runs a statement that takes and returns nothing, e.g. COMMIT."""
        try:
            self._cursor.execute(text)
        except Exception as error:
            raise self._compiler.named(error, text) from error

    def commit(self, connection: Any) -> None:
        """Commits what the connection has begun."""
        try:
            connection.commit()
        except Exception as error:
            raise self._compiler.named(error, "COMMIT") from error

    def run_many(self, statement: Any, parameters: Sequence[Mapping[str, Any]]) -> None:
        """Runs a statement once per set of parameters."""
        compiled = self._compiler.compile(statement)
        try:
            self._cursor.executemany(compiled.text, [compiled.bind(each) for each in parameters])
        except Exception as error:
            raise self._compiler.named(error, compiled.text) from error

    def first(self, statement: Any, parameters: Mapping[str, Any]) -> Any:
        """The first row, or None."""
        row = self.run(statement, parameters).fetchone()
        return None if row is None else self._compiler.compile(statement).row(row)

    def all(self, statement: Any, parameters: Mapping[str, Any]) -> list[Any]:
        """Every row."""
        rows = self.run(statement, parameters).fetchall()
        return list(map(self._compiler.compile(statement).row, rows))


def _compile(statement: Any, dialect: sa.Dialect) -> _Compiled:
    columns: list[str] | None = None
    if isinstance(statement, sa.Insert):
        generated = statement.table.autoincrement_column  # type: ignore[attr-defined]
        columns = [column.name for column in statement.table.columns if column is not generated]
    compiled = statement.compile(dialect=dialect, column_keys=columns)
    if "POSTCOMPILE" in str(compiled):
        raise ValueError(f"{compiled}: its text depends on its parameters; write the values of IN (…) out")
    selected = [column.key for column in getattr(statement, "selected_columns", ())]
    # Through Any: type checkers want to read the fields in the source.
    make_class: Any = namedtuple
    return _Compiled(
        text=str(compiled),
        names=tuple(compiled.positiontup) if compiled.positiontup is not None else None,
        fixed={name: value for name, value in compiled.params.items() if value is not None},
        row=make_class("Row", selected, rename=True)._make,
    )

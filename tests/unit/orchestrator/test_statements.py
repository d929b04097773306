"""Every statement of the store has one text, on every database the store may run on."""

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from nas_orchestrator.adapters.sql import store
from nas_orchestrator.adapters.sql.cursor import Compiler

STATEMENTS = {
    name: value for name, value in vars(store).items() if isinstance(value, sa.sql.expression.Executable)
}


@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()], ids=lambda d: d.name)
@pytest.mark.parametrize("name", STATEMENTS)
def test_statement_does_not_depend_on_its_parameters(name: str, dialect: sa.Dialect) -> None:
    compiled = Compiler(dialect).compile(STATEMENTS[name])
    assert "POSTCOMPILE" not in compiled.text


def test_store_has_statements() -> None:
    assert len(STATEMENTS) > 15

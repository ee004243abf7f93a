"""docs/configuration.md tells every setting as it is."""

import re
from typing import Any

from annotated_types import Ge, Le
from docs.pages import page
from pydantic import AliasChoices, TypeAdapter
from pydantic.fields import FieldInfo

from clerksync_server.settings import Settings
from clerksync_server.settings.types import GrpcTarget

PAGE = page("docs/configuration.md")


def _variables(field: FieldInfo) -> str:
    alias = field.validation_alias
    names = [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [str(alias)]
    return " or ".join(f"`{name}`" for name in names)


def _default(field: FieldInfo) -> str:
    default: Any = field.default
    return "none" if default is None or default == () else f"`{default}`"


def _range(field: FieldInfo) -> str:
    lowest = next((limit.ge for limit in field.metadata if isinstance(limit, Ge)), None)
    highest = next((limit.le for limit in field.metadata if isinstance(limit, Le)), None)
    return "" if lowest is None or highest is None else f" ({lowest} to {highest})"


def _row(field: FieldInfo) -> list[str]:
    return [_variables(field), _default(field) + _range(field), field.description or ""]


def test_every_target_form_is_one() -> None:
    """Each form of a target that the page shows is taken."""
    forms = [form for row in PAGE.table("target", "finds") for form in re.findall(r"`([^`]+)`", row[0])]

    assert [TypeAdapter(GrpcTarget).validate_python(form) for form in forms] == forms


def test_every_setting_is_listed_as_it_is() -> None:
    """The table has a row for each setting, in their order, with its variables, default, range and description."""
    expected = [_row(field) for field in Settings.model_fields.values()]

    needed = "\n".join(f"| {' | '.join(row)} |" for row in expected)

    assert expected == PAGE.table("variable", "default", "meaning"), f"needed:\n{needed}"

"""Registries: one dict for each kind of thing, which validation, errors and help all read."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


@dataclass(frozen=True)
class NameIn:
    """Marks a text option that must be a name in a registry: `rule: Annotated[str, NameIn(lambda: RULES)]`.

    `registry` is called at each use, so that the dict may lie in a module that imports the options.
    """

    registry: Callable[[], Mapping[str, Any]]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A text that `checked` accepts."""
        return core_schema.no_info_after_validator_function(self.checked, handler(source))

    def checked(self, name: str) -> str:
        """The name itself; an error of pydantic's with all names if the registry has no such one."""
        if name not in (registry := self.registry()):
            raise PydanticCustomError("literal_error", "Input should be {names}", {"names": _alternatives(registry)})
        return name

    @property
    def meaning(self) -> str:
        """Every name with its title."""
        return "; ".join(f"{name}: {title}" for name, title in titles(self.registry()).items())


def titles(registry: Mapping[str, Any]) -> dict[str, str]:
    """Name -> what the thing is: a text itself, its `title`, or the first line of its docstring."""
    return {name: _title(entry) for name, entry in registry.items()}


def _title(entry: Any) -> str:
    if isinstance(entry, str):
        return entry
    own = getattr(entry, "__self__", entry)  # of a class whose method builds it, the class
    text = getattr(own, "title", "") or (inspect.getdoc(own) or "").partition("\n")[0]
    return str(text).rstrip(".")


def _alternatives(registry: Mapping[str, Any]) -> str:
    *most, last = (repr(name) for name in registry)
    return f"{', '.join(most)} or {last}" if most else last

"""Settings put together from their sources: whose word counts, where it stood, and what is told where it is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from enum import Enum
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel

from qgjob_agent.config_sources import Environment, Found, split_list
from qgjob_agent.config_tables import BrowserStackConfig
from qgjob_agent.errors import ConfigError
from qgjob_agent.setting_words import NODE_ENV, of_node_env, problem_of

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_SECRETS = ("token", "username", "access_key", "key", "password", "secret")


class Sources:
    """Where each setting was found: in the environment those of `found`, the others in the file (or nowhere)."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: dict[str, Found] = {}

    def file_has(self, setting: str) -> bool:
        """Whether the word of the file counts for a setting that stands there."""
        return not any(each in self.found for each in _outward(setting))

    def wrong(self, setting: str, value: object, problem: str) -> ConfigError:
        """The error of a setting, with its name and value as they are where it was set."""
        found = next((self.found[each] for each in _outward(setting) if each in self.found), None)
        shown = found.value if found is not None else value
        # What stands deeper in a list nobody looked at.
        deep = isinstance(shown, list) and any(isinstance(each, Mapping | list) for each in shown)
        if deep or (shown is not None and is_secret(setting)):
            shown = "(hidden)"
        name, source = (setting, self.file) if found is None else (found.name, found.source)
        return ConfigError(name, shown, source, problem)


def is_secret(setting: str) -> bool:
    """Also one whose name has a slip, stands in another place, has more words or is as in the environment; and all
    that is no setting where secrets are.
    """
    table, name = setting.partition(".")[0], setting.rpartition(".")[2]
    unknown = table == "browserstack" and name not in BrowserStackConfig.model_fields
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("-", "_").split("_")
    ends = ("_".join(words[at:]) for at in range(len(words)))
    return (
        unknown
        or any(secret in name.lower() for secret in _SECRETS)
        or any(get_close_matches(end, _SECRETS, n=1, cutoff=0.75) for end in ends)
    )


def _outward(setting: str) -> list[str]:
    """`a.b[0]` as `a.b[0]`, `a.b`, `a`."""
    ends = [match.start() for match in re.finditer(r"[.\[]", setting)]
    return [setting[:end] for end in [len(setting), *reversed(ends)]]


def overlay(
    model: type[BaseModel], raw: dict[str, Any], prefix: str, environment: Environment, sources: Sources
) -> None:
    """Puts the environment's settings over the file's, and remembers their source."""
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            table = raw.setdefault(name, {})
            if isinstance(table, dict):
                overlay(annotation, table, f"{prefix}{name}.", environment, sources)
            continue
        alias = NODE_ENV if name == "environment" else None
        found = environment.lookup(prefix + name, alias)
        if found is not None and name not in ("devices", "labels"):
            sources.found[prefix + name] = found
            node = found.name == NODE_ENV
            raw[name] = (
                of_node_env(found.value) if node else _parsed(found, annotation, words=name in ("argv", "appium"))
            )


def _parsed(found: Found, annotation: object, *, words: bool) -> Any:
    if get_origin(annotation) is not tuple:
        return found.value
    try:
        return split_list(found.value, words=words)
    except ValueError as error:
        raise ConfigError(found.name, found.value, found.source, f"is not a list: {error}") from None


def config_error(each: ErrorDetails, whole: type[BaseModel], sources: Sources) -> ConfigError:
    """What pydantic says of a setting of `whole`, as people are told it."""
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in each["loc"]).removeprefix(".")
    field, table = _declared(each["loc"], whole)
    value = None if each["type"] == "missing" else each["input"]  # its input is the table that lacks it
    told = _elsewhere(each, whole) or _lacking(each, field) or problem_of(each, field, list(table.model_fields))
    return sources.wrong(where, value, told)


def _elsewhere(each: ErrorDetails, whole: type[BaseModel]) -> str | None:
    """What is told of a setting that stands below a table's name and belongs above all, or the other way round."""
    name = str(each["loc"][-1])
    if each["type"] != "extra_forbidden" or isinstance(each["input"], Mapping):
        return None
    if len(each["loc"]) > 1:
        top = whole.model_fields.get(name)
        below = top is None or _table_of(top.annotation) is not None
        return None if below else "is not a setting of this table; write it above the first [table]"
    tables = [
        f"[[{table}]]" if get_origin(field.annotation) is tuple else f"[{table}]"
        for table, field in whole.model_fields.items()
        if (inner := _table_of(field.annotation)) is not None and name in inner.model_fields
    ]
    return f"is a setting of a table; write it below a line with {' or '.join(tables)}" if tables else None


def _lacking(each: ErrorDetails, field: object) -> str | None:
    """What is told of a setting that has to be there, and is one of a few words."""
    kind = getattr(field, "annotation", None)
    if each["type"] != "missing" or not (isinstance(kind, type) and issubclass(kind, Enum)):
        return None
    return f"is set; give one of {', '.join(str(word.value) for word in kind)}"


def _table_of(annotation: object) -> type[BaseModel] | None:
    """The table, or that of each item of the list, which is declared so; None where it is a value."""
    kinds = (annotation, *get_args(annotation))
    return next((each for each in kinds if isinstance(each, type) and issubclass(each, BaseModel)), None)


def _declared(loc: tuple[int | str, ...], table: type[BaseModel]) -> tuple[object, type[BaseModel]]:
    """What a setting was declared as, and the innermost table on the way to it."""
    field: object = None
    for part in loc:
        if part not in table.model_fields:
            continue
        field = table.model_fields[str(part)]
        table = _table_of(table.model_fields[str(part)].annotation) or table
    return field, table

"""The historic programs by name: assets/presets.toml, read when it is first asked for."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from charloom.config import RunConfig
from charloom.errors import CharloomError


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """A program of the lineage; `config` is what a run by that name starts from.

    `source` is the program, its author and the year. `kept` says what is exactly as it was
    there, `differs` what is not.
    """

    name: str
    title: str
    source: str
    config: RunConfig
    kept: str
    differs: str


@cache
def presets() -> dict[str, Preset]:
    """Return all of them by their names."""
    document = tomllib.loads(
        Path(__file__).with_name("assets").joinpath("presets.toml").read_text("utf-8")
    )
    tables: dict[str, dict[str, Any]] = {}
    for name, table in document.items():
        tables[name] = _merged(tables[table.pop("like")], table) if "like" in table else table
    return {name: _preset(name, table) for name, table in tables.items()}


def preset(name: str) -> RunConfig:
    """Return the settings of the program of that name; raises CharloomError if it is unknown."""
    known = presets()
    if name not in known:
        message = f"there is no preset {name!r}: the known ones are {', '.join(known)}"
        raise CharloomError(message, "bad-setting", field="preset")
    return known[name].config


def _preset(name: str, table: dict[str, Any]) -> Preset:
    texts = {field: table[field] for field in ("title", "source", "kept", "differs")}
    parts = {field: value for field, value in table.items() if field not in texts}
    config = msgspec.convert(parts | {"preset": name}, RunConfig)
    return Preset(name=name, config=config, **texts)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes`, table by table."""
    both = {
        name: _merged(base[name], new)
        for name, new in changes.items()
        if name in base and isinstance(new, dict)
    }
    return base | changes | both

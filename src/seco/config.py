"""Settings: frozen dataclasses <-> YAML <-> command-line flags. Unknown keys are errors.

A setting is a dataclass field made by `setting`, whose help text is its documentation everywhere: in the flag's
`--help`, in generated YAML comments and in the docs.
"""

import argparse
import dataclasses
import datetime
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from seco.errors import ConfigError

T = TypeVar("T")


def setting(default: Any, help: str, *, flag: str | None = None) -> Any:
    """Declare one setting of a config dataclass.

    Args:
        default: the value when neither a file nor a flag gives one.
        help: one line that says what it is, with units.
        flag: the command-line flag, where it is not the field's name with dashes.
    """
    return dataclasses.field(default=default, metadata={"help": help, "flag": flag})


def hints(cls: type) -> dict[str, Any]:
    """Return the resolved type of every field of a config dataclass."""
    return typing.get_type_hints(cls)


def _flag(field: dataclasses.Field) -> str:
    return field.metadata.get("flag") or "--" + field.name.replace("_", "-")


def _plain(kind: Any) -> tuple[Any, bool]:
    """Split `X | None` into (X, True)."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        parts = [a for a in typing.get_args(kind) if a is not type(None)]
        return parts[0], True
    return kind, False


def add_arguments(parser: argparse._ActionsContainer, cls: type, *, skip: tuple[str, ...] = ()) -> None:
    """Add a flag for every setting of `cls`; a flag not given leaves no attribute behind."""
    kinds = hints(cls)
    for field in dataclasses.fields(cls):
        if field.name in skip or "help" not in field.metadata:
            continue
        kind, _ = _plain(kinds[field.name])
        text = field.metadata["help"].replace("%", "%%")
        # A text may say itself what happens without the flag, where that is more than a value.
        shown = text if "default: " in text else f"{text} (default: {_show(field.default)})"
        options: dict[str, Any] = {"dest": field.name, "default": argparse.SUPPRESS, "help": shown}
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif typing.get_origin(kind) is Literal:
            options["choices"] = typing.get_args(kind)
            options["type"] = type(typing.get_args(kind)[0])
        else:
            options["type"] = str
            options["metavar"] = field.name.upper()
        parser.add_argument(_flag(field), **options)


def _show(value: Any) -> str:
    if value is None:
        return "chosen for you"
    if isinstance(value, tuple):
        return ",".join(str(v) for v in value) or "none"
    return str(value)


def _coerce(name: str, value: Any, kind: Any) -> Any:
    """Turn a YAML or flag value into the field's type, or say why it cannot be."""
    kind, optional = _plain(kind)
    if value is None or (optional and value in ("none", "None", "auto")):
        if optional:
            return None
        raise ConfigError(f"setting {name}: got nothing; give a {_name(kind)}")
    try:
        return _convert(name, value, kind)
    except (TypeError, ValueError, OverflowError) as err:
        shape = "; write it like 2023-06-30" if kind is datetime.date else ""
        raise ConfigError(f"setting {name}: {value!r} is not a valid {_name(kind)}{shape}") from err


def _convert(name: str, value: Any, kind: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin is Literal:
        allowed = typing.get_args(kind)
        if value not in allowed:
            raise ConfigError(f"setting {name}: {value!r} is not one of {', '.join(map(str, allowed))}")
        return value
    if origin is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        inner = typing.get_args(kind)
        if len(inner) != 2 or inner[1] is not Ellipsis:
            if len(parts) != len(inner):
                raise ConfigError(f"setting {name}: {value!r} has {len(parts)} values, not {len(inner)}")
            return tuple(_convert(name, p, k) for p, k in zip(parts, inner, strict=True))
        return tuple(_convert(name, p, inner[0]) for p in parts if p != "")
    if dataclasses.is_dataclass(kind):
        return build(typing.cast(type, kind), value)
    if kind is datetime.date:
        return value if type(value) is datetime.date else datetime.date.fromisoformat(value)
    if kind is bool:
        if isinstance(value, bool):
            return value
        lowered = str(value).lower()
        if lowered not in ("true", "false", "yes", "no", "1", "0"):
            raise ValueError(value)
        return lowered in ("true", "yes", "1")
    return _number(value, kind) if kind in (int, float) else kind(value)


def _number(value: Any, kind: type) -> Any:
    """Return an int or float; True is no number, and 2.5 is no int."""
    if isinstance(value, bool) or (kind is int and isinstance(value, float) and value != int(value)):
        raise ValueError(value)
    number = kind(value.replace("_", "")) if isinstance(value, str) else kind(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))


def build(cls: type[T], values: Mapping[str, Any]) -> T:
    """Build a config dataclass from plain values.

    Raises:
        ConfigError: an unknown key, a value of the wrong type, or a failed check of the class itself.
    """
    kinds = hints(cls)
    names = [f.name for f in dataclasses.fields(typing.cast(Any, cls)) if f.init]
    unknown = sorted(str(k) for k in set(values) - set(names))
    if unknown:
        raise ConfigError(f"unknown setting {', '.join(unknown)}; known: {', '.join(names)}")
    flags = {f.name: f.metadata.get("flag") for f in dataclasses.fields(typing.cast(Any, cls))}
    # Whoever typed a flag of another name than the setting's need not know that one.
    shown = {k: f"{k} ({flags[k]})" if flags[k] else k for k in values}
    return cls(**{k: _coerce(shown[k], v, kinds[k]) for k, v in values.items()})


def from_args(cls: type[T], args: argparse.Namespace, file: Path | None = None) -> T:
    """Build `cls` from a YAML file, if given, overridden by the flags that were given."""
    values = read_yaml(file) if file else {}
    given = vars(args)
    values.update(
        {f.name: given[f.name] for f in dataclasses.fields(typing.cast(Any, cls)) if f.name in given}
    )
    return build(cls, values)


def to_plain(config: Any) -> dict[str, Any]:
    """Return a config dataclass as YAML-ready values, in field order."""

    def plain(value: Any) -> Any:
        if isinstance(value, Path):
            return str(value)
        if isinstance(value, (tuple, list)):
            return [plain(v) for v in value]
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return value

    return {k: plain(v) for k, v in dataclasses.asdict(config).items()}


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file of settings.

    Raises:
        ConfigError: the file is missing, is not YAML, or is not a mapping.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"cannot read config {path}: {err}; give the path of a YAML file") from err
    except yaml.YAMLError as err:
        raise ConfigError(f"config {path} is not valid YAML: {' '.join(str(err).split())}") from err
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"config {path} holds a {type(values).__name__}; it must map setting names to values"
        )
    wrong = [k for k in values if not isinstance(k, str)]
    if wrong:
        raise ConfigError(f"config {path}: {wrong[0]!r} is no setting's name")
    return values


def write_yaml(config: Any, path: Path) -> None:
    """Write a config dataclass as YAML, in field order, under a temporary name that is then renamed."""
    import yaml

    temporary = path.with_name(f".{path.name}.partial")
    try:
        temporary.write_text(yaml.safe_dump(to_plain(config), sort_keys=False), encoding="utf-8")
        temporary.replace(path)
    except OSError as err:
        raise ConfigError(f"cannot write {path}: {err}; free disk space or choose another folder") from err
    finally:
        temporary.unlink(missing_ok=True)

"""`params_override`: what a user changes of an experiment's configuration.

The library merges overrides, but accepts a text where a number belongs and names neither the
file nor the path of a key it does not know. Everything is therefore checked here first.
"""

import dataclasses
import re
import typing
from importlib import resources
from pathlib import PurePath
from typing import Any

import tensorflow as tf
import yaml
from official.core import config_definitions as cfg
from official.modeling import hyperparams

from nas_trainer.errors import ConfigError

_INLINE_PART = re.compile(
    r"""(?P<key>[A-Za-z_][\w.]*)=(?P<value>"[^"]*"|'[^']*'|\[[^\]]*\]|[^\s,]*)(?:[\s,]+|$)"""
)


class _Loader(yaml.SafeLoader):
    """YAML 1.1, but `1e-3` is a number, as everybody who writes a learning rate means it."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


@dataclasses.dataclass(frozen=True)
class Override:
    """Changes to a configuration and where they come from.

    Attributes:
        tree: nested mapping, `{"trainer": {"train_steps": 100}}`.
        source: what to call it in a message: a file or the flag.
    """

    tree: dict[str, Any]
    source: str


def shipped() -> tuple[str, ...]:
    """Base names of the configurations that come with the trainer."""
    files = resources.files("nas_trainer.configs").iterdir()
    return tuple(sorted(file.name for file in files if file.name.endswith((".yaml", ".yml"))))


def read(text: str) -> Override:
    """Reads the value of `params_override`.

    Args:
        text: path of a YAML file; a path that does not exist but whose base name is that of a
            shipped configuration; or inline `a.b=c`, separated by commas or spaces.
    Raises:
        ConfigError: no such file, YAML that does not parse, or an inline list that is none.
    """
    text = text.strip()
    if not text:
        return Override({}, "params_override")
    if _looks_inline(text):
        return Override(_read_inline(text), "params_override")
    if tf.io.gfile.exists(text) and not tf.io.gfile.isdir(text):
        with tf.io.gfile.GFile(text) as file:
            return Override(_read_yaml(file.read(), text), text)
    name = PurePath(text).name
    if name in shipped():
        content = (resources.files("nas_trainer.configs") / name).read_text("utf-8")
        return Override(_read_yaml(content, name), name)
    raise ConfigError(
        f"params_override: no file {text}; expected a YAML file, a.b=c,d.e=f, or one of the shipped "
        f"{', '.join(shipped())}"
    )


def apply(params: cfg.ExperimentConfig, override: Override) -> None:
    """Changes `params` in place.

    Raises:
        ConfigError: a key the configuration does not have or a value of the wrong kind.
    """
    _check(params, override.tree, override.source, "")
    try:
        params.override(override.tree, is_strict=True)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{override.source}: {error}") from error


def _looks_inline(text: str) -> bool:
    return "=" in text.split("/")[0] or bool(re.match(r"[A-Za-z_][\w.]*=", text))


def _read_inline(text: str) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    position = 0
    while position < len(text):
        part = _INLINE_PART.match(text, position)
        if part is None:
            raise ConfigError(f"params_override: found {text[position:]!r}; expected a.b=c,d.e=f")
        *parents, leaf = part["key"].split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
            if not isinstance(branch, dict):
                raise ConfigError(f"params_override: {part['key']} and {parent} are both set")
        branch[leaf] = _load(part["value"], f"params_override: {part['key']}")
        position = part.end()
    return tree


def _read_yaml(content: str, source: str) -> dict[str, Any]:
    tree = _load(content, source)
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{source}: found {type(tree).__name__}; expected a mapping of keys")
    return tree


def _load(content: str, source: str) -> Any:
    try:
        return yaml.load(content, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: is no YAML: {' '.join(str(error).split())}") from error


def _check(config: hyperparams.Config, tree: dict[Any, Any], source: str, path: str) -> None:
    for key, value in tree.items():
        where = f"{source}: {path}{key}"
        known = _keys(config)
        if key not in known:
            raise ConfigError(f"{where}: unknown key; expected one of {', '.join(sorted(known))}")
        current = getattr(config, key)
        if isinstance(current, hyperparams.Config) and isinstance(value, dict):
            _check(current, value, source, f"{path}{key}.")
        else:
            _check_leaf(config, key, current, value, where)


def _keys(config: hyperparams.Config) -> set[str]:
    """Every key that may be set; of a choice (`optimizer: {type: sgd, …}`) also those not chosen so far."""
    declared = {field.name for field in dataclasses.fields(config)} - {"default_params", "restrictions"}
    return declared | set(config.as_dict())


def _check_leaf(config: hyperparams.Config, key: str, current: Any, value: Any, where: str) -> None:
    if value is None:
        hints = typing.get_type_hints(type(config))
        if type(None) not in typing.get_args(hints.get(key)):
            raise ConfigError(f"{where}: is empty; expected {_kind(current)}")
        return
    fits = {
        bool: isinstance(value, bool),
        int: isinstance(value, int) and not isinstance(value, bool),
        float: isinstance(value, int | float) and not isinstance(value, bool),
        str: isinstance(value, str),
        list: isinstance(value, list),
        tuple: isinstance(value, list),
    }.get(type(current), not isinstance(current, hyperparams.Config))
    if not fits:
        raise ConfigError(f"{where}: found {value!r}; expected {_kind(current)}")


def _kind(value: Any) -> str:
    names = {
        bool: "True or False",
        int: "a whole number",
        float: "a number",
        str: "a text",
        list: "a list",
        tuple: "a list",
    }
    return names.get(type(value), "a mapping of keys")

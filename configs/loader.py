"""From a YAML file, what it extends, and --set overrides to a checked RunConfig; errors name the key and the mend."""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, Tag, ValidationError

from configs.errors import BadInputError, first_line
from configs.files import write_text
from configs.schema import RunConfig

PRESETS = Path(__file__).resolve().parent
M = TypeVar("M", bound=BaseModel)
DATA_PATHS = ("data.tokenizer", "data.sources.*.path", "data.held_out.path")  # never anything but a path
# Relative to the file that names them; `*` is every key of a mapping or item of a list. A sweep's `base` has the data
# of all its runs.
PATH_KEYS = (
    *("reference", "calibration", "forecast.assumptions", "offline", "controls.*"),
    *DATA_PATHS,
    *(f"base.{key}" for key in DATA_PATHS),
)


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers (1e-3 is a float, as everybody means it), and no key twice in one mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str, origin: str) -> Any:
    """Parse YAML; raises BadInputError naming `origin` and the line."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise BadInputError(f"{origin}{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, TypeError) as error:  # a control character; a key that is a list
        raise BadInputError(f"{origin}: not valid YAML: {first_line(error)}") from None


def load_config(path: Path | str, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run's YAML with all that it extends, apply `key.sub=value` overrides, check, return it.

    `path` is looked for as given and then among the project's own files, so that `configs/runs/smoke.yaml` works from
    any directory. Paths inside a file are relative to that file, and absolute in the result.
    Raises BadInputError, one line, naming the key, the value and the nearest valid choice.
    """
    return load_as(RunConfig, "runs", path, overrides)


def load_as(kind: type[M], folder: str, path: Path | str, overrides: Sequence[str] = ()) -> M:
    """The same for files of another kind, whose presets lie in `folder` of this room."""
    found = _find(Path(path), folder)
    tree = _read_with_extends(found, ())
    for override in overrides:
        _apply(tree, override)
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        message = explain(error, kind)
        key = message.partition(":")[0]
        set_here = next(
            (o for o in overrides if o.partition("=")[0].startswith(key) or key.startswith(o.partition("=")[0])), None
        )
        raise BadInputError(f"{f'--set {set_here}' if set_here else found.name}: {message}") from None


def has_key(key: str, folder: str, path: Path | str) -> bool:
    """Does the file, found as `load_as` finds it, have this key at its top? False where there is no such file."""
    try:
        return key in _read_with_extends(_find(Path(path), folder), ())
    except BadInputError:  # whoever loads it as what it is says why
        return False


def dump_config(config: RunConfig) -> str:
    """The resolved configuration as YAML that `load_config` reads back to an equal object."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def write_config(path: Path, config: RunConfig) -> None:
    """Store the resolved configuration beside its run."""
    write_text(path, dump_config(config))


def first_difference(old: RunConfig, new: RunConfig, sections: Sequence[str], but: Collection[str] = ()) -> str | None:
    """The first key of `sections` in which two configurations differ, as 'key: old there, new here'; None if equal.

    Keys in `but` may differ.
    """
    for section in sections:
        a, b = _flat(section, getattr(old, section)), _flat(section, getattr(new, section))
        for key in [*a, *(k for k in b if k not in a)]:
            if a.get(key) != b.get(key) and key not in but:
                return f"{key}: {a.get(key)!r} there, {b.get(key)!r} here"
    return None


def _flat(prefix: str, value: Any) -> dict[str, Any]:
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in _flat(f"{prefix}.{key}", item).items()}
    return {prefix: value}


def _find(path: Path, folder: str) -> Path:
    for candidate in (path, PRESETS.parent / path, PRESETS / folder / path, PRESETS / folder / f"{path}.yaml"):
        if candidate.is_file():
            return candidate.resolve()
    presets = sorted(p.stem for p in PRESETS.glob(f"{folder}/*.yaml"))
    if path.is_dir():
        raise BadInputError(f"{path}: is a directory; name a YAML file or a preset ({', '.join(presets)})")
    close = difflib.get_close_matches(path.stem, presets, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise BadInputError(f"{path}: no such file; {hint}presets: {', '.join(presets)}")


def _read_with_extends(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path in seen:
        raise BadInputError(f"{path.name}: extends itself by way of {' → '.join(p.name for p in seen)}")
    try:
        tree = parse_yaml(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: cannot be read: {error}") from None
    if not isinstance(tree, dict):
        raise BadInputError(f"{path.name}: must be a mapping of keys (name, train, …)")
    _resolve_paths(tree, path.parent)
    parent = tree.pop("extends", None)
    if parent is None:
        return tree
    if not isinstance(parent, str):
        raise BadInputError(f"{path.name}: extends: {parent!r} is not a file name")
    parent_path = (path.parent / parent).resolve()
    if not parent_path.is_file():
        raise BadInputError(f"{path.name}: extends: {parent}: no such file beside it")
    return merged(_read_with_extends(parent_path, (*seen, path)), tree)


def _resolve_paths(tree: dict[str, Any], directory: Path) -> None:
    """Make the paths of a configuration, or of a part of one, relative to nothing."""
    for key in PATH_KEYS:
        *parents, last = key.split(".")
        nodes: list[Any] = [tree]
        for part in parents:
            nodes = [inner for node in nodes for inner in _children(node, part)]
        for node in nodes:
            for name in tuple(node) if last == "*" and isinstance(node, dict) else (last,):
                if isinstance(node, dict) and isinstance(node.get(name), str):
                    node[name] = _relative_to(directory, node[name], always=key.removeprefix("base.") in DATA_PATHS)


def _children(node: Any, part: str) -> list[Any]:
    """What is under `part` of a mapping; for `*`, every item of a list or mapping."""
    if part == "*":
        return list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
    return [node[part]] if isinstance(node, dict) and part in node else []


def _relative_to(directory: Path, value: str, always: bool = False) -> str:
    """A path inside a config file becomes absolute; what need not be one (a hub id such as org/model) stays."""
    candidate = (directory / value).resolve()
    if always or candidate.exists() or value.startswith((".", "/", "~")):
        return str(Path(value).expanduser() if value.startswith("~") else candidate)
    return value


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with what `over` has, key by key at every depth; what is no mapping is replaced."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise BadInputError(f"--set {override}: must be key=value, such as train.steps=100")
    *parents, last = key.split(".")
    value = parse_yaml(text, f"--set {override}")
    alone: Any = value
    for part in (last, *reversed(parents)):
        alone = {part: alone}
    _resolve_paths(alone, Path.cwd())
    for part in (*parents, last):
        alone = alone[part]
    node: Any = tree
    for part in parents:
        node = _inside(node, part, override)
    if isinstance(node, list):
        _inside(node, last, override)
        node[int(last)] = alone
    else:
        node[last] = alone


def _inside(node: Any, part: str, override: str) -> Any:
    """The section `part` of `node`, or the item of that number."""
    if isinstance(node, list):
        if not (part.isdigit() and int(part) < len(node)):
            raise BadInputError(f"--set {override}: there are {len(node)} items; name one by its number, from 0")
        return node[int(part)]
    node = node.setdefault(part, {})
    if not isinstance(node, dict | list):
        raise BadInputError(f"--set {override}: {part!r} is a value, not a section")
    return node


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first thing wrong, as one line: key, value, what is wanted, nearest valid choice."""
    problem = error.errors()[0]
    path = [str(part) for part in problem["loc"]]
    key = _in_file(model, path)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key{_nearest(path[-1], _keys_at(model, path[:-1]))}{more}"
    if problem["type"] == "missing":
        return f"{key}: is missing{more}"
    if problem["type"] == "literal_error":
        choices = [c.strip(" '") for c in re.split(r",| or ", problem["ctx"]["expected"])]
        given = problem["input"]
        if isinstance(given, dict):  # a section that says what kind it is
            key, given = f"{key}.source", given.get("source")
        return f"{key}: {given!r} is not a choice{_nearest(str(given), choices)}{more}"
    if problem["type"] == "tuple_type":
        return f"{key}: {_short(problem['input'])}: must be a list, such as [{problem['input']}]{more}"
    message = problem["msg"].removeprefix("Value error, ")
    if not key:
        return f"{message}{more}"
    return f"{key}: {_short(problem['input'])}: {message[0].lower()}{message[1:]}{more}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"


def _nearest(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    listed = f"choices: {', '.join(names)}"
    return f"; did you mean {close[0]!r}? ({listed})" if close else f"; {listed}"


def _keys_at(model: Any, path: Sequence[str]) -> list[str]:
    """The field names of the section at `path`."""
    for part in path:
        model = _part_of(model, part)
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _in_file(model: Any, path: Sequence[str]) -> str:
    """The key as a file has it: without what pydantic puts in for the choice among several kinds of a section."""
    named = []
    for part in path:
        if part not in _kinds(model):
            named.append(part)
        model = _part_of(model, part)
    return ".".join(named)


def _part_of(model: Any, part: str) -> Any:
    """The type of a field, of an item, or of a kind of a section; None for what is none of these."""
    kinds = _kinds(model)
    if kinds:
        return kinds.get(part)
    if get_origin(model) is tuple:
        return get_args(model)[0]
    if not (isinstance(model, type) and issubclass(model, BaseModel)) or part not in model.model_fields:
        return None
    inner = model.model_fields[part].annotation
    if get_origin(inner) in (Union, UnionType) and not _kinds(inner):
        inner = next((choice for choice in get_args(inner) if choice is not type(None)), None)
    return inner


def _kinds(model: Any) -> dict[str, Any]:
    """The kinds of a section that can be one of several, by their tags."""
    if get_origin(model) not in (Union, UnionType):
        return {}
    tagged = [get_args(choice) for choice in get_args(model) if get_origin(choice) is Annotated]
    return {mark.tag: kind for kind, *marks in tagged for mark in marks if isinstance(mark, Tag)}

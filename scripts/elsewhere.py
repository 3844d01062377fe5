"""Paths of a configuration as another machine has them: what is of this checkout is of the checkout there."""

from collections.abc import Callable, Iterator
from typing import Any

from configs.schema import RunConfig
from train.processes import ROOT

CHECKOUT = "@CHECKOUT@"  # where only the node's own shell knows: it puts its working directory there


def relocated(settings: RunConfig, checkout: str) -> RunConfig:
    """With paths into this checkout made paths into that one."""

    def moved(text: str) -> str:
        return checkout + text.removeprefix(str(ROOT)) if text.startswith(f"{ROOT}/") else text

    return RunConfig.model_validate(_mapped(settings.model_dump(mode="json"), moved))


def foreign(settings: RunConfig, shared: str | None) -> list[str]:
    """`key: path` of what is neither of this checkout nor in the shared directory: is it there, too?"""
    known = (f"{ROOT}/", *([f"{shared.rstrip('/')}/"] if shared else []))
    found = _strings(settings.model_dump(mode="json"), "")
    return [f"{key}: {text}" for key, text in found if text.startswith("/") and not text.startswith(known)]


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _mapped(each, change) for key, each in value.items()}
    if isinstance(value, list):
        return [_mapped(each, change) for each in value]
    return change(value) if isinstance(value, str) else value


def _strings(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _strings(each, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _strings(each, f"{key}.{number}")
    elif isinstance(value, str):
        yield key, value

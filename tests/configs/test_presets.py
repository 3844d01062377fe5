"""Every preset loads, from any directory; a wrong name is answered with the nearest right ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from configs import presets
from configs.errors import BadInputError
from configs.forecast import ForecastConfig


def test_all_load_from_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for cached in (presets.architecture_preset, presets.accelerators, presets.cluster):
        cached.cache_clear()
    assert {"gpt2-124m", "gpt3-175b", "pythia-70m"} <= set(presets.architecture_names())
    assert {"a100-1024", "h100-512", "v100-10000"} <= set(presets.cluster_names())
    for name in presets.architecture_names():
        assert presets.architecture_preset(name).source
    for name in presets.cluster_names():
        machine = presets.cluster(name)
        assert machine.accelerator.peak(machine.dtype) is not None
        assert machine.source and machine.node is not None and machine.node.source
    for row in presets.accelerators():
        assert row.source and "to check" not in row.source


@pytest.mark.parametrize(
    ("name", "total"), [("gpt2-124m", 124_439_808), ("pythia-70m", 70_426_624), ("gpt3-175b", 174_604_259_328)]
)
def test_parameters(name: str, total: int) -> None:
    assert presets.architecture(name).parameter_counts().total == total


@pytest.mark.parametrize(
    ("get", "name", "expected"),
    [
        (presets.architecture, "gpt3-176b", "unknown architecture 'gpt3-176b'; did you mean gpt3-175b"),
        (presets.cluster, "a100-102", "unknown cluster 'a100-102'; did you mean a100-1024"),
        (presets.accelerator, "h100-sxm", "unknown accelerator 'h100-sxm'; did you mean h100-sxm-80gb"),
        (presets.cluster, "zzz", "choices: a100-1024, h100-512, v100-10000"),
    ],
)
def test_unknown_name(get: Callable[[str], Any], name: str, expected: str) -> None:
    with pytest.raises(BadInputError) as error:
        get(name)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["../../etc/passwd", "clusters/a100-1024", ""])
def test_a_name_is_not_a_path(name: str) -> None:
    with pytest.raises(BadInputError, match="unknown"):
        presets.cluster(name)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"cluster": "a100"}, "did you mean a100-1024"),
        ({"cluster": "8xa100"}, "unknown accelerator 'a100'"),
        ({"target": "gpt4"}, "unknown architecture 'gpt4'"),
        ({"price_date": "soon"}, "'soon' is not a date; write 2022-01"),
        ({"goodput": {"distribution": "constant", "value": 1.2}}, "is a share"),
        ({"goodput": {"distribution": "logit_normal", "low": 0.9, "high": 0.4}}, "low 0.9 must be below high 0.4"),
        ({"samples": 10}, "greater than or equal to 1000"),
        ({"tokens": True}, "is a truth value"),
        ({"tokens": 0}, "greater than or equal to 1"),
        ({"utilisation": 0.5}, "not permitted"),
    ],
)
def test_a_forecast_config_refuses(keys: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        ForecastConfig(**keys)


def test_the_defaults_are_valid() -> None:
    # defaults are not validated when a model is made, so they are here
    assert ForecastConfig.model_validate(ForecastConfig().model_dump()) == ForecastConfig()


def test_a_count_and_an_accelerator_are_a_cluster() -> None:
    for preset in map(presets.cluster, presets.cluster_names()):
        sized = presets.cluster(f"{preset.count}x{preset.accelerator.name}")
        assert (sized.accelerator, sized.count, sized.node, sized.dtype) == (
            preset.accelerator,
            preset.count,
            preset.node,
            preset.dtype,
        )
    assert presets.cluster("1xmi250x-128gb").accelerator.devices == 2  # an x in the name
    assert presets.cluster("4096xtpu-v4").node is None
    assert set(presets.nodes()) <= {row.name for row in presets.accelerators()}


@pytest.mark.parametrize("count", ["0", "-8", "1.5", "1e3", "1000001", "+8", "8 "])
def test_a_wrong_count_is_one_line(count: str) -> None:
    with pytest.raises(BadInputError, match="is not a number of accelerators; write COUNTxACCELERATOR") as error:
        presets.cluster(f"{count}xa100-sxm-80gb")
    assert "\n" not in str(error.value)
    with pytest.raises(BadInputError, match="8xa100-sxm: unknown accelerator 'a100-sxm'; did you mean a100-sxm-40gb"):
        presets.cluster("8xa100-sxm")

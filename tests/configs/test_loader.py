"""The configuration: what it reads, and the line a user gets when it cannot."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import BadInputError
from configs.loader import dump_config, first_difference, load_config, parse_yaml
from configs.schema import RunConfig

BASE = "name: base\narchitecture: {model_type: gpt2}\n"


def _write(directory: Path, text: str, name: str = "run.yaml") -> Path:
    path = directory / name
    path.write_text(text)
    return path


def test_every_preset_loads_and_reads_back_equal(tmp_path: Path) -> None:
    presets = sorted((Path(__file__).parents[2] / "configs" / "runs").glob("*.yaml"))
    assert presets
    for preset in presets:
        config = load_config(preset)
        assert load_config(_write(tmp_path, dump_config(config))) == config


def test_a_preset_is_found_by_name_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config("smoke") == load_config("configs/runs/smoke.yaml")


def test_extends_merges_sections_and_replaces_values(tmp_path: Path) -> None:
    _write(tmp_path, BASE + "train: {steps: 10, optimizer: {betas: [0.8, 0.9], eps: 1e-6}}\n", "base.yaml")
    child = _write(tmp_path, "extends: base.yaml\nname: child\ntrain: {optimizer: {betas: [0.7, 0.99]}}\n")
    config = load_config(child)
    assert (config.name, config.train.steps) == ("child", 10)
    assert config.train.optimizer.betas == (0.7, 0.99)
    assert config.train.optimizer.eps == 1e-6


def test_overrides_win_and_are_typed(tmp_path: Path) -> None:
    path = _write(tmp_path, BASE)
    config = load_config(path, ["train.steps=7", "train.optimizer.learning_rate=3e-4", "architecture.n_layer=2"])
    assert config.train.steps == 7
    assert config.train.optimizer.learning_rate == 3e-4
    assert config.architecture == {"model_type": "gpt2", "n_layer": 2}


def test_paths_are_relative_to_the_file_that_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "model").mkdir()
    path = _write(tmp_path / "a", "name: x\nreference: model\n")
    monkeypatch.chdir("/")
    assert load_config(path).reference == str(tmp_path / "a" / "model")
    hub = _write(tmp_path, "name: x\nreference: EleutherAI/pythia-70m\n")
    assert load_config(hub).reference == "EleutherAI/pythia-70m"


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (BASE + "train: {stepz: 3}\n", [], r"run.yaml: train.stepz: unknown key; did you mean 'steps'\?"),
        (BASE, ["train.optimiser.lr=3"], r"train.optimiser: unknown key; did you mean 'optimizer'\?"),
        (BASE, ["train.steps=abc"], r"train.steps: 'abc': input should be a valid integer"),
        (BASE, ["train.steps=true"], r"train.steps: True: is a truth value, not a number"),
        (BASE, ["train.steps=0"], r"train.steps: 0: input should be greater than or equal to 1"),
        (BASE, ["train.optimizer.learning_rate=.nan"], r"train.optimizer.learning_rate: nan: "),
        (
            BASE,
            ["train.precision=fp8"],
            r"train.precision: 'fp8' is not a choice; did you mean 'fp\d+'\? \(choices: auto",
        ),
        (BASE, ["train.zero_stage=4"], r"train.zero_stage: 4 is not a choice; choices: 0, 1, 2, 3"),
        (BASE, ["evaluation.items.facts=0"], r"evaluation.items.facts: 0: "),
        (BASE, ["train.steps"], r"--set train.steps: must be key=value"),
        (BASE, ["name.x=1"], r"--set name.x=1: 'name' is a value, not a section"),
        (BASE, ["name=a/b"], r"name: 'a/b': string should match pattern"),
        ("name: x\n", [], r"run.yaml: needs `reference`"),
        (BASE + "name: twice\n", [], r"run.yaml, line 3: not valid YAML: the key 'name' stands twice"),
        ("name: [\n", [], r"run.yaml, line 2: not valid YAML"),
        ("? [a]\n: b\n", [], r"run.yaml: not valid YAML"),
        ("name: \x07\n", [], r"run.yaml: not valid YAML"),
        (BASE, ["train.zero_stage=true"], r"train.zero_stage: True: is a truth value"),
        ("- a\n", [], r"run.yaml: must be a mapping"),
        (BASE + "extends: nothing.yaml\n", [], r"run.yaml: extends: nothing.yaml: no such file beside it"),
        (BASE + "extends: run.yaml\n", [], r"run.yaml: extends itself"),
        (BASE + "train: 5\n", [], r"train: 5: input should be a valid dictionary"),
    ],
)
def test_an_error_is_one_line_that_names_key_value_and_mend(
    text: str, overrides: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInputError, match=message) as caught:
        load_config(_write(tmp_path, text), overrides)
    assert "\n" not in str(caught.value)


def test_a_missing_file_lists_the_presets() -> None:
    with pytest.raises(BadInputError, match=r"nothing.yaml: no such file; presets: .*smoke"):
        load_config("nothing.yaml")


def test_the_first_difference_of_two_configs_is_named(tmp_path: Path) -> None:
    one = load_config(_write(tmp_path, BASE))
    two = load_config(_write(tmp_path, BASE), ["train.optimizer.eps=1e-5"])
    assert first_difference(one, one, ("train", "data")) is None
    assert first_difference(one, two, ("train",)) == "train.optimizer.eps: 1e-08 there, 1e-05 here"
    assert first_difference(one, two, ("data",)) is None


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_written_as_python_writes_them_are_floats(value: float) -> None:
    assert parse_yaml(repr(value), "x") == value


def test_the_global_batch_is_the_product() -> None:
    config = RunConfig(name="x", architecture={"model_type": "gpt2"})
    train = config.train.model_copy(
        update={"micro_batch_size": 3, "gradient_accumulation_steps": 5, "data_parallel_size": 2}
    )
    assert train.global_batch_rows == 30

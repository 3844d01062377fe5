"""Revisions that are copies, or swapped: found in small checkpoints of a training that is known."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from configs.errors import BadInputError
from scripts.cli import app
from train.integrity import Diagnosis, distance, examine, tensors_sha256

STEPS = (0, 1, 2, 4, 8, 1000, 2000, 3000)


def _save(weights: dict[str, torch.Tensor], place: Path, **metadata: str) -> None:
    place.mkdir(parents=True, exist_ok=True)
    save_file(weights, place / "model.safetensors", metadata=metadata or None)
    for name in ("config.json", "tokenizer.json"):
        (place / name).write_text("{}")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A random walk of weights with a drift, as training is, and main, which is its last step."""
    generator = torch.Generator().manual_seed(0)
    weights = {"w": torch.randn(64, 64, generator=generator), "b": torch.zeros(64)}
    before = 0
    for step in STEPS:
        for _ in range(min(step - before, 20)):
            weights = {k: v + 0.05 * torch.randn(v.shape, generator=generator) for k, v in weights.items()}
        before = step
        _save(weights, tmp_path / "suite" / f"step{step}")
    _save(weights, tmp_path / "suite" / "main")
    return tmp_path / "suite"


def _kinds(found: Diagnosis) -> list[tuple[str, tuple[str, ...]]]:
    return [(finding.kind, finding.revisions) for finding in found.findings]


def test_a_sound_suite_has_no_findings_though_main_is_its_last_step(suite: Path) -> None:
    found = examine(str(suite))
    assert found.findings == ()
    assert [each.step for each in found.revisions] == [*STEPS, None]
    assert found.order_checked == (*(f"step{step}" for step in STEPS), "main")


def test_a_copy_is_found_however_it_is_filed(suite: Path) -> None:
    weights = load_file(suite / "step8" / "model.safetensors")
    shutil.rmtree(suite / "step1000")
    _save(dict(reversed(weights.items())), suite / "step1000", format="pt", by="another tool")
    assert tensors_sha256(suite / "step8") == tensors_sha256(suite / "step1000")
    assert ("identical", ("step8", "step1000")) in _kinds(examine(str(suite)))
    neighbours = examine(str(suite), "step8")
    assert [each.name for each in neighbours.revisions] == ["step4", "step8", "step1000", "main"]
    assert ("identical", ("step8", "step1000")) in _kinds(neighbours)


def test_main_that_is_an_early_step_is_found(suite: Path) -> None:
    shutil.rmtree(suite / "main")
    shutil.copytree(suite / "step4", suite / "main")
    assert _kinds(examine(str(suite))) == [
        ("identical", ("step4", "main")),
        ("out_of_order", ("step2000", "step3000", "main")),
    ]


@pytest.mark.parametrize(
    ("revision", "row"),
    [
        ("step0", ("step0", "step1", "step2")),
        ("step1000", ("step8", "step1000", "step2000")),
        ("step3000", ("step2000", "step3000", "main")),
        ("main", ("step2000", "step3000", "main")),
    ],
)
def test_the_ends_have_neighbours_on_one_side_and_main_is_after_the_last_step(
    suite: Path, revision: str, row: tuple[str, ...]
) -> None:
    found = examine(str(suite), revision)
    assert found.order_checked == row
    assert {each.name for each in found.revisions} == {*row, "main"}
    assert found.findings == ()


@pytest.mark.parametrize(("revision", "other"), [("step0", "step1"), ("step3000", "step2")])
def test_a_swap_is_found_at_either_end(suite: Path, revision: str, other: str) -> None:
    for old, new in ((revision, "aside"), (other, revision), ("aside", other)):
        (suite / old).rename(suite / new)
    assert "out_of_order" in {kind for kind, _ in _kinds(examine(str(suite), revision))}


@pytest.mark.parametrize(("one", "other"), [("step1000", "step2000"), ("step4", "step3000"), ("step2", "step1000")])
def test_swapped_revisions_are_found(suite: Path, one: str, other: str) -> None:
    for old, new in ((one, "aside"), (other, one), ("aside", other)):
        (suite / old).rename(suite / new)
    found = examine(str(suite))
    assert {kind for kind, _ in _kinds(found)} - {"identical"} == {"out_of_order"}
    named = {name for kind, names in _kinds(found) if kind == "out_of_order" for name in names}
    assert {one, other} <= named


def test_another_configuration_is_found(suite: Path) -> None:
    (suite / "step4" / "config.json").write_text(json.dumps({"hidden_act": "relu"}))
    assert _kinds(examine(str(suite))) == [("other_config", ("step4",))]


def test_a_distance_is_the_euclidean_one(suite: Path) -> None:
    one, other = (load_file(suite / name / "model.safetensors") for name in ("step0", "step8"))
    apart = torch.cat([(one[key] - other[key]).flatten().double() for key in one]).norm()
    assert distance(suite / "step0", suite / "step8") == pytest.approx(float(apart), rel=1e-6)


def test_what_cannot_be_examined_is_one_line(suite: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"step9: .*suite has no such one; did you mean step8"):
        examine(str(suite), "step9")
    with pytest.raises(BadInputError, match="has no revisions to compare"):
        examine(str(suite / "step8"))
    weights = suite / "step8" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    with pytest.raises(BadInputError, match=r"step8/model.safetensors: is no safetensors file, or cut off"):
        examine(str(suite))


def test_the_command_says_what_it_looked_at_and_exits_by_what_it_found(suite: Path) -> None:
    clean = CliRunner().invoke(app, ["doctor", str(suite)])
    assert (clean.exit_code, clean.stdout) == (
        0,
        "looked at the weights of 9 revisions and the order of 9: nothing found\n",
    )
    shutil.copy(suite / "step0" / "model.safetensors", suite / "step1" / "model.safetensors")
    found = CliRunner().invoke(app, ["doctor", str(suite), "--revision", "step1", "--format", "json"])
    assert found.exit_code == 1
    assert Diagnosis.model_validate_json(found.stdout).findings[0].kind == "identical"

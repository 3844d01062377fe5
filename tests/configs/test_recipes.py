"""What was published of how models were trained."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs import presets, recipes
from configs.benchmarks import benchmark_rules
from configs.errors import BadInputError
from configs.recipes import KnownRecipe, recipe_of_hub_id, recipe_of_preset, recipe_of_shape
from configs.schema import ScheduleConfig
from train.schedule import learning_rate_factor, warmup_steps


def _known() -> Iterator[KnownRecipe]:
    for recipe in recipes.recipes():
        for name in recipe.models:
            known = recipe_of_preset(name)
            assert known is not None
            yield known


def test_tokens_are_those_that_the_presets_say_were_published() -> None:
    for known in _known():
        published = presets.architecture_preset(known.name).published
        if published is not None and published.tokens is not None:
            assert known.recipe.tokens == published.tokens, known.name
            assert known.steps * known.batch_tokens == pytest.approx(published.tokens, rel=1e-5), known.name


def test_rows_are_no_longer_than_the_models_context_and_every_id_is_of_one_model() -> None:
    ids: list[str] = []
    for known in _known():
        assert known.recipe.sequence_length <= presets.architecture(known.name).context
        ids += known.model.hub
    assert len(set(ids)) == len(ids)


def test_pythia_has_its_154_revisions_of_2_097_152_tokens_a_step() -> None:
    known = recipe_of_hub_id("EleutherAI/pythia-160m-deduped")
    assert known is not None
    assert known.batch_tokens == 2_097_152
    assert len(known.revision_steps) == 154
    assert known.revision_steps[:5] == (0, 1, 2, 4, 8)
    assert known.revision_steps[10:13] == (512, 1000, 2000)
    assert known.revision_steps[-1] == known.steps == 143_000


def test_the_seeds_of_polypythias_are_controls_of_the_five_small_originals_alone() -> None:
    sizes = {known.name for known in _known() if known.model.seeds}
    assert sizes == {f"pythia-{size}" for size in ("14m", "31m", "70m", "160m", "410m")}
    known = recipe_of_hub_id("EleutherAI/pythia-14m")
    assert known is not None
    controls = known.controls("EleutherAI/pythia-14m")
    assert controls == tuple(f"EleutherAI/pythia-14m-seed{n}" for n in range(1, 10))
    assert known.controls("EleutherAI/pythia-70m-deduped") == ()  # of another corpus
    seed = recipe_of_hub_id(controls[3])
    assert seed is not None
    assert seed.recipe == known.recipe


def test_one_seed_of_the_suite_has_the_nine_others_as_controls_and_not_itself() -> None:
    known = recipe_of_hub_id("EleutherAI/pythia-14m-seed3")
    assert known is not None
    others = known.controls("EleutherAI/pythia-14m-seed3")
    runs = {"EleutherAI/pythia-14m", *(f"EleutherAI/pythia-14m-seed{n}" for n in range(1, 10))}
    assert len(others) == len(set(others)) == 9
    assert {*others} == runs - {"EleutherAI/pythia-14m-seed3"}
    assert known.controls("EleutherAI/pythia-14m-seed10") == ()


def test_what_of_pythia_is_one_models_own() -> None:
    """By EleutherAI/pythia@a19eecb: README.md (Models, Erata), models/1B/*.yml, and its issues 135 and 171."""
    trained = {hub_id: recipe_of_hub_id(hub_id) for known in _known() for hub_id in known.model.hub}
    bf16 = {hub_id for hub_id, known in trained.items() if known and known.precision == "bf16"}
    assert bf16 == {"EleutherAI/pythia-1b"}
    scaled = {known.name for known in trained.values() if known and known.model.initialise == "scaled_normal"}
    assert scaled == {"pythia-6.9b", "pythia-12b"}
    conflicting = recipe_of_hub_id("EleutherAI/pythia-1b")
    assert conflicting is not None
    assert any("3e-4" in note and "2.5e-4" in note for note in conflicting.notes)


# Where lm-eval 0.4 keeps the tasks that recipes name: reading all of its fourteen thousand takes nine seconds.
TASK_FOLDERS = ("anli", "arc", "glue", "hellaswag", "lambada", "logiqa", "openbookqa", "piqa", "race", "sciq")
TASK_FOLDERS += ("super_glue", "winogrande", "wsc273")


def test_lm_eval_has_every_task_and_counts_it_by_the_metric_that_decides() -> None:
    import lm_eval
    from lm_eval.tasks import TaskManager

    root = Path(lm_eval.__file__).parent / "tasks"
    manager = TaskManager(include_path=[root / name for name in TASK_FOLDERS], include_defaults=False)
    for recipe in recipes.recipes():
        assert len({*recipe.tasks}) == len(recipe.tasks)
        for task in recipe.tasks:
            metrics = {entry["metric"] for entry in manager.task_index[task].cfg["metric_list"]}
            assert benchmark_rules().metric(task, metrics) in {"acc", "acc_norm", "em"}, task


def test_gpt3s_learning_rate_rises_over_375e6_tokens_and_falls_over_260e9_of_300e9() -> None:
    known = recipe_of_preset("gpt3-125m")
    assert known is not None
    schedule = ScheduleConfig(
        kind=known.recipe.schedule,
        warmup_fraction=known.warmup_fraction,
        final_fraction=known.recipe.final_fraction,
        horizon_steps=known.horizon_steps,
    )
    assert warmup_steps(schedule, known.steps) * known.batch_tokens == pytest.approx(375e6, rel=1e-3)
    assert known.horizon_steps * known.batch_tokens == pytest.approx(260e9, rel=1e-5)
    at = [learning_rate_factor(schedule, step, known.steps) for step in (known.horizon_steps, known.steps - 1)]
    assert at == pytest.approx([0.1, 0.1])
    assert learning_rate_factor(schedule, known.horizon_steps // 2, known.steps) > 0.5


@pytest.mark.parametrize(("preset", "found"), [("pythia-70m", "pythia-70m"), ("opt-350m", "opt-350m")])
def test_a_shape_is_recognised(preset: str, found: str) -> None:
    known = recipe_of_shape(presets.architecture(preset))
    assert known is not None
    assert (known.name, known.by) == (found, "shape")


def test_what_is_one_ids_own_is_not_taken_for_a_shape_that_its_twin_has_too() -> None:
    """A local copy of pythia-1b may be the deduplicated one, which was trained in fp16."""
    known = recipe_of_shape(presets.architecture("pythia-1b"))
    assert known is not None
    assert known.hub_id is None
    assert known.precision == "fp16"
    assert known.origin("precision") == known.recipe.sources["precision"]
    assert "EleutherAI/pythia-1b in bf16, EleutherAI/pythia-1b-deduped in fp16; fp16 is taken" in known.notes[-1]
    alone = recipe_of_shape(presets.architecture("opt-350m"))
    assert alone is not None
    assert alone.hub_id == "facebook/opt-350m"


def test_a_shape_whose_weights_were_never_published_is_not_recognised() -> None:
    assert recipe_of_shape(presets.architecture("gpt3-1.3b")) is None


def _without_origin(tree: dict[str, Any]) -> None:
    del tree["sources"]["schedule"]


def _two_warm_ups(tree: dict[str, Any]) -> None:
    tree["warmup_tokens"] = 5


def _own_precision_without_origin(tree: dict[str, Any]) -> None:
    del tree["models"]["pythia-1b"]["sources"]


def _precision_of_a_stranger(tree: dict[str, Any]) -> None:
    tree["models"]["pythia-1b"]["precision"] = {"EleutherAI/pythia-1B": "bf16"}


def _initialisation_that_nothing_does(tree: dict[str, Any]) -> None:
    del tree["models"]["pythia-12b"]["initialise"]


def _unknown_preset(tree: dict[str, Any]) -> None:
    tree["models"]["pythia-3b"] = tree["models"]["pythia-14m"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without_origin, "schedule needs an entry in sources or in stand_ins"),
        (_two_warm_ups, "needs warmup_fraction or warmup_tokens, and not both"),
        (_own_precision_without_origin, "its own precision needs an entry in its sources"),
        (_precision_of_a_stranger, "EleutherAI/pythia-1B is none of the ids in hub"),
        (_initialisation_that_nothing_does, "needs both initialisation and initialise, or neither"),
        (_unknown_preset, "models.pythia-3b: no such architecture preset"),
    ],
)
def test_a_recipe_without_an_origin_is_refused(
    damage: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = yaml.safe_load((recipes.DIRECTORY / "pythia.yaml").read_text())
    tree = json.loads(json.dumps(tree).replace('"1e-3"', "1e-3"))  # plain YAML 1.1 reads these as text
    damage(tree)
    (tmp_path / "pythia.yaml").write_text(json.dumps(tree))
    monkeypatch.setattr(recipes, "DIRECTORY", tmp_path)
    recipes.recipes.cache_clear()
    try:
        with pytest.raises(BadInputError, match=message):
            recipes.recipes()
    finally:
        recipes.recipes.cache_clear()

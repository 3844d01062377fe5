"""`replibench init`: what it writes can be run, and says what it rests on."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file
from tokenizers import Tokenizer
from typer.testing import CliRunner

from configs.errors import BadInputError
from configs.loader import load_config
from configs.recipes import recipe_of_preset, recipes
from configs.schema import FilesData
from scripts.cli import app
from scripts.fetch import collect
from scripts.init import start
from scripts.init_file import written
from scripts.stages import judge
from tests.eval.lm_eval_directory import edit_results, write_lm_eval
from tests.shared_data import SHARED, needs_shared_data
from tests.train.tiny import ARCHITECTURES, tiny_config
from train import offline
from train.corpus.tokenizer import train_tokenizer
from train.model import build, full_config
from train.prepare import prepare_run
from train.reference import load_reference

SMALL = (
    "data={source: tinyworld, documents: 3000, held_out_documents: 60}",
    *("train.steps=50", "train.sequence_length=32"),
)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained tiny model of no known recipe, and a tokenizer."""
    directory = tmp_path_factory.mktemp("reference")
    prepare_run(tiny_config(directory), directory / "run", lambda text: None)
    target = directory / "original"
    build(full_config(ARCHITECTURES["gpt_neox"]), seed=1, device="cpu").save_pretrained(target)
    shutil.copyfile(directory / "run" / "data" / "tokenizer.json", target / "tokenizer.json")
    return target


def _written(directory: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["init", *arguments, "--output", str(directory / "run.yaml")])
    assert done.exit_code == 0, done.stderr
    assert done.stdout.strip() == str(directory / "run.yaml")
    return (directory / "run.yaml").read_text(encoding="utf-8")


def test_what_it_writes_is_prepared_with_an_identical_architecture(reference: Path, tmp_path: Path) -> None:
    text = _written(tmp_path, str(reference))
    assert "No recipe of this model is known" in text
    assert "CPU cores: at least" in text or "accelerator-hours" in text or "no estimate" in text
    config = load_config(tmp_path / "run.yaml", SMALL)
    assert set(config.reference_sha256) == {"config.json", "tokenizer.json", "model.safetensors"}
    manifest = prepare_run(config, tmp_path / "run", lambda text: None)
    assert manifest.identity is not None
    assert manifest.identity.identical
    assert manifest.reference is not None
    assert manifest.reference.sha256 == config.reference_sha256


def test_the_budget_without_a_recipe_is_20_tokens_a_parameter(reference: Path, tmp_path: Path) -> None:
    _written(tmp_path, str(reference))
    train = load_config(tmp_path / "run.yaml").train
    parameters = sum(p.numel() for p in build(full_config(ARCHITECTURES["gpt_neox"]), 0, "meta").parameters())
    tokens = train.steps * train.global_batch_rows * train.sequence_length
    assert tokens == pytest.approx(20 * parameters, rel=1e-3)


def test_a_reference_that_changed_since_is_refused(reference: Path, tmp_path: Path) -> None:
    copy = tmp_path / "original"
    shutil.copytree(reference, copy)
    _written(tmp_path, str(copy))
    build(full_config(ARCHITECTURES["gpt_neox"]), seed=2, device="cpu").save_pretrained(copy)
    config = load_config(tmp_path / "run.yaml", SMALL)
    with pytest.raises(BadInputError, match=r"reference_sha256.model.safetensors: [0-9a-f]{12}… is pinned, but .* has"):
        prepare_run(config, tmp_path / "run", lambda text: None)


def _opt_as_its_repository(directory: Path) -> None:
    """A tiny OPT as facebook/opt-125m is: pickled weights, vocab.json and merges.txt."""
    tokenizer = json.loads(train_tokenizer(["The old house by the sea, isn't it? "] * 20, 300).to_str())["model"]
    learned = [token for token in tokenizer["vocab"] if token != "<|endoftext|>"]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *learned, "<|endoftext|>"]
    model = build(full_config(ARCHITECTURES["opt"] | {"eos_token_id": 2}), seed=1, device="cpu")
    model.config.save_pretrained(directory)
    torch.save(model.state_dict(), directory / "pytorch_model.bin")
    (directory / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (directory / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, tokenizer["merges"])]))
    special = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}
    (directory / "special_tokens_map.json").write_text(json.dumps(special))
    own = {"add_bos_token": True, "add_prefix_space": False, "tokenizer_class": "GPT2Tokenizer"}
    (directory / "tokenizer_config.json").write_text(json.dumps(own | special))


def test_the_command_of_a_refusal_converts_weights_and_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = tmp_path / "it's an opt"
    original.mkdir()
    _opt_as_its_repository(original)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInputError, match=r"pytorch_model.bin is pickled, which can run code") as caught:
        start(str(original), None, None)
    assert "\n" not in str(caught.value)
    command = shlex.split("python -c" + str(caught.value).partition("python -c")[2])
    assert command[:2] == ["python", "-c"]
    assert len(command) == 3
    exec(command[2], {})
    converted = tmp_path / "it's an opt-safetensors"
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= load_reference(str(converted)).facts.sha256.keys()
    stored, pickled = load_file(converted / "model.safetensors"), torch.load(original / "pytorch_model.bin")
    assert stored
    assert all(torch.equal(tensor, pickled[name]) for name, tensor in stored.items())
    tokenizer = Tokenizer.from_file(str(converted / "tokenizer.json"))
    assert tokenizer.get_vocab() == json.loads((original / "vocab.json").read_text())
    assert tokenizer.encode("house by</s>", add_special_tokens=False).ids[-1] == 2
    (converted / "tokenizer.json").rename(original / "tokenizer.json")
    with pytest.raises(BadInputError, match=r"no tokenizer.json in it; where it is trusted, this makes it's an"):
        load_reference(str(converted))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tokenizer_config.json", "reference_sha256.tokenizer_config.json: is not pinned, but .* is there"),
        ("special_tokens_map.json", "reference_sha256.special_tokens_map.json: is not pinned"),
        ("added_tokens.json", "reference_sha256.added_tokens.json: is not pinned"),
        ("adapter_config.json", "adapter_config.json: transformers would load an adapter on top of the weights"),
    ],
)
def test_a_file_that_came_to_a_pinned_reference_is_refused(
    name: str, message: str, reference: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "original"
    shutil.copytree(reference, copy)
    pinned = load_reference(str(copy)).facts.sha256
    (copy / name).write_text("{}")
    with pytest.raises(BadInputError, match=message) as caught:
        load_reference(str(copy), pinned=pinned)
    assert "\n" not in str(caught.value)
    if name != "adapter_config.json":  # and is pinned where it was there at first
        again = load_reference(str(copy)).facts.sha256
        assert load_reference(str(copy), pinned=again).facts.sha256 == again
        assert name in again


def test_one_seed_of_a_suite_has_the_others_as_controls_and_not_itself(
    reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the hub's cache on this machine, as huggingface_hub lays it out."""
    repository = tmp_path / "hub" / "models--EleutherAI--pythia-14m-seed3"
    shutil.copytree(reference, repository / "snapshots" / ("c" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("c" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    _written(tmp_path, "EleutherAI/pythia-14m-seed3")
    config = load_config(tmp_path / "run.yaml")
    assert config.revision == "c" * 40
    names = {"pythia-14m", *(f"pythia-14m-seed{n}" for n in range(1, 10))} - {"pythia-14m-seed3"}
    assert {*config.controls} == {f"EleutherAI/{name}" for name in names}


def test_the_choices_of_data_are_shown_and_each_can_be_taken(tmp_path: Path) -> None:
    text = written(start("pythia-14m", None, None), "", None, here=False)[1]
    assert "  held_out_fraction: 0.005  #" in text
    chosen = text
    for line in ("hygiene: {}", "order: stored"):
        assert f"  # {line}  #" in text
        chosen = chosen.replace(f"  # {line}", f"  {line}")
    (tmp_path / "run.yaml").write_text(chosen)
    data = load_config(tmp_path / "run.yaml").data
    assert isinstance(data, FilesData)
    assert data.hygiene is not None
    assert data.order == "stored"


EVERY_MODEL = [name for recipe in recipes() for name in recipe.models]


@pytest.mark.parametrize("name", EVERY_MODEL)
def test_every_model_of_every_recipe_has_a_run_that_loads_and_says_what_is_not_known(name: str, tmp_path: Path) -> None:
    known = recipe_of_preset(name)
    assert known is not None
    _, text = written(start(name, None, None), "", None, name=name, here=False)
    (tmp_path / "run.yaml").write_text(text)
    config = load_config(tmp_path / "run.yaml")
    train = config.train
    assert train.optimizer.learning_rate == known.model.learning_rate
    assert train.global_batch_rows * train.sequence_length == known.batch_tokens
    assert train.initialisation == known.model.initialise
    assert config.evaluation.tasks == known.recipe.tasks
    plain = " ".join(line.removeprefix("#").strip() for line in text.splitlines())
    for note in (*known.notes, known.recipe.left_out):
        assert " ".join(note.split()) in plain
    said = dict(re.findall(r"^ +(\w+): .*?  # (.*)$", text, re.MULTILINE))
    parts = {"precision": known.precision, "initialisation": known.initialisation}
    for key, fact in parts.items():
        assert known.origin(key) in said[key]  # type: ignore[arg-type]
        assert (fact or "not published") in said[key]
    for key in ("steps", "micro_batch_size", "learning_rate", "betas", "kind", "tasks"):
        assert re.search(r"20\d\d|[A-Za-z]+/[a-z0-9-]+[@:]", said[key]), (key, said[key])


def test_a_revision_is_trained_by_the_schedule_of_the_whole() -> None:
    _, text = written(start("pythia-70m", "step1000", None), "", None, here=False)
    assert "horizon_steps: 143000" in text
    found = start("pythia-70m", "step1000", None)
    assert found.budget.tokens == 1000 * 2_097_152
    assert "compared at the same tokens" in text


def test_scaled_down_says_what_changes_and_how_much_higher_the_loss_will_be() -> None:
    """GPT-3 XL is within the published runs, so the law speaks; Pythia-14M is below them, so it does not."""
    name, text = written(start("gpt3-1.3b", None, 0.1), "", None, here=False)
    plain = " ".join(line.removeprefix("#").strip() for line in text.splitlines())
    assert name == "gpt3-1.3b-x0.1"
    assert "steps: 28610  #" in text
    assert "horizon_steps: 24796  #" in text
    assert "nats a token above that of the whole budget" in plain
    small = " ".join(written(start("pythia-14m", None, 0.001), "", None, here=False)[1].replace("#", "").split())
    assert "steps: 143 0.001 of the original's 143,000" in small
    assert "the law of published runs does not reach so far down" in small


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["init", "nobody/nothing"],
            3,
            "nobody/nothing: is not in the hub's cache on this machine, and HF_HUB_OFFLINE",
        ),
        (["init", "./nowhere"], 2, "./nowhere: no such directory, and a hub id has an owner"),
        (["init", "pythia-14n"], 2, "no preset of a known recipe, either; did you mean pythia-14m"),
        (["doctor", "nowhere"], 2, "nowhere: no such directory, and not a hub id"),
        (["init", "empty"], 2, "empty: no config.json in it"),
        (["init", "pickled"], 2, "pytorch_model.bin is pickled, which can run code and is never loaded"),
        (
            ["init", "suite", "--revision", "step2"],
            2,
            "revision: step2: suite has no such subdirectory; did you mean step1",
        ),
        (["init", "pythia-70m", "--revision", "step1500"], 2, "EleutherAI/pythia-70m has no such one; did you mean"),
        (["init", "pythia-70m", "--revision", "step0"], 2, "step0 is the untrained model"),
        (["init", "suite", "--revision", "step1"], 2, "how many tokens that is cannot be said"),
        (["init", "pythia-70m", "--scale-down", "2"], 2, "--scale-down: 2 is not a share"),
        (["init", "pythia-70m", "--revision", "step1", "--scale-down", ".1"], 2, "--scale-down: the budget is that of"),
        (["init", "gpt3-125m", "--revision", "step1"], 2, "the weights of gpt3-125m were never published"),
        (["init", "gpt3-125m", "--cluster", "8xh1000"], 2, "--cluster: 8xh1000: unknown accelerator"),
        (["init", "gpt3-125m", "--output", "empty"], 2, "--output empty: is a directory"),
        (["fetch", "smoke", "--to", "file"], 2, "--to file: is a file; name a directory"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], code: int, message: str, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for name in ("pickled", "suite/step1"):
        shutil.copytree(reference, tmp_path / name)
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == code, done.output
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_fetch_brings_a_model_whole_and_offline_reads_it_alone(reference: Path, tmp_path: Path) -> None:
    """From a bundle into another, as from the hub: nothing else is asked where `offline` is set."""
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(reference, offline.model_place(first, "org/model", "step1"))
    top = {"reference": "org/model", "revision": "step1", "architecture": {}}
    lines = list(collect(tiny_config(tmp_path, "gpt_neox", offline=str(first), **top), second, lambda text: None))
    assert lines[0].startswith("reference: org/model, 3 files with their sha256 in ")
    found = load_reference("org/model", "step1", bundle=str(second))
    assert found.facts.sha256 == load_reference(str(reference)).facts.sha256
    manifest = prepare_run(tiny_config(tmp_path, "gpt_neox", offline=str(second), **top), tmp_path / "run", print)
    assert manifest.identity is not None
    assert manifest.identity.identical
    missing = tiny_config(tmp_path, "gpt_neox", offline=str(second), **{**top, "revision": "step2"})
    with pytest.raises(
        BadInputError, match=r"has no org/model at step2 .*`replibench fetch CONFIG --to DIR` brings it"
    ):
        prepare_run(missing, tmp_path / "other", print)


def test_the_verdict_of_a_revision_warns_of_controls_at_another(reference: Path, tmp_path: Path) -> None:
    """Of a hub id; a directory's revision is nothing that lm-eval would have recorded."""
    shutil.copytree(reference, offline.model_place(tmp_path, "org/model", "step1"))
    top = {"reference": "org/model", "revision": "step1", "architecture": {}}
    control = write_lm_eval(tmp_path / "control", {"piqa": [True] * 30 + [False] * 10}, seed=3)
    edit_results(control, config={"model_args": "pretrained=org/seed,revision=main", "limit": None})
    config = tiny_config(tmp_path, offline=str(tmp_path), controls={"seed": str(control)}, **top)
    prepare_run(config, tmp_path / "run", print)
    for seed, side in enumerate(("original", "replica")):
        write_lm_eval(
            tmp_path / "run" / "eval" / side, {"piqa": [True] * (28 + seed) + [False] * (12 - seed)}, seed=seed
        )
    said = f"control {control}: is of revision main, and the original is of step1: "
    assert sum(line.startswith(said) for line in judge(config, tmp_path / "run").warnings) == 1
    local = config.model_copy(update={"reference": str(reference)})
    assert not [line for line in judge(local, tmp_path / "run").warnings if line.startswith("control ")]


def test_two_fetches_of_one_model_do_not_disturb_each_other(
    reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second begins and ends while the first copies."""
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(reference, offline.model_place(first, "org/model", "step1"))
    top = {"reference": "org/model", "revision": "step1", "architecture": {}}
    config = tiny_config(tmp_path, "gpt_neox", offline=str(first), **top)
    copy, waiting = shutil.copyfile, [True]

    def interrupted(source: Path, target: Path) -> None:
        copy(source, target)
        if waiting and waiting.pop():
            list(collect(config, second, lambda text: None))

    monkeypatch.setattr(shutil, "copyfile", interrupted)
    list(collect(config, second, lambda text: None))
    place = offline.model_place(second, "org/model", "step1")
    assert not waiting
    assert {path.name for path in place.iterdir()} >= {path.name for path in reference.iterdir()}
    assert list(place.parent.iterdir()) == [place]


@needs_shared_data
def test_a_real_model_of_no_known_recipe(tmp_path: Path) -> None:
    """stories260K: pinned by the bytes that its SOURCE.md's conversion gave."""
    text = _written(tmp_path, str(SHARED / "checkpoints" / "stories260K" / "hf"))
    config = load_config(tmp_path / "run.yaml")
    assert "for 260,032 parameters" in text.replace("\n# ", " ")
    assert (
        config.train.sequence_length
        == json.loads((SHARED / "checkpoints" / "stories260K" / "hf" / "config.json").read_text())[
            "max_position_embeddings"
        ]
    )

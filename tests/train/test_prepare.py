"""Bad input is found before anything runs, and said in one line."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from configs.errors import BadInputError, WorkFailedError
from configs.files import read_record
from configs.loader import load_config
from configs.presets import PRESETS
from configs.schema import RunConfig
from tests.train.tiny import ARCHITECTURES, tiny_config
from train.model import build, full_config
from train.prepare import prepare_run, recipe_of, tokenizer_sha256
from train.record import Manifest
from train.reference import compare_configs


def _prepare(config: RunConfig, run_dir: Path) -> Manifest:
    return prepare_run(config, run_dir, lambda text: None)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reference directory: an untrained tiny model and the tokenizer of a prepared run."""
    directory = tmp_path_factory.mktemp("reference")
    _prepare(tiny_config(directory), directory / "run")
    target = directory / "model"
    build(full_config(ARCHITECTURES["gpt_neox"]), seed=1, device="cpu").save_pretrained(target)
    shutil.copyfile(directory / "run" / "data" / "tokenizer.json", target / "tokenizer.json")
    return target


def _replica(directory: Path, reference: Path, *overrides: str) -> RunConfig:
    return tiny_config(directory, "gpt_neox", *overrides, reference=str(reference), architecture={})


def _edit(path: Path, **keys: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def test_the_manifest_pins_everything(reference: Path, tmp_path: Path) -> None:
    manifest = _prepare(_replica(tmp_path, reference), tmp_path / "run")
    assert manifest.identity is not None
    assert manifest.identity.identical
    assert manifest.reference is not None
    assert set(manifest.reference.sha256) == {"config.json", "tokenizer.json", "model.safetensors"}
    assert manifest.corpus.tokens < manifest.corpus.positions
    again = _prepare(_replica(tmp_path, reference), tmp_path / "again")
    assert again.corpus == manifest.corpus
    assert again.tokenizer_sha256 == manifest.tokenizer_sha256


def test_a_removed_layer_is_another_architecture_field_by_field(reference: Path, tmp_path: Path) -> None:
    config = _replica(tmp_path, reference, "architecture.num_hidden_layers=1")
    identity = _prepare(config, tmp_path / "run").identity
    assert identity is not None
    assert not identity.identical
    assert [(d.field, d.reference, d.replica) for d in identity.differences] == [("num_hidden_layers", 2, 1)]


def test_dropout_and_bookkeeping_are_no_architecture_but_everything_unknown_is() -> None:
    base = full_config(ARCHITECTURES["gpt_neox"]).to_dict()
    assert compare_configs(base, {**base, "hidden_dropout": 0.5, "transformers_version": "0"}).identical
    for key in ("use_parallel_residual", "hidden_act", "layer_norm_eps", "rope_parameters", "a_key_of_tomorrow"):
        assert not compare_configs(base, {**base, key: "changed"}).identical


def _no_weights(directory: Path) -> None:
    (directory / "model.safetensors").unlink()


def _a_pickle_beside_other_weights(directory: Path) -> None:
    """What transformers would take `pytorch_model.bin` from, whatever safetensors lie beside it."""
    torch.save(load_file(directory / "model.safetensors"), directory / "pytorch_model.bin")
    (directory / "model.safetensors").rename(directory / "other.safetensors")


def _a_shard_is_missing(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


def _no_config(directory: Path) -> None:
    (directory / "config.json").unlink()


def _no_tokenizer(directory: Path) -> None:
    (directory / "tokenizer.json").unlink()


def _other_family(directory: Path) -> None:
    _edit(directory / "config.json", model_type="mamba")


def _weights_of_another_size(directory: Path) -> None:
    _edit(directory / "config.json", intermediate_size=64)


def _broken_config(directory: Path) -> None:
    (directory / "config.json").write_text("{")


def _truncated_weights(directory: Path) -> None:
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_weights, r"no weights \(model.safetensors, or"),
        (_a_pickle_beside_other_weights, r"no weights \(model.safetensors, or"),
        (_a_shard_is_missing, r"no model-00002-of-00002.safetensors in it, which its index names"),
        (_no_config, r"no config.json"),
        (_no_tokenizer, r"no tokenizer.json"),
        (_other_family, r"model_type 'mamba' cannot be trained here; known: gpt2, gpt_neox, opt, llama"),
        (_weights_of_another_size, r"its weights are not of its config.json's architecture .*mlp"),
        (_broken_config, r"config.json: cannot be read"),
        (_truncated_weights, r"bad/\*.safetensors: cannot be read"),
    ],
)
def test_a_bad_reference_is_one_clear_line(damage: Any, message: str, reference: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(reference, bad)
    damage(bad)
    with pytest.raises(BadInputError, match=message) as caught:
        _prepare(_replica(tmp_path, bad), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_reference_that_is_nowhere(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such directory"):
        _prepare(_replica(tmp_path, tmp_path / "nowhere"), tmp_path / "run")
    config = tiny_config(tmp_path, "gpt_neox", reference="nobody/nothing", architecture={})
    message = r"nobody/nothing: .*HF_HUB_OFFLINE is set: unset it, or give a local directory"
    with pytest.raises(WorkFailedError, match=message):
        _prepare(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("data.documents=300",),
            r"data.documents: 300 documents make \d+ rows, but .* needs 400; set data.documents to",
        ),
        (("train.tensor_parallel_size=3",), r"train.tensor_parallel_size: 3 does not divide the 4 .*valid: 1, 2, 4"),
        (("train.vocab_parallel_head=true",), r"train.vocab_parallel_head: true splits nothing"),
        (("train.sequence_length=128",), r"train.sequence_length: 128 is beyond the model's context, 64"),
        (("architecture.vocab_size=400",), r"architecture.vocab_size: 400 is fewer than the tokenizer's \d+ tokens"),
    ],
)
def test_a_layout_or_corpus_that_cannot_work(overrides: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=message):
        _prepare(tiny_config(tmp_path, "gpt_neox", *overrides), tmp_path / "run")


def test_the_number_of_documents_that_the_error_names_is_enough(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        _prepare(tiny_config(tmp_path, "gpt_neox", "data.documents=300"), tmp_path / "run")
    enough = str(caught.value).split("data.documents to about ")[1].split(" ")[0].replace(",", "")
    _prepare(tiny_config(tmp_path, "gpt_neox", f"data.documents={enough}"), tmp_path / "enough")


def test_a_run_directory_of_another_config_is_left_alone(tmp_path: Path) -> None:
    _prepare(tiny_config(tmp_path), tmp_path / "run")
    before = (tmp_path / "run" / "config.yaml").read_text()
    with pytest.raises(BadInputError, match=r"holds a run of another config \(train.seed: 0 there, 9 here\)"):
        _prepare(tiny_config(tmp_path, "gpt_neox", "train.seed=9"), tmp_path / "run")
    assert (tmp_path / "run" / "config.yaml").read_text() == before
    # a stage after training may be asked for with other settings
    _prepare(tiny_config(tmp_path, "gpt_neox", "evaluation.items.facts=20"), tmp_path / "run")


def test_somebody_elses_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("x")
    with pytest.raises(BadInputError, match="has files in it and is no run directory"):
        _prepare(tiny_config(tmp_path), tmp_path / "thesis")
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["chapter1.tex"]


def test_a_reference_that_changed_since_is_noticed(reference: Path, tmp_path: Path) -> None:
    copy = tmp_path / "reference"
    shutil.copytree(reference, copy)
    _prepare(_replica(tmp_path, copy), tmp_path / "run")
    build(full_config(ARCHITECTURES["gpt_neox"]), seed=2, device="cpu").save_pretrained(copy)
    with pytest.raises(BadInputError, match="the reference is not what the run began with"):
        _prepare(_replica(tmp_path, copy), tmp_path / "run")


def test_the_held_out_documents_are_not_in_the_corpus(tmp_path: Path) -> None:
    from train.data import open_corpus
    from train.rows import PAD

    config = tiny_config(tmp_path)
    _prepare(config, tmp_path / "run")
    corpus = open_corpus(tmp_path / "run" / "data", config)
    trained_on = np.load(tmp_path / "run" / "data" / "train.npy")

    def documents(rows: Any) -> set[tuple[int, ...]]:
        found, current = set(), []
        for token in (int(t) for t in rows.flatten() if t != PAD):
            current.append(token)
            if token == 0:
                found.add(tuple(current))
                current = []
        return found

    held_out = documents(corpus.held_out)
    assert len(held_out) > 50
    assert not held_out & documents(trained_on)


def test_a_corpus_that_changed_under_a_run_is_noticed(tmp_path: Path) -> None:
    _prepare(tiny_config(tmp_path), tmp_path / "run")
    manifest = tmp_path / "run" / "manifest.json"
    stored = json.loads(manifest.read_text())
    stored["corpus"]["sha256"] = "0" * 64  # as if the generator had been another one
    manifest.write_text(json.dumps(stored))
    with pytest.raises(BadInputError, match="the corpus is not what the run began with"):
        _prepare(tiny_config(tmp_path), tmp_path / "run")


def test_a_directory_with_data_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine" / "data").mkdir(parents=True)
    (tmp_path / "mine" / "data" / "train.npy").write_bytes(b"precious")
    with pytest.raises(BadInputError, match="has files in it and is no run directory"):
        _prepare(tiny_config(tmp_path), tmp_path / "mine")
    assert (tmp_path / "mine" / "data" / "train.npy").read_bytes() == b"precious"


def test_a_preparation_that_was_cut_short_is_done_again_for_the_same_config_only(tmp_path: Path) -> None:
    first = _prepare(tiny_config(tmp_path), tmp_path / "run")
    (tmp_path / "run" / "config.yaml").unlink()  # killed between the manifest and the configuration
    assert _prepare(tiny_config(tmp_path), tmp_path / "run") == first
    (tmp_path / "run" / "config.yaml").unlink()
    with pytest.raises(BadInputError, match="the training configuration is not what the run began with"):
        _prepare(tiny_config(tmp_path, "gpt_neox", "train.seed=9"), tmp_path / "run")


def test_the_embedded_reference_says_by_which_recipe_it_was_trained() -> None:
    """So that a replica of the same recipe is a replication, and one of another is not."""
    reference = PRESETS / "references" / "tinyworld-434k"
    manifest = read_record(reference / "manifest.json", Manifest)
    # the tokenizer that it was exported with, which transformers has added to, is the one that it was trained with
    exported = json.loads((reference / "tokenizer.json").read_text(encoding="utf-8"))
    assert exported["post_processor"] is not None
    assert manifest.tokenizer_sha256 == tokenizer_sha256(exported)
    assert tokenizer_sha256(exported | {"model": {}}) != manifest.tokenizer_sha256
    assert manifest.recipe == recipe_of(load_config("tinyworld-reference")) == recipe_of(load_config("smoke"))
    halved = load_config("smoke", ["train.steps=1400"])
    assert recipe_of(halved) != manifest.recipe

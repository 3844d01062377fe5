"""Model extraction: the loss is KL, its gradient is right, it teaches, and it does not depend on the layout."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy, softmax
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, GenerationConfig

from accounting.flops import flop_ledger
from configs.errors import BadInputError
from configs.files import read_record
from configs.schema import RunConfig
from eval.mechanism import Origin, mechanism
from eval.verdict import LiteralLayer
from tests.distributed import run_distributed, train_worker
from tests.train.corpus.texts import stories, write_stories
from tests.train.tiny import ARCHITECTURES, losses, tiny_config, train_tiny
from train.corpus.hygiene import is_held_out
from train.corpus.indexed import open_indexed
from train.data import open_corpus
from train.distillation import Teacher, summed_divergence
from train.extraction import GeneratedText
from train.model import build, full_config
from train.prepare import prepare_run, recipe_of
from train.record import Manifest, RunRecord

DISTILLATION = ("train.objective=distillation", "train.steps=30")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with sharp distributions (large weights), and the tokenizer of a prepared run."""
    directory = tmp_path_factory.mktemp("reference")
    prepare_run(tiny_config(directory), directory / "run", lambda text: None)
    model = build(full_config(ARCHITECTURES["gpt_neox"]), seed=5, device="cpu")
    with torch.no_grad():
        model.get_output_embeddings().weight *= 3
    model.save_pretrained(directory / "model")
    shutil.copyfile(directory / "run" / "data" / "tokenizer.json", directory / "model" / "tokenizer.json")
    return directory / "model"


def _config(directory: Path, reference: Path, *overrides: str) -> RunConfig:
    overrides = (*DISTILLATION, *overrides)
    return tiny_config(directory, "gpt_neox", *overrides, reference=str(reference), architecture={})


@pytest.fixture(scope="module")
def one_process(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("one")
    train_tiny(directory / "run", _config(directory, reference))
    return directory / "run"


def _logits(*shape: int, seed: int) -> torch.Tensor:
    return 3 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_loss_and_its_gradient_are_those_of_the_definition(temperature: float) -> None:
    """KL = Σ p·log(p/q), and its gradient by the logits (q − p)/T; padded tokens have none."""
    ours, theirs = _logits(2, 5, 7, seed=1).requires_grad_(), _logits(2, 5, 7, seed=2)
    labels = torch.tensor([[1, 2, 3, -100, -100], [0, 6, 5, 4, -100]])
    loss = summed_divergence(ours, theirs, labels, temperature)
    loss.backward()
    p, q = softmax(theirs / temperature, -1), softmax(ours.detach() / temperature, -1)
    kept = (labels != -100).unsqueeze(-1)
    assert loss.item() == pytest.approx(float(temperature**2 * (p * (p / q).log() * kept).sum()), rel=1e-12)
    torch.testing.assert_close(ours.grad, temperature * (q - p) * kept, rtol=1e-10, atol=1e-12)


def test_at_temperature_one_it_is_soft_cross_entropy_less_entropy() -> None:
    ours, theirs, labels = _logits(3, 4, 11, seed=3), _logits(3, 4, 11, seed=4), torch.zeros(3, 4, dtype=torch.long)
    p = softmax(theirs, -1)
    soft = cross_entropy(ours.flatten(0, 1), p.flatten(0, 1), reduction="sum")
    entropy = -(p * p.log()).sum()
    assert float(summed_divergence(ours, theirs, labels, 1.0)) == pytest.approx(float(soft - entropy), rel=1e-12)
    assert float(summed_divergence(theirs, theirs, labels, 2.0)) == 0


def test_a_replica_that_is_the_teacher_has_nothing_to_learn(reference: Path) -> None:
    teacher = Teacher(reference, 1.0, torch.device("cpu"), torch.float32, compiled=False)
    model = AutoModelForCausalLM.from_pretrained(reference)
    ids = torch.arange(2 * 20).reshape(2, 20) * 7 % 512
    taught = teacher.logits(ids)
    assert not taught.requires_grad
    loss = teacher.summed_loss(model(input_ids=ids).logits, taught, ids)
    assert loss.item() == pytest.approx(0, abs=1e-5)
    loss.backward()
    assert all(float(p.grad.abs().max()) < 1e-4 for p in model.parameters() if p.grad is not None)


def test_the_replica_comes_near_the_teacher(one_process: Path) -> None:
    logged = losses(one_process)
    assert len(logged) == 30
    assert 0 < logged[-1] < 0.7 * logged[0]
    run = read_record(one_process / "run.json", RunRecord)
    assert run.objective == "distillation"
    assert run.time.teacher_s is not None
    assert run.time.teacher_s > 0


@pytest.mark.parametrize(
    "layout",
    [
        ("train.tensor_parallel_size=2",),
        ("train.data_parallel_size=2", "train.micro_batch_size=4", "train.zero_stage=3"),
        ("train.micro_batch_size=2", "train.gradient_accumulation_steps=4"),
    ],
    ids=["tensor parallel", "ZeRO-3", "accumulation"],
)
def test_losses_and_weights_do_not_depend_on_the_layout(
    layout: tuple[str, ...], one_process: Path, reference: Path, tmp_path: Path
) -> None:
    train_tiny(tmp_path / "run", _config(tmp_path, reference, *layout))
    assert losses(tmp_path / "run") == pytest.approx(losses(one_process), abs=1e-5)
    ours, theirs = (load_file(run / "replica/model.safetensors") for run in (tmp_path / "run", one_process))
    for name, tensor in ours.items():
        if not name.endswith("query_key_value.bias"):  # softmax ignores a shift of the keys: Adam's steps are noise
            torch.testing.assert_close(tensor, theirs[name], atol=2e-4, rtol=0, msg=name)


def _train_compiled(run_dir: Path) -> None:
    """As the worker does, but the models compiled down to autograd's graphs only: their C++ takes minutes to build."""
    whole = torch.nn.Module.compile
    torch.nn.Module.compile = lambda module: whole(module, backend="aot_eager")  # type: ignore[method-assign]
    train_worker(run_dir)


def test_compiled_is_the_same_training(one_process: Path, reference: Path, tmp_path: Path) -> None:
    prepare_run(_config(tmp_path, reference, "train.compile=true"), tmp_path / "run", lambda text: None)
    run_distributed(_train_compiled, 1, tmp_path / "run")
    assert losses(tmp_path / "run") == pytest.approx(losses(one_process), abs=1e-5)


def test_the_teachers_flops_are_what_torch_counts(one_process: Path, reference: Path) -> None:
    run = read_record(one_process / "run.json", RunRecord)
    model = AutoModelForCausalLM.from_pretrained(reference, attn_implementation="eager")  # SDPA is not counted on a CPU
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=torch.zeros((8, 32), dtype=torch.long))
    assert run.flops.teacher_forward_flop == 30 * counter.get_total_flops()
    assert run.flops.hardware_flop == run.flops.model_flop + run.flops.teacher_forward_flop
    plain = flop_ledger(run.architecture, run.tokens, 32)
    assert run.flops.model_flop == plain.model_flop
    assert plain.teacher_forward_flop == 0
    assert run.mfu is not None
    assert run.hfu == pytest.approx(run.mfu * run.flops.hardware_flop / run.flops.model_flop)
    twice = flop_ledger(run.architecture, run.tokens, 32, teacher=run.architecture, teacher_copies=2)
    assert twice.teacher_forward_flop == 2 * run.flops.teacher_forward_flop


def test_manifest_recipe_and_mechanism_say_so(one_process: Path) -> None:
    manifest = read_record(one_process / "manifest.json", Manifest)
    assert manifest.extraction is not None
    assert (manifest.extraction.source, manifest.extraction.temperature) == ("logits", 1.0)
    assert manifest.recipe is not None
    assert manifest.recipe["train.objective"] == "distillation"
    original = {key: value for key, value in manifest.recipe.items() if "objective" not in key and "distil" not in key}
    trained = manifest.model_copy(update={"recipe": original, "extraction": None, "reference": None})
    word, why = mechanism([Origin(manifest, trained, one_process)], LiteralLayer(verdict="pass"), one_process)
    assert word == "replication by model extraction"
    assert why.endswith("the original's own outputs: its logits, at temperature 1")
    word, _ = mechanism([Origin(manifest, trained, one_process)], LiteralLayer(verdict="fail"), one_process)
    assert word == "not a replication"


def test_it_is_another_recipe_and_another_run(reference: Path, tmp_path: Path) -> None:
    plain = _config(tmp_path, reference, "train.objective=language_modelling")
    text, fewer, seeded = (
        _config(tmp_path, reference, *TEXT, *more)
        for more in ((), ("train.distillation.documents=299",), ("train.distillation.seed=3",))
    )
    assert recipe_of(text) == recipe_of(seeded)
    assert recipe_of(text) == {**recipe_of(fewer), "train.distillation.documents": 300}
    assert "train.distillation.documents" not in recipe_of(_config(tmp_path, reference))  # whose logits are learned
    warmer = _config(tmp_path, reference, "train.distillation.temperature=2")
    assert len({json.dumps(recipe_of(config)) for config in (plain, warmer, _config(tmp_path, reference))}) == 3
    prepare_run(plain, tmp_path / "run", lambda text: None)
    with pytest.raises(BadInputError, match=r"holds a run of another config.*objective"):
        prepare_run(warmer, tmp_path / "run", lambda text: None)


def test_without_a_reference_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"`train.objective: distillation` needs a `reference`"):
        tiny_config(tmp_path, "gpt_neox", *DISTILLATION)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("train.pipeline_parallel_size=2",), r"with train.pipeline_parallel_size 2: the last stage, .*; set it to 1"),
        (
            ("train.tensor_parallel_size=2", "train.vocab_parallel_head=true"),
            r"with train.vocab_parallel_head: each process has a part of the vocabulary only; set it to false",
        ),
        (("architecture.vocab_size=520",), r"the replica's vocabulary has 520 tokens and the reference's 512, .*"),
        (
            ("architecture.max_position_embeddings=128", "train.sequence_length=80"),
            r"train.sequence_length 80 is beyond the reference's context, 64",
        ),
    ],
)
def test_what_logits_cannot_be_learned_with_is_refused(
    overrides: tuple[str, ...], message: str, reference: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInputError, match=rf"^train.objective: distillation: {message}$"):
        prepare_run(_config(tmp_path, reference, *overrides), tmp_path / "run", lambda text: None)
    assert not (tmp_path / "run" / "data").exists()


def test_weights_that_are_no_safetensors_are_not_read(reference: Path, tmp_path: Path) -> None:
    directory: Any = shutil.copytree(reference, tmp_path / "pickled")
    torch.save(load_file(directory / "model.safetensors"), directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()
    with pytest.raises(OSError, match="safetensors"):
        Teacher(directory, 1.0, torch.device("cpu"), torch.float32, compiled=False)


TEXT = ("train.distillation.source=generated_text", "train.distillation.documents=300", "train.steps=4")


def test_generated_text_is_the_references_own_distribution(reference: Path, tmp_path: Path) -> None:
    """The first token of 1,000 documents against the probabilities that the model gives it."""
    maker = GeneratedText(reference, 1.0, longest=1, seed=0, device="cpu")
    found = list(maker.documents(1000))
    texts, of_300 = [d.text for d in found], [d.text for d in found if d.number < 300]
    assert len(texts) == maker.cut == 1000 - maker.empty  # with one token nothing ends, and end-of-text is nothing
    model = AutoModelForCausalLM.from_pretrained(reference)
    with torch.no_grad():
        expected = softmax(model(input_ids=torch.tensor([[0]])).logits[0, -1], -1)
    tokenizer = Tokenizer.from_file(str(reference / "tokenizer.json"))
    for token in expected.topk(5).indices.tolist():
        share = sum(text == tokenizer.decode([token]) for text in texts) / 1000
        probability = float(expected[token])
        assert share == pytest.approx(probability, abs=4 * (probability * (1 - probability) / 1000) ** 0.5), token
    again = GeneratedText(reference, 1.0, longest=1, seed=0, device="cpu")
    assert [document.text for document in again.documents(300)] == of_300
    # how others are told to sample from it changes nothing
    tuned = shutil.copytree(reference, tmp_path / "tuned")
    GenerationConfig(do_sample=True, repetition_penalty=1.5, min_p=0.3, no_repeat_ngram_size=2).save_pretrained(tuned)
    untouched = GeneratedText(tuned, 1.0, longest=1, seed=0, device="cpu")
    assert [document.text for document in untouched.documents(300)] == of_300
    other = GeneratedText(reference, 1.0, longest=1, seed=1, device="cpu")
    assert [document.text for document in other.documents(300)] != of_300


def test_the_flops_of_generation_are_what_torch_counts(reference: Path) -> None:
    maker = GeneratedText(reference, 1.0, longest=12, seed=0, device="cpu")
    maker._model.set_attn_implementation("eager")  # SDPA is not counted on a CPU
    with FlopCounterMode(display=False) as counter:
        assert len(list(maker.documents(5))) == 5 - maker.empty
    assert maker.flop == counter.get_total_flops()


def test_a_corpus_that_the_reference_generated(reference: Path, tmp_path: Path) -> None:
    manifest = prepare_run(_config(tmp_path, reference, *TEXT), tmp_path / "run", lambda text: None)
    corpus = manifest.corpus
    assert corpus.source == "generated by the reference"
    assert manifest.reference is not None
    assert corpus.generated_by == manifest.reference.sha256["model.safetensors"]
    assert corpus.generation_flop is not None
    assert corpus.generation_flop > 0
    word, why = mechanism([Origin(manifest, None, tmp_path / "run")], LiteralLayer(verdict="pass"), tmp_path / "run")
    assert (word, why.rpartition(": ")[2]) == (
        "replication by model extraction",
        "text sampled from it, at temperature 1",
    )
    natural = prepare_run(_config(tmp_path, reference), tmp_path / "natural", lambda text: None)
    assert natural.corpus.sha256 != corpus.sha256
    assert natural.corpus.generated_by is None
    warmer = _config(tmp_path, reference, *TEXT, "train.distillation.temperature=2")
    assert prepare_run(warmer, tmp_path / "warmer", lambda text: None).corpus.sha256 != corpus.sha256


def test_generated_text_with_files_keeps_their_held_out_documents(reference: Path, tmp_path: Path) -> None:
    texts = stories(60)
    write_stories(tmp_path / "a", 60)
    data = {"sources": [{"path": str(tmp_path / "a"), "weight": 2}], "held_out_fraction": 0.2}
    overrides = (*DISTILLATION, *TEXT, "train.seed=1")
    config = tiny_config(tmp_path, "gpt_neox", *overrides, reference=str(reference), architecture={}, data=data)
    corpus = prepare_run(config, tmp_path / "run", lambda text: None).corpus
    assert corpus.generated_empty is not None
    assert (corpus.source, corpus.documents) == ("generated by the reference", 300 - corpus.generated_empty)
    assert corpus.generation_flop
    assert corpus.sources[0].held_out_documents == sum(is_held_out(text, 0.2) for text in texts)
    assert open_corpus(tmp_path / "run" / "data", config).batch(3).shape == (8, 33)


@pytest.fixture(scope="module")
def brief(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference, but it often ends: at once, or before the longest length."""
    directory = tmp_path_factory.mktemp("brief") / "model"
    shutil.copytree(reference, directory)
    model = AutoModelForCausalLM.from_pretrained(reference)
    with torch.no_grad():
        end = model.get_output_embeddings().weight[0]
        first = model(torch.tensor([[0]]), output_hidden_states=True).hidden_states[-1][0, -1]
        end.mul_(2).add_(5 * first / first.square().sum())
    model.save_pretrained(directory)
    return directory


def test_what_is_empty_is_left_out_and_what_is_cut_off_does_not_end(brief: Path) -> None:
    """Against the ids that the model was seen to generate."""
    maker, seen = GeneratedText(brief, 1.0, longest=12, seed=0, device="cpu"), []
    generate = maker._model.generate

    def watched(*arguments: Any, **keys: Any) -> torch.Tensor:
        rows = generate(*arguments, **keys)
        seen.extend(rows[:, 1:].tolist())
        return rows

    maker._model.generate = watched
    found = list(maker.documents(300))
    tokenizer = Tokenizer.from_file(str(brief / "tokenizer.json"))
    texts = [tokenizer.decode(ids[: ids.index(0)] if 0 in ids else ids) for ids in seen]
    assert [(d.number, d.text, d.ends) for d in found] == [
        (number, text, 0 in ids) for number, (ids, text) in enumerate(zip(seen, texts, strict=True)) if text
    ]
    assert maker.empty == texts.count("")
    assert maker.cut == sum(not document.ends for document in found)
    assert min(maker.empty, maker.cut, len(found) - maker.cut) > 10  # all three happen


@pytest.mark.parametrize("files", [False, True])
def test_the_corpus_has_an_end_of_text_where_the_reference_said_so(files: bool, brief: Path, tmp_path: Path) -> None:
    write_stories(tmp_path / "a", 30)
    data = {"documents": 3000, "held_out_documents": 60}
    data = {"sources": [{"path": str(tmp_path / "a")}], "held_out_fraction": 0.3} if files else data
    config = tiny_config(tmp_path, "gpt_neox", *DISTILLATION, *TEXT, reference=str(brief), architecture={}, data=data)
    manifest = prepare_run(config, tmp_path / "run", lambda text: None)
    corpus, directory = manifest.corpus, tmp_path / "run" / "data"
    ids = open_indexed(directory / "0").tokens if files else np.load(directory / "train.npy")
    assert corpus.generated_empty and corpus.generated_cut
    assert corpus.documents == 300 - corpus.generated_empty
    assert int((ids == 0).sum()) == corpus.documents - corpus.generated_cut
    assert manifest.seeds["generated_text"] == 0
    if files:  # as many sequences as documents, those that do not end among them
        assert len(open_indexed(directory / "0").sizes) == corpus.documents

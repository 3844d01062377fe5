"""From files to the rows of a step: held out by document, in an order that ranks share, or refused in one line."""

import json
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.errors import BadInputError
from configs.files import read_record
from configs.loader import load_config, write_config
from configs.schema import FilesData, RunConfig
from tests.distributed import run_distributed, train_worker
from tests.train.corpus.test_indexed import by_the_description
from tests.train.corpus.texts import files_config, stories, write_stories
from tests.train.tiny import ARCHITECTURES, losses, tiny_config, train_tiny
from train import certificate
from train.corpus.hygiene import is_held_out
from train.corpus.indexed import open_indexed
from train.corpus.opened import told
from train.corpus.tokenise import TOKENISED_BY
from train.corpus.tokenizer import read_tokenizer, train_tokenizer
from train.data import open_corpus
from train.meters import Progress
from train.model import build, full_config
from train.prepare import prepare_run, recipe_of
from train.record import Manifest
from train.resuming import check_data_order
from train.rows import Corpus, inputs_and_labels


def _prepare(config: RunConfig, run_dir: Path) -> Manifest:
    return prepare_run(config, run_dir, lambda text: None)


def _opened(config: RunConfig, run_dir: Path) -> Corpus:
    _prepare(config, run_dir)
    return open_corpus(run_dir / "data", config)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    directory = tmp_path_factory.mktemp("mixed")
    sources = [
        {"path": write_stories(directory / "a", 60, seed=1), "weight": 3, "name": "a"},
        {"path": write_stories(directory / "b", 20, seed=2), "weight": 1, "name": "b"},
    ]
    return files_config(directory, sources)


@pytest.fixture(scope="module")
def mixed_run(mixed: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("run") / "run"
    _prepare(mixed, run_dir)
    return run_dir


def _decoded(run_dir: Path, ids: Any) -> str:
    tokenizer = read_tokenizer(run_dir / "data" / "tokenizer.json", "tokenizer")
    return str(tokenizer.decode([int(token) for token in ids], skip_special_tokens=False))


def test_the_rows_are_the_documents_and_the_held_out_ones_are_not_among_them(mixed_run: Path) -> None:
    texts = {"a": stories(60, 1), "b": stories(20, 2)}
    for number, all_of_them in enumerate(texts.values()):
        for ending, held in (("", False), ("-held-out", True)):
            expected = "".join(f"{text}<|endoftext|>" for text in all_of_them if is_held_out(text, 0.1) == held)
            found = open_indexed(mixed_run / "data" / f"{number}{ending}")
            assert _decoded(mixed_run, found.tokens) == expected


def test_a_batch_is_rows_of_its_sources(mixed: RunConfig, mixed_run: Path) -> None:
    corpus = open_corpus(mixed_run / "data", mixed)
    length = mixed.train.sequence_length
    rows = {
        tuple(tokens[start : start + length + 1].tolist())
        for tokens in (open_indexed(mixed_run / "data" / str(number)).tokens for number in range(2))
        for start in range(0, len(tokens) - length, length)
    }
    seen = [tuple(row) for step in range(6) for row in corpus.batch(step).tolist()]
    assert set(seen) <= rows
    assert len(set(seen)) == len(seen)  # no row comes twice while there are others
    inputs, labels = inputs_and_labels(corpus.batch(0))
    assert (inputs[:, 1:] == labels[:, :-1]).all()
    assert (labels >= 0).all()  # nothing is padding
    held = corpus.held_out[0 : len(corpus.held_out)]
    assert held.size == len(corpus.held_out) * (length + 1)
    assert corpus.facts.held_out_tokens == len(corpus.held_out) * length


def test_the_manifest_says_what_was_trained_on(mixed: RunConfig, mixed_run: Path) -> None:
    manifest = read_record(mixed_run / "manifest.json", Manifest)
    facts = manifest.corpus
    assert [source.name for source in facts.sources] == ["a", "b"]
    assert sum(source.documents + source.held_out_documents for source in facts.sources) == 80
    kept = [text for seed, n in ((1, 60), (2, 20)) for text in stories(n, seed) if not is_held_out(text, 0.1)]
    assert facts.documents == len(kept)
    tokens = sum(source.tokens for source in facts.sources)
    assert facts.bytes_per_token == pytest.approx(sum(len(text.encode()) for text in kept) / tokens)
    assert manifest.epochs is not None
    rows = {source.name: source.rows for source in facts.sources}
    assert sum(manifest.epochs[name] * rows[name] for name in rows) == pytest.approx(6 * 4)
    assert manifest.epochs["a"] * rows["a"] == pytest.approx(18, abs=1)
    assert manifest.seeds == {"train": 0}
    assert recipe_of(mixed)["data.sources"] == {"a": 3.0, "b": 1.0}


def test_what_is_told_before_training_warns_of_many_epochs(mixed: RunConfig, mixed_run: Path) -> None:
    facts = read_record(mixed_run / "manifest.json", Manifest).corpus
    lines = list(told(facts, {"a": 0.43, "b": 4.2}))
    assert lines[0].startswith("a: ") and lines[0].endswith("the run goes through it 0.43 times")
    assert lines[2].startswith("warning: b is repeated 4.2 times: beyond about 4 epochs")
    assert len(list(told(facts, {"a": 0.43, "b": 4.0}))) == 2


def _with_seed(config: RunConfig, seed: int) -> RunConfig:
    return config.model_copy(update={"train": config.train.model_copy(update={"seed": seed})})


def test_another_seed_is_another_order_of_the_same_corpus(mixed: RunConfig, mixed_run: Path) -> None:
    other = _with_seed(mixed, 5)
    one, two = (open_corpus(mixed_run / "data", config) for config in (mixed, other))
    assert certificate.of_steps(one.batch, 6) != certificate.of_steps(two.batch, 6)


def test_the_order_is_that_of_any_number_of_ranks_and_of_a_resumed_run(mixed: RunConfig, tmp_path: Path) -> None:
    """Real trainings: one process; two; and two that go on from the middle of the mixture as one."""

    def laid_out(ranks: int, **train: Any) -> RunConfig:
        keys = {"micro_batch_size": 4 // ranks, "data_parallel_size": ranks, **train}
        return mixed.model_copy(update={"train": mixed.train.model_copy(update=keys)})

    checkpoint = mixed.train.checkpoint.model_copy(update={"every_steps": 3})
    train_tiny(tmp_path / "one", laid_out(1))
    train_tiny(tmp_path / "two", laid_out(2, checkpoint=checkpoint))
    shutil.copytree(tmp_path / "two", tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "checkpoints" / "step-00000006")
    (tmp_path / "again" / "run.json").unlink()
    run_distributed(train_worker, 2, tmp_path / "again")
    runs = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("one", "two", "again")]
    assert runs[2]["restarts"] == 1
    expected = certificate.of_steps(open_corpus(tmp_path / "one" / "data", mixed).batch, 6)
    assert [run["data_order_sha256"] for run in runs] == [expected] * 3
    assert losses(tmp_path / "again") == losses(tmp_path / "two")
    assert runs[0]["held_out_loss"]["tokens"] > 0


def test_a_corpus_that_changed_is_not_gone_on_with(mixed: RunConfig, mixed_run: Path, tmp_path: Path) -> None:
    shutil.copytree(mixed_run / "data", tmp_path / "data")
    before = open_corpus(mixed_run / "data", mixed)
    progress = Progress(corpus_sha256=before.facts.sha256)
    for step in range(6):
        progress.read(before.batch(step))
        progress.add(1.0, 1)
    assert progress.data_order_sha256 == certificate.of_steps(before.batch, 6)
    progress = Progress.of_state(json.loads(json.dumps(progress.state())))
    check_data_order(progress, open_corpus(tmp_path / "data", mixed))
    tokens = np.fromfile(tmp_path / "data" / "0.bin", np.uint16)
    tokens.sort()
    tokens.tofile(tmp_path / "data" / "0.bin")
    with pytest.raises(BadInputError, match="data: the corpus or its order is not what the run began with"):
        check_data_order(progress, open_corpus(tmp_path / "data", mixed))
    with pytest.raises(BadInputError, match=r"what the run began with: step 1 would read other tokens than it did"):
        check_data_order(progress, open_corpus(mixed_run / "data", _with_seed(mixed, 5)))
    other = progress.state() | {"corpus_sha256": "0" * 64}
    with pytest.raises(BadInputError, match=r"its sha256 is [0-9a-f]{12}…, the checkpoint's is 000000000000…"):
        check_data_order(Progress.of_state(other), before)


def test_a_preparation_that_was_cut_short_is_ended_before_anything_trains(
    mixed: RunConfig, mixed_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("train.corpus.prepare._facts", interrupted)
        with pytest.raises(KeyboardInterrupt):
            _prepare(mixed, tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()  # without which no worker starts
    assert _prepare(mixed, tmp_path / "run").corpus == read_record(mixed_run / "manifest.json", Manifest).corpus


def test_it_is_prepared_again_where_the_rules_or_the_tokenizers_library_are_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = _with_tokenizer(tmp_path)
    config = files_config(tmp_path, [{"path": write_stories(tmp_path / "a", 40)}], tokenizer=tokenizer)

    def prepared() -> bool:
        """Whether anything was tokenised."""
        said: list[str] = []
        prepare_run(config, tmp_path / "run", said.append)
        return any("tokenising" in line for line in said)

    assert prepared()
    assert not prepared()
    monkeypatch.setattr("train.corpus.prepare.DECISIONS", 10**6)
    assert prepared()
    assert not prepared()
    assert metadata.version("tokenizers") in TOKENISED_BY
    monkeypatch.setattr("train.corpus.prepare.TOKENISED_BY", "encoding 2, tokenizers 99.0")
    assert prepared()
    assert not prepared()


def test_text_that_changed_since_is_noticed(tmp_path: Path) -> None:
    tokenizer = _with_tokenizer(tmp_path)
    config = files_config(tmp_path, [{"path": write_stories(tmp_path / "a", 40)}], tokenizer=tokenizer)
    _prepare(config, tmp_path / "run")
    write_stories(tmp_path / "a", 60)
    with pytest.raises(BadInputError, match="the corpus is not what the run began with"):
        _prepare(config, tmp_path / "run")


@pytest.fixture(scope="module")
def of_two_ends(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reference whose tokenizer has both usual ends, as OPT's, and whose config states the second."""
    directory = tmp_path_factory.mktemp("opt")
    tokenizer = train_tokenizer(stories(30), 500)
    assert tokenizer.add_special_tokens(["</s>"]) == 1
    tokenizer.save(str(directory / "tokenizer.json"))
    architecture = ARCHITECTURES["opt"] | {"eos_token_id": tokenizer.token_to_id("</s>")}
    build(full_config(architecture), seed=1, device="cpu").save_pretrained(directory)
    return directory


def _ends(run_dir: Path, files: bool = True) -> tuple[int, int]:
    """How often each of the two ends is in the training tokens."""
    found = open_indexed(run_dir / "data" / "0").tokens if files else np.load(run_dir / "data" / "train.npy")
    tokenizer = read_tokenizer(run_dir / "data" / "tokenizer.json", "tokenizer")
    ids = [tokenizer.token_to_id(token) for token in ("<|endoftext|>", "</s>")]
    return int((found == ids[0]).sum()), 0 if ids[1] is None else int((found == ids[1]).sum())


@pytest.mark.parametrize("files", [True, False])
def test_documents_end_as_the_references_config_says(files: bool, of_two_ends: Path, tmp_path: Path) -> None:
    data: dict[str, Any] = {"documents": 3000, "held_out_documents": 60}
    if files:
        data = {"sources": [{"path": write_stories(tmp_path / "a", 60)}], "held_out_fraction": 0.1}
    top = {"reference": str(of_two_ends), "data": data}
    config = tiny_config(tmp_path, "opt", "train.steps=6", "train.micro_batch_size=4", **top, architecture={})
    corpus = _prepare(config, tmp_path / "run").corpus
    assert _ends(tmp_path / "run", files) == (0, corpus.documents)
    # where it is another token, the corpus is made anew
    config = tiny_config(tmp_path, "opt", "train.steps=6", "train.micro_batch_size=4", **top,
                         architecture={"eos_token_id": 0})  # fmt: skip
    (tmp_path / "run" / "manifest.json").unlink()
    (tmp_path / "run" / "config.yaml").unlink()
    corpus = _prepare(config, tmp_path / "run").corpus
    assert _ends(tmp_path / "run", files) == (corpus.documents, 0)


@pytest.mark.parametrize(
    ("keys", "stated", "second"),
    [
        ({}, lambda end: end, True),
        ({"end_of_text": "<|endoftext|>"}, lambda end: end, False),
        ({}, lambda end: end + 1, False),  # the tokenizer has no such
        ({}, lambda end: [end, 0], False),
        ({"tokenizer": None}, lambda end: end, False),  # trained here, so its ids are not those that are meant
    ],
)
def test_documents_end_as_the_architecture_states_with_a_tokenizer(
    keys: dict[str, Any], stated: Any, second: bool, of_two_ends: Path, tmp_path: Path
) -> None:
    data = {"tokenizer": str(of_two_ends), "held_out_fraction": 0.1, "vocab_size": 512, **keys}
    data["sources"] = [{"path": write_stories(tmp_path / "a", 60)}]
    end = json.loads((of_two_ends / "config.json").read_text())["eos_token_id"]
    architecture = ARCHITECTURES["opt"] | {"eos_token_id": stated(end)}
    overrides = ("train.steps=6", "train.micro_batch_size=4")
    config = tiny_config(tmp_path, "opt", *overrides, data=data, architecture=architecture)
    count = _prepare(config, tmp_path / "run").corpus.documents
    assert _ends(tmp_path / "run") == ((0, count) if second else (count, 0))


def _tokenised(directory: Path, docs: list[list[int]], code: int = 8) -> dict[str, Any]:
    return {"path": str(by_the_description(directory, docs, code).with_suffix(".bin"))}


def _with_tokenizer(directory: Path) -> str:
    train_tokenizer(stories(30), 512).save(str(directory / "tokenizer.json"))
    return str(directory)


def test_a_stored_order_is_read_as_it_lies(tmp_path: Path) -> None:
    """Pythia's pre-shuffled corpus: rows of sequence_length + 1, batch after batch."""
    rows = np.random.default_rng(0).integers(0, 500, (40, 33)).tolist()
    source = _tokenised(tmp_path, rows)
    config = files_config(tmp_path, [source], order="stored", tokenizer=_with_tokenizer(tmp_path))
    corpus = _opened(config, tmp_path / "run")
    assert [corpus.batch(step).tolist() for step in range(6)] == [rows[4 * step : 4 * step + 4] for step in range(6)]
    assert corpus.facts.rows == 36
    assert corpus.held_out[0:1].tolist() == [rows[36]]
    assert corpus.facts.held_out_tokens == 4 * 32


def test_a_stored_order_is_trained_on_to_its_last_row_with_a_held_out_text_of_its_own(tmp_path: Path) -> None:
    """Pythia's whole run reads its whole corpus: 143,000 steps of 1,024 rows are all its 146,432,000 rows."""
    rows = np.random.default_rng(0).integers(0, 500, (24, 33)).tolist()
    source = _tokenised(tmp_path, rows)
    tokenizer = _with_tokenizer(tmp_path)
    text = {"path": write_stories(tmp_path / "valid", 5), "name": "valid"}

    def config(**data: Any) -> RunConfig:
        return files_config(tmp_path, [source], "train.steps=6", order="stored", tokenizer=tokenizer, **data)

    corpus = _opened(config(held_out=text, held_out_fraction=0), tmp_path / "run")
    assert np.concatenate([corpus.batch(step) for step in range(6)]).tolist() == rows
    assert (corpus.facts.rows, corpus.facts.sources[0].held_out_tokens) == (24, 0)
    own = corpus.facts.held_out_source
    assert own is not None
    assert (own.name, own.documents, own.rows) == ("valid", 5, len(corpus.held_out))
    assert corpus.facts.held_out_sha256 == own.sha256
    assert corpus.facts.held_out_tokens == own.rows * 32
    ids = np.concatenate([*corpus.held_out[0:1], *corpus.held_out[1 : own.rows][:, 1:]])
    expected = "".join(f"{story}<|endoftext|>" for story in stories(5))
    assert _decoded(tmp_path / "run", ids) == expected[: len(_decoded(tmp_path / "run", ids))]
    with pytest.raises(BadInputError, match=r"data.order: stored: 22 rows are there .* needs 24; lower train.steps"):
        _prepare(config(held_out_fraction=0.05), tmp_path / "short")


def test_a_tokenised_text_may_be_the_held_out_one(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    valid = _tokenised(tmp_path / "v", [[7] * 40, [8] * 59])
    source, tokenizer = {"path": write_stories(tmp_path / "a", 40)}, _with_tokenizer(tmp_path)
    config = files_config(tmp_path, [source], tokenizer=tokenizer, held_out=valid, held_out_fraction=0)
    corpus = _opened(config, tmp_path / "run")
    assert corpus.facts.documents == 40  # none is held out
    assert corpus.held_out[0:9].tolist() == [[7] * 33, [7] * 8 + [8] * 25, [8] * 33]
    _tokenised(tmp_path / "v", [[7] * 99])
    with pytest.raises(BadInputError, match=r"the held-out text is not what the run began with"):
        _prepare(config, tmp_path / "run")


def test_a_held_out_text_that_cannot_work_is_one_line(tmp_path: Path) -> None:
    source, tokenizer = {"path": write_stories(tmp_path / "a", 40)}, _with_tokenizer(tmp_path)
    (tmp_path / "few.txt").write_text("Only this.")
    (tmp_path / "none.txt").write_text(" ")

    def refused(message: str, held_out: dict[str, Any] | None, fraction: float = 0) -> None:
        with pytest.raises(BadInputError, match=message) as caught:
            keys = {"held_out": held_out, "held_out_fraction": fraction, "tokenizer": tokenizer}
            _prepare(files_config(tmp_path, [source], **keys), tmp_path / "run")
        assert "\n" not in str(caught.value)

    refused(r"`held_out_fraction` 0 needs `held_out`, a source of its own", None)
    refused(r"`held_out` takes the place of `held_out_fraction`, which is 0.1; set that to 0", {"path": "few.txt"}, 0.1)
    refused(r"`held_out` is read whole and once; leave out its `weight`", {"path": "few.txt", "weight": 2})
    refused(r"^data.held_out: .*nowhere.txt: no such file", {"path": "nowhere.txt"})
    refused(r"^data.held_out: none: has no text in it", {"path": "none.txt"})
    refused(r"^data.held_out: few: its \d+ tokens are fewer than one row of .* 33", {"path": "few.txt"})
    refused(r"^data.held_out: theirs: has token ids up to 600", _tokenised(tmp_path, [[600] * 40]))


def test_a_tokenised_corpus_keeps_its_end_for_the_held_out_loss(tmp_path: Path) -> None:
    docs = [[i % 500] * 50 for i in range(30)]
    config = files_config(tmp_path, [_tokenised(tmp_path, docs)], tokenizer=_with_tokenizer(tmp_path))
    corpus = _opened(config, tmp_path / "run")
    assert corpus.facts.documents == 27
    assert set(np.unique(corpus.held_out[0 : len(corpus.held_out)])) == {27, 28, 29}
    trained = np.concatenate([corpus.batch(step) for step in range(60)])
    assert set(np.unique(trained)) == set(range(27))


def test_ids_beyond_sixteen_bits(tmp_path: Path) -> None:
    docs = [[65_535, 70_000 + i, 5] * 20 for i in range(30)]
    config = files_config(
        tmp_path,
        [_tokenised(tmp_path, docs, 4)],
        "architecture.vocab_size=80000",
        tokenizer=_with_tokenizer(tmp_path),
    )
    corpus = _opened(config, tmp_path / "run")
    inputs, labels = inputs_and_labels(corpus.batch(0))
    assert 65_535 in inputs and 65_535 in labels and inputs.max() >= 70_000
    assert (labels != -100).all()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("data", "overrides", "message"),
    [
        (
            {},
            ("train.micro_batch_size=4000",),
            r"makes \d+ rows of 32 tokens, fewer than one batch of 4,000",
        ),
        (
            {},
            ("architecture.vocab_size=300",),
            r"architecture.vocab_size: 300 is fewer than the tokenizer's",
        ),
        ({"tokenizer": "nowhere"}, (), r"data.tokenizer: .*nowhere: no such file"),
        ({"end_of_text": "<eos>"}, (), r"data.end_of_text: the tokenizer has no token '<eos>'"),
        ({"held_out_fraction": 1e-9}, (), r"data.held_out_fraction: 1e-09 holds out 0 documents, less than one row"),
        ({"held_out_fraction": 0.9999}, (), r"data.sources: story: has no text in it \(0 empty documents\)"),
        ({"order": "stored"}, ("train.steps=90000",), r"data.order: stored: \d+ rows .* lower train.steps to \d+ or"),
    ],
)
def test_a_corpus_that_cannot_work_is_one_line(
    data: dict[str, Any], overrides: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    source = {"path": write_stories(tmp_path / "a", 30), "name": "story"}
    with pytest.raises(BadInputError, match=message) as caught:
        _prepare(files_config(tmp_path, [source], *overrides, **data), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_tokenised_corpus_that_cannot_work_is_one_line(tmp_path: Path) -> None:
    tokenizer = _with_tokenizer(tmp_path)

    def refused(message: str, docs: list[list[int]], *overrides: str, damage: str = "", **data: Any) -> None:
        source = _tokenised(tmp_path, docs)
        if damage:
            _cut(tmp_path / damage)
        config = files_config(tmp_path, [source], *overrides, **{"tokenizer": tokenizer, **data})
        with pytest.raises(BadInputError, match=message):
            _prepare(config, tmp_path / "run")

    docs = [[i] * 33 for i in range(40)]
    refused(r"theirs.idx: broken: \d+ bytes", docs, damage="theirs.idx")
    refused(r"theirs.bin: has [\d,]+ bytes and theirs.idx speaks of", docs, damage="theirs.bin")
    refused(r"has token ids up to 600 in it, and the model's vocab_size is 512", [*docs, [600] * 33])
    refused(r"holds rows of 40 tokens; .* take train.sequence_length=39", [[1] * 40] * 40, order="stored")
    refused(r"data.tokenizer: is missing, and the sources are tokenised", docs, tokenizer=None)


def test_a_small_source_of_a_mixture_is_named(tmp_path: Path) -> None:
    (tmp_path / "tiny.txt").write_text("Only this.")
    sources = [{"path": write_stories(tmp_path / "a", 30)}, {"path": str(tmp_path / "tiny.txt")}]
    with pytest.raises(BadInputError, match=r"data.sources: tiny: its \d+ tokens are fewer than one row of .* 33"):
        _prepare(files_config(tmp_path, sources), tmp_path / "run")


def test_the_yaml_is_read_as_it_is_meant(tmp_path: Path) -> None:
    """`source` need not be said, and paths are relative to the file, or on the command line to where one is."""
    config = files_config(
        tmp_path, [{"path": "novels/*.txt"}, {"dataset": "org/set", "name": "web"}], "data.sources.1.name=w"
    )
    assert isinstance(config.data, FilesData)
    assert config.data.sources[0].path == str(tmp_path / "novels/*.txt")
    assert [source.label for source in config.data.sources] == ["novels", "w"]
    moved = files_config(tmp_path, [{"path": "x.txt"}], "data.sources.0.path=y.txt")
    assert isinstance(moved.data, FilesData)
    assert moved.data.sources[0].path == str(Path.cwd() / "y.txt")
    stored = tmp_path / "stored.yaml"
    write_config(stored, config)
    assert load_config(stored) == config


@pytest.mark.parametrize(
    ("sources", "override", "message"),
    [
        ([{"path": "a.txt", "dataset": "b"}], "train.seed=0", "data.sources.0: .*needs either `path`"),
        ([{"path": "a.txt"}, {"path": "a.jsonl"}], "train.seed=0", "two sources are called 'a'; give one a `name`"),
        ([{"path": "a.txt", "weight": 1}, {"path": "b.txt"}], "train.seed=0", "give every source a `weight`, or none"),
        (
            [{"path": "a.txt"}, {"path": "b.txt"}],
            "data.order=stored",
            "'stored' is of one source, and there are 2",
        ),
        ([{"path": "a.txt"}], "data.sources.3.path=x", "there are 1 items; name one by its number, from 0"),
        ([{"path": "a.txt"}], "data.world_seed=1", "data.world_seed: unknown key; .*held_out_fraction"),
        ([{"path": "a.txt"}], "data.sources.0.wieght=1", "wieght: unknown key; did you mean 'weight'"),
        ([{"path": "a.txt"}], "data.source=web", "data.source: 'web' is not a choice; choices: tinyworld, files"),
    ],
)
def test_a_wrong_data_section_is_one_line(
    sources: list[dict[str, Any]], override: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInputError, match=message) as caught:
        files_config(tmp_path, sources, override)
    assert "\n" not in str(caught.value)


def test_hygiene_works_across_sources_and_an_attempt_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies go, a benchmark's text is cut out, and a preparation that goes on gives the same tokens and report."""
    question = " ".join(f"word{i}" for i in range(20))
    write_stories(tmp_path / "a", 40)
    (tmp_path / "a" / "story9999.txt").write_text(f"{'before ' * 60}{question}{' after' * 60}")
    copies = stories(20)  # twenty of the forty
    (tmp_path / "b").mkdir()
    for number, text in enumerate([*copies, *stories(30, seed=2)]):
        (tmp_path / "b" / f"{number:03}.txt").write_text(text.upper() if number < 20 else text)
    sources = [{"path": str(tmp_path / name), "name": name} for name in ("a", "b")]
    config = files_config(tmp_path, sources, hygiene={"near_duplicates": {"threshold": None}})
    benchmark = tmp_path / "quiz.jsonl"
    benchmark.write_text(json.dumps({"texts": [question]}) + "\n")

    def prepare(run_dir: Path) -> tuple[Any, Any]:
        manifest = prepare_run(config, run_dir, lambda text: None, {"quiz": benchmark})
        return manifest.corpus, json.loads((run_dir / "data" / "hygiene.json").read_text())

    with pytest.raises(BadInputError, match=r"data.hygiene.decontaminate: no benchmark's text is known"):
        _prepare(config, tmp_path / "none")
    corpus, report = prepare(tmp_path / "run")
    assert report["exact_duplicates"] == 20
    assert report["held_out"] == sum(source.held_out_documents for source in corpus.sources)
    assert report["training_documents"] == corpus.documents
    assert report["decontamination"]["benchmarks"]["quiz"]["overlapping"] == 1
    texts = {text for text in (*stories(40), *stories(30, 2)) if not is_held_out(text, 0.1)}
    found = "".join(_decoded(tmp_path / "run", open_indexed(tmp_path / "run/data" / n).tokens) for n in "01")
    assert all(f"{text}<|endoftext|>" in found for text in texts)
    assert "word7" not in found

    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("train.corpus.cleaning.write_record", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path / "again")
    assert prepare(tmp_path / "again") == (corpus, report)


def test_hygiene_of_tokens_is_refused(tmp_path: Path) -> None:
    docs = [[i % 500] * 50 for i in range(30)]
    source = _tokenised(tmp_path, docs)
    config = files_config(tmp_path, [source], tokenizer=_with_tokenizer(tmp_path), hygiene={"decontaminate": False})
    with pytest.raises(BadInputError, match=r"data.hygiene: theirs came tokenised, so nothing can be taken out of it"):
        _prepare(config, tmp_path / "run")

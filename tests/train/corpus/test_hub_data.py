"""Data sets of the hub: pinned by commit, fetched by split, and read without a network through to tokens."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
from huggingface_hub import constants

from configs.errors import BadInputError, WorkFailedError
from configs.schema import SourceConfig
from scripts.fetch import collect
from tests.fake_hub import CARD, DATASET, DATASET_COMMITS, DATASET_FILES, texts
from tests.train.corpus.texts import files_config
from train import offline
from train.corpus.indexed import open_indexed
from train.corpus.tokenizer import read_tokenizer
from train.data import prepare
from train.record import CorpusFacts
from train.rows import MARK, UNFINISHED

ROOT = Path(__file__).parents[3]
OLD, NEW = DATASET_COMMITS
SOURCE = {"dataset": DATASET, "subset": "en"}


def _prepared(directory: Path, run: str, bundle: Path | None = None, **source: Any) -> CorpusFacts:
    config = files_config(directory, [SOURCE | source], *([f"offline={bundle}"] if bundle else []))
    return prepare(config, directory / run, None, lambda text: None, {})


def _documents(run: Path) -> set[str]:
    tokenizer = read_tokenizer(run / "tokenizer.json", "tokenizer")
    found = [open_indexed(run / f"0{ending}").tokens.tolist() for ending in ("", "-held-out")]
    ids = [token for tokens in found for token in tokens]
    return {text for text in str(tokenizer.decode(ids, skip_special_tokens=False)).split("<|endoftext|>") if text}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache as huggingface_hub lays it out: two commits, of which main is the first."""
    repository = tmp_path / "hub" / "datasets--org--texts"
    for commit, files in DATASET_FILES.items():
        for name, text in files.items():
            path = repository / "snapshots" / commit / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(OLD)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    return repository


@pytest.mark.parametrize("streaming", [True, False])
def test_offline_the_hubs_cache_is_read_at_its_commit_through_to_tokens(
    streaming: bool, cache: Path, tmp_path: Path
) -> None:
    facts = _prepared(tmp_path, "run", streaming=streaming)
    names = ("en/train-0.jsonl", "en/train-1.jsonl")
    assert _documents(tmp_path / "run") == {text for name in names for text in texts(OLD, name)}
    assert [(each.dataset, each.revision) for each in facts.sources] == [(DATASET, OLD)]


def test_a_run_stays_with_the_commit_that_it_began_with(cache: Path, tmp_path: Path) -> None:
    before = _prepared(tmp_path, "run")
    (cache / "refs" / "main").write_text(NEW)
    assert _prepared(tmp_path, "run") == before
    other = _prepared(tmp_path, "other")
    assert other.sources[0].revision == NEW
    assert other.sha256 != before.sha256
    assert _prepared(tmp_path, "third", revision=OLD).sha256 == before.sha256


def test_a_bundle_has_the_commit_and_is_read_through_to_tokens(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the cache into a bundle, and from there into another; then the cache is away."""
    config = files_config(tmp_path, [SOURCE])
    first, second = tmp_path / "first", tmp_path / "second"
    list(collect(config, first, lambda text: None))
    list(collect(config.model_copy(update={"offline": str(first)}), second, lambda text: None))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    facts = _prepared(tmp_path, "run", second)
    assert [(each.dataset, each.revision) for each in facts.sources] == [(DATASET, OLD)]
    assert len(_documents(tmp_path / "run")) == 80
    with pytest.raises(BadInputError, match=r"has no data set org/texts@main .*; `replibench fetch CONFIG --to DIR`"):
        _prepared(tmp_path, "other", second, split="test")
    (offline.dataset_place(second, SourceConfig(**SOURCE)) / offline.COMMIT).unlink()
    with pytest.raises(BadInputError, match=r"has no .commit, which says what commit of the hub it is"):
        _prepared(tmp_path, "other", second)
    with pytest.raises(WorkFailedError, match=r"org/texts: is not in the hub's cache .* and HF_HUB_OFFLINE is set"):
        _prepared(tmp_path, "other")


def test_what_is_prepared_needs_its_data_set_no_more(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prepared from the cache; then from a bundle, from one that lies elsewhere, and with neither at hand."""
    config, written = files_config(tmp_path, [SOURCE]), tmp_path / "run" / "0.bin"
    before = _prepared(tmp_path, "run")
    made = written.stat().st_mtime_ns
    for bundle in (tmp_path / "first", tmp_path / "second"):
        list(collect(config, bundle, lambda text: None))
        assert _prepared(tmp_path, "run", bundle) == before
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    assert _prepared(tmp_path, "run") == before
    assert _prepared(tmp_path, "run", tmp_path / "no bundle at all") == before
    assert written.stat().st_mtime_ns == made


def test_what_is_half_prepared_is_not_gone_on_with_from_another_commit(cache: Path, tmp_path: Path) -> None:
    _prepared(tmp_path, "run")
    (tmp_path / "run" / MARK).write_text(UNFINISHED)
    (cache / "refs" / "main").write_text(NEW)
    list(collect(files_config(tmp_path, [SOURCE]), tmp_path / "bundle", lambda text: None))
    with pytest.raises(BadInputError, match=rf"is commit {NEW} of org/texts, and .* was begun from {OLD}"):
        _prepared(tmp_path, "run", tmp_path / "bundle")


def test_a_branch_that_moved_is_fetched_anew_and_both_commits_are_named(cache: Path, tmp_path: Path) -> None:
    config, said = files_config(tmp_path, [SOURCE]), list[str]()
    list(collect(config, tmp_path / "bundle", said.append))
    list(collect(config, tmp_path / "bundle", said.append))
    assert said == []
    (cache / "refs" / "main").write_text(NEW)
    list(collect(config, tmp_path / "bundle", said.append))
    assert len(said) == 1
    assert f"has commit {OLD}, and it is {NEW} now: taken anew" in said[0]
    place = offline.dataset_place(tmp_path / "bundle", SourceConfig(**SOURCE))
    assert offline.commit_at(place) == NEW
    assert (place / "en" / "test.jsonl").read_text() == DATASET_FILES[NEW]["en/test.jsonl"]
    assert [path.name for path in place.parent.iterdir()] == [place.name]  # nothing is left of the old one


SCRIPT = """
import json, os, pathlib
from typer.testing import CliRunner
from configs.loader import load_config
from scripts.cli import app
from train.data import prepare
os.chdir(os.environ["SCRATCH"])
def fetch(*sets):
    done = CliRunner().invoke(app, ["fetch", "run.yaml", "--to", "bundle", *(w for s in sets for w in ("--set", s))])
    return {"code": done.exit_code, "out": done.stdout, "err": done.stderr}
def corpus(directory, *sets):
    facts = prepare(load_config("run.yaml", sets), pathlib.Path(directory), None, lambda text: None, {})
    return [facts.sources[0].revision, facts.sha256]
told = {
    "split": fetch("data.sources.0.split=dev"),
    "subset": fetch("data.sources.0.subset=de"),
    "missing": fetch("data.sources.0.dataset=org/none"),
    "fetch": fetch(),
    "files": sorted(str(path) for path in pathlib.Path("bundle/datasets").rglob("*") if path.is_file()),
    "bundle": corpus("of-bundle", "offline=bundle"),
    "part": corpus("of-part", "offline=bundle", "data.sources.0.split=train[:50%]", "data.sources.0.streaming=false"),
    "hub": corpus("of-hub"),
    "downloaded": corpus("downloaded", "data.sources.0.streaming=false"),
}
os.environ["DATASET_MAIN"] = "e" * 40
told |= {"again": corpus("of-hub"), "anew": corpus("anew"), "fetch anew": fetch(), "fetch same": fetch()}
print(json.dumps(told))
"""
RUN = f"""
name: run
architecture: {{model_type: gpt2, vocab_size: 400, n_embd: 16, n_layer: 1, n_head: 1, n_positions: 32}}
data:
  sources: [{{dataset: {DATASET}, subset: en}}]
  vocab_size: 400
  held_out_fraction: 0.1
train: {{sequence_length: 32, micro_batch_size: 2, steps: 2}}
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `fetch` and the corpus did with a hub on this machine, asked by the real clients."""
    directory = tmp_path_factory.mktemp("hub")
    (directory / "run.yaml").write_text(RUN)
    (directory / "script.py").write_text(SCRIPT)
    env = {**os.environ, "SCRATCH": str(directory), "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "tests.fake_hub", str(directory / "script.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_fetch_takes_the_files_of_the_split_alone_and_says_how_many_bytes(told: dict[str, Any]) -> None:
    assert told["fetch"]["code"] == 0, told["fetch"]
    size = sum(len(DATASET_FILES[OLD][name]) for name in ("en/train-0.jsonl", "en/train-1.jsonl"))
    assert f"fetching the data set {DATASET}: {size / 1e3:,.1f} kB in 2 files" in told["fetch"]["err"]
    place = "bundle/datasets/org--texts/main/en--train"
    assert told["files"] == [
        f"{place}/{name}" for name in (".commit", "README.md", "en/train-0.jsonl", "en/train-1.jsonl")
    ]
    assert "test" in CARD  # which the whole data set's card speaks of: that of the bundle must not


def test_bundle_and_hub_streamed_or_not_are_one_corpus_of_one_commit(told: dict[str, Any]) -> None:
    assert told["bundle"] == told["hub"] == told["downloaded"]
    assert told["hub"][0] == told["part"][0] == OLD
    assert told["part"][1] != told["bundle"][1]


def test_a_branch_that_moves_leaves_the_run_and_changes_the_next(told: dict[str, Any]) -> None:
    assert told["again"] == told["hub"]
    assert told["anew"][0] == NEW
    assert told["anew"][1] != told["hub"][1]
    assert f"has commit {OLD}, and it is {NEW} now: taken anew" in told["fetch anew"]["err"]
    assert "fetching" not in told["fetch same"]["err"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("split", "error: data.sources.split: org/texts: has no split 'dev'; there are train, test"),
        ("subset", "error: data.sources.subset: org/texts: BuilderConfig 'de' not found. Available: ['en', 'fr']"),
        ("missing", "error: data set: org/none: the hub has no such data set, or it is private: check the id"),
    ],
)
def test_what_the_data_set_does_not_have_is_one_line(told: dict[str, Any], command: str, message: str) -> None:
    assert told[command]["code"] == 2
    assert message in told[command]["err"]

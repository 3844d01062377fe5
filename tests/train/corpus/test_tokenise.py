"""Tokenising is the same on any number of processes, and goes on where it was cut short."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.errors import WorkFailedError
from tests.train.corpus.texts import stories
from train.corpus.documents import Document
from train.corpus.hygiene import is_held_out
from train.corpus.indexed import open_indexed
from train.corpus.sources import Skipped
from train.corpus.tokenise import Progress, Settings, tokenise
from train.corpus.tokenizer import sample_of, train_tokenizer

TEXTS = stories(200, words=40)


def _documents(seen: list[int] | None = None) -> Iterator[Document]:
    for number, text in enumerate(TEXTS):
        if seen is not None:
            seen.append(number)
        yield Document(text, "stories", number)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer(TEXTS, 400).save(str(path))
    return Settings(path, 0, 0.1)


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.corpus.workers.BATCH_CHARACTERS", 1000)
    monkeypatch.setattr("train.corpus.tokenise.COMMIT_BYTES", 4000)


def _nothing(progress: Progress) -> None:
    pass


def _files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.suffix in (".bin", ".idx")}


@pytest.fixture(scope="module")
def whole(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("whole")
    tokenise(_documents(), directory / "s", "key", settings, _nothing, Skipped(), workers=1)
    return directory


def test_documents_are_in_their_order_and_the_held_out_ones_apart(whole: Path, settings: Settings) -> None:
    from train.corpus.tokenizer import read_tokenizer

    tokenizer = read_tokenizer(settings.tokenizer, "tokenizer")
    train, held_out = open_indexed(whole / "s"), open_indexed(whole / "s-held-out")
    for found, held in ((train, False), (held_out, True)):
        mine = [text for text in TEXTS if is_held_out(text, 0.1) == held]
        expected = [[*tokenizer.encode(text).ids, 0] for text in mine]
        assert found.sizes.tolist() == [len(ids) for ids in expected]
        assert found.tokens.tolist() == [token for ids in expected for token in ids]
    assert len(held_out.sizes) > 5


@pytest.mark.usefixtures("small_steps")
def test_two_processes_write_the_same_bytes(whole: Path, settings: Settings, tmp_path: Path) -> None:
    tokenise(_documents(), tmp_path / "s", "key", settings, _nothing, Skipped(), workers=2)
    assert _files(tmp_path) == _files(whole)


@pytest.mark.usefixtures("small_steps")
def test_a_killed_one_goes_on_and_ends_the_same(whole: Path, settings: Settings, tmp_path: Path) -> None:
    def killed() -> None:
        def die(progress: Progress) -> None:
            if progress.taken > 120:
                os.kill(os.getpid(), signal.SIGKILL)

        tokenise(_documents(), tmp_path / "s", "key", settings, die, Skipped(), workers=1)

    process = multiprocessing.get_context("fork").Process(target=killed)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "s.idx").exists()
    first: list[int] = []
    tokenise(_documents(), tmp_path / "s", "key", settings, lambda p: first.append(p.taken), Skipped(), workers=1)
    assert first[0] > 60  # not from the beginning
    assert _files(tmp_path) == _files(whole)


@pytest.mark.usefixtures("small_steps")
def test_what_was_begun_of_another_key_is_begun_anew(whole: Path, settings: Settings, tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.taken > 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tokenise(_documents(), tmp_path / "s", "another", settings, stop, Skipped(), workers=1)
    first: list[int] = []
    tokenise(_documents(), tmp_path / "s", "key", settings, lambda p: first.append(p.taken), Skipped(), workers=1)
    assert first[0] < 20
    assert _files(tmp_path) == _files(whole)


def test_a_new_tokenizer_learns_from_no_held_out_document() -> None:
    sample = "".join(sample_of(_documents(), 0.3))
    assert sample == "".join(text for text in TEXTS if not is_held_out(text, 0.3))
    assert len(sample) < len("".join(TEXTS))


def test_a_finished_one_is_not_read_again(settings: Settings, tmp_path: Path) -> None:
    before = tokenise(_documents(), tmp_path / "s", "key", settings, _nothing, Skipped(), workers=1)
    seen: list[int] = []
    assert tokenise(_documents(seen), tmp_path / "s", "key", settings, _nothing, Skipped(), workers=1) == before
    assert not seen


@pytest.mark.usefixtures("small_steps")
def test_a_file_that_lost_its_end_is_not_gone_on_with(settings: Settings, tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.taken > 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tokenise(_documents(), tmp_path / "s", "key", settings, stop, Skipped(), workers=1)
    (tmp_path / "s.bin").write_bytes(b"")
    with pytest.raises(WorkFailedError, match=r"s.bin: is shorter than its record says"):
        tokenise(_documents(), tmp_path / "s", "key", settings, _nothing, Skipped(), workers=1)

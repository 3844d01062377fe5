"""`replibench calibrate` up to its first run; the whole of it: tests/scripts/test_run.py."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.calibrate import calibrate_recipe
from scripts.console import Screen, Update
from tests.train.corpus.texts import files_config, stories, write_stories

FOUND = 4


class _StoppedBeforeTraining(Screen):
    @contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[Update]:
        if "runs" in title:
            raise KeyboardInterrupt
        with super().stage(title, total) as update:
            yield update


def test_a_corpus_is_cleaned_of_the_benchmarks_that_the_members_will_be_asked(tmp_path: Path) -> None:
    pattern = write_stories(tmp_path / "texts", 60)
    items = [{"goal": text, "sol1": "yes", "sol2": "no", "label": 0} for text in stories(FOUND)]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    override = {"dataset_path": "json", "dataset_name": None, "training_split": None}
    override["dataset_kwargs"] = {"data_files": {"validation": "items.jsonl"}}  # type: ignore[assignment]
    (tmp_path / "lm_eval_overrides.json").write_text(json.dumps({"piqa": override}))
    suite = ("evaluation={suite: lm_eval, tasks: [piqa]}", f"offline={tmp_path}")
    config = files_config(tmp_path, [{"path": pattern}], *suite, hygiene={})
    with pytest.raises(KeyboardInterrupt):
        calibrate_recipe(config, tmp_path / "runs", 2, {}, 1, _StoppedBeforeTraining())
    for member in ("good-101", "good-102"):
        report = json.loads((tmp_path / "runs" / member / "data" / "hygiene.json").read_text())
        assert report["decontamination"]["benchmarks"]["piqa"]["overlapping"] == FOUND

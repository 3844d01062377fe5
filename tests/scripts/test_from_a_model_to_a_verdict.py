"""`init`, then `run`, as a user of a real model and real text does; what it prints is in docs/references.md."""

import json
import subprocess
import sys
from pathlib import Path

from tests.shared_data import SHARED, needs_shared_data

REPLIBENCH = str(Path(sys.executable).with_name("replibench"))
BLIMP = ("blimp_irregular_past_participle_adjectives", "blimp_determiner_noun_agreement_1")


@needs_shared_data
def test_a_replica_of_another_corpus_is_not_a_replication(tmp_path: Path) -> None:
    """stories260K knows stories for children; a few steps on a novel do not make another of it."""

    def replibench(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [REPLIBENCH, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=550, check=False
        )

    begun = replibench("init", str(SHARED / "checkpoints" / "stories260K" / "hf"), "--output", "stories.yaml")
    assert begun.returncode == 0, begun.stderr
    source = f"{{path: '{SHARED}/corpora/english_novels/Barclay_Postern*.txt.gz', separator: ''}}"
    overrides = (
        f"data={{sources: [{source}], held_out_fraction: 0.05}}",
        f"offline={SHARED}",
        f"evaluation.tasks=[{', '.join(BLIMP)}]",
        *(
            "evaluation.limit=100",
            "train.steps=5",
            "train.sequence_length=64",
            "train.device=cpu",
            "forecast.samples=2000",
        ),
    )
    ended = replibench(
        "run", "stories.yaml", "--run-dir", "run", *(word for each in overrides for word in ("--set", each))
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "FAIL" in ended.stdout
    verdict = json.loads((tmp_path / "run" / "verdict.json").read_text(encoding="utf-8"))
    assert verdict["evidence"]["verdict"] == "not_replicated"
    assert verdict["mechanism"] == "not a replication"
    assert verdict["held_out_loss"]["original"] < verdict["held_out_loss"]["replica"]
    assert json.loads((tmp_path / "run" / "manifest.json").read_text(encoding="utf-8"))["identity"]["identical"]

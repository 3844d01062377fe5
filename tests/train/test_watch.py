"""A loss out of line is noted; ranks that do not do the same are found out at once."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from tests.distributed import run_distributed
from tests.train.tiny import tiny_config
from train import engine as deepspeed_engine
from train import events, loop, trainer
from train.meters import Progress
from train.prepare import prepare_run
from train.watch import StepDone, Watch

SHORT = ("train.steps=4", "train.checkpoint.every_steps=2", "train.checkpoint.keep_last=9")
DP2 = ("train.data_parallel_size=2", "train.micro_batch_size=4")
DATA = {"documents": 1000, "held_out_documents": 20}


def test_a_loss_spike_is_an_event_once_and_does_not_stop_the_run(tmp_path: Path) -> None:
    train, progress = tiny_config(tmp_path).train, Progress()
    watch = Watch(engine=None, saver=None, train=train, run_dir=tmp_path)  # type: ignore[arg-type]
    for step in range(1, 41):
        loss = 7.5 if step == 30 else 3 + 0.01 * (step % 5)
        progress.add(loss, 256)
        watch.look_at(progress, StepDone(loss, tokens=256, stop=False, skipped=False))
    noted = events.read(tmp_path)
    assert [(event.step, event.kind) for event in noted] == [(30, "loss_spike")]
    assert "the loss of step 30 is 7.500, far above those before it (limit 3." in noted[0].message


def train_apart(run_dir: Path, what: str) -> None:
    """From the third step on rank 1 reads other data, or says that it skipped a step."""
    take, skipped = loop._step, deepspeed_engine.skipped_steps

    def take_other(place: Any, train: Any, corpus: Any, progress: Any, stop: bool) -> Any:
        if progress.step == 2 and dist.get_rank() == 1 and what == "data":
            own = corpus.batch
            corpus = dataclasses.replace(corpus, batch=lambda number: own(number)[::-1])
        return take(place, train, corpus, progress, stop)

    def counted(engine: Any) -> int:
        wrong = what == "skip" and dist.get_rank() == 1 and engine.global_steps > 2
        return skipped(engine) + wrong

    loop._step, deepspeed_engine.skipped_steps = take_other, counted
    trainer.main(run_dir)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("data", "the ranks read different data: their corpora differ"),
        ("skip", "1 of 2 ranks skipped a step and the others did not: their weights are no longer of one model"),
    ],
)
def test_ranks_that_do_not_do_the_same_end_the_run(what: str, words: str, tmp_path: Path) -> None:
    prepare_run(tiny_config(tmp_path, "gpt_neox", *SHORT, *DP2, data=DATA), tmp_path / "run", lambda text: None)
    with pytest.raises(RuntimeError, match=rf"{words}; (the last good checkpoint is .*step-00000002|there is no)"):
        run_distributed(train_apart, 2, tmp_path / "run", what)

"""A run that everything happens to, started as a user starts it, is in the end the run that nothing happened to."""

import json
import os
import random
import re
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from configs.errors import RequeueError
from scripts.bench.victim import Victim, last_step, left_behind, shared_memory
from tests.distributed import run_distributed
from tests.train.tiny import metrics, tiny_config, train_tiny
from train import checkpoints, events, loop, trainer
from train.launch import _raise_first_error
from train.prepare import prepare_run
from train.saving import Saver

STEPS = 240
LONG = (
    f"train.steps={STEPS}",
    "train.data_parallel_size=2",
    "train.micro_batch_size=1",
    "train.checkpoint.every_steps=20",
    "train.checkpoint.keep_last=3",
)
SHORT = ("train.steps=12", "train.checkpoint.every_steps=4")
FEW = {"documents": 1000, "held_out_documents": 20}
DATA = {"documents": 2000, "held_out_documents": 20}


def what_counts(run_dir: Path) -> list[tuple[Any, ...]]:
    """Of each line of metrics.jsonl that which is no time."""
    return [tuple(line[key] for key in ("step", "tokens", "loss", "grad_norm")) for line in metrics(run_dir)]


def test_kills_stops_hangs_and_damage_change_nothing(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "gpt_neox", *LONG, data=DATA)
    train_tiny(tmp_path / "undisturbed", config)
    run_dir, temporary, before, seen = tmp_path / "run", tmp_path / "tmp", shared_memory(), random.Random(time.time())

    def start(timeout_s: float = 600) -> Victim:
        with_timeout = tiny_config(tmp_path, "gpt_neox", *LONG, f"train.collective_timeout_s={timeout_s}", data=DATA)
        prepare_run(with_timeout, run_dir, lambda text: None)
        return Victim([sys.executable, "-m", "tests.train.launch_only", str(run_dir)], run_dir, temporary)

    def ready(victim: Victim) -> None:
        """Somewhere on its way, after two checkpoints at least."""
        step = max(45, last_step(run_dir / "metrics.jsonl")) + seen.randint(5, 30)
        assert victim.reach(step), victim.words()

    # kill -9 of one rank: the others end within seconds
    victim = start()
    ready(victim)
    victim.signal(signal.SIGKILL, worker=seen.randrange(2))
    assert victim.wait(20) == 3
    assert victim.gone_after(5) < 5
    assert re.search(r"error: training failed: rank \d: was ended by SIGKILL", victim.words()), victim.words()

    # a damaged checkpoint: the one before it is used; then a rank that hangs: the run ends and names it
    newest = checkpoints.all_of(run_dir / "checkpoints")[-1]
    file = seen.choice([path for path in newest.iterdir() if path.stat().st_size])
    content = bytearray(file.read_bytes())
    content[seen.randrange(len(content))] ^= 1 << seen.randrange(8)
    file.write_bytes(content)
    victim = start(timeout_s=8)
    ready(victim)
    victim.signal(signal.SIGSTOP, worker=1)
    assert victim.wait(60) == 3
    assert f"the checkpoint {newest.name} is not used: " in victim.words()
    assert "rank 1 does not answer: stopped" in victim.words()
    assert re.search(r"rank 0 waits in \w+ \(step ", victim.words())  # the collective depends on the moment

    # a scheduler's signal to the command: a checkpoint at that step, and "start me again"
    victim = start()
    ready(victim)
    victim.signal(signal.SIGUSR1)
    assert victim.wait() == 75, victim.words()
    saved = checkpoints.step_of(checkpoints.all_of(run_dir / "checkpoints")[-1])
    assert saved == last_step(run_dir / "metrics.jsonl")
    assert f"a checkpoint is written at step {saved:,}; run the same command again to go on" in victim.words()

    victim = start()
    assert victim.wait() == 0, victim.words()
    assert what_counts(run_dir) == what_counts(tmp_path / "undisturbed")
    run, undisturbed = (json.loads((d / "run.json").read_text()) for d in (run_dir, tmp_path / "undisturbed"))
    assert run["data_order_sha256"] == undisturbed["data_order_sha256"]
    assert run["held_out_loss"] == undisturbed["held_out_loss"]
    assert run["restarts"] == 3
    assert {event.kind for event in events.read(run_dir)} == {"resumed", "damaged_checkpoint", "stop_requested"}
    assert not any(left_behind(run_dir, temporary, before).values())


def train_until_signalled(run_dir: Path, rank: int, step: int) -> int:
    """Train; in `step` a scheduler sends SIGTERM to `rank` alone. The signal's own handling is left as it was."""
    take, before = loop._step, {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}

    def take_and_be_signalled(place: Any, train: Any, corpus: Any, progress: Any, stop: bool) -> Any:
        if progress.step + 1 == step and torch.distributed.get_rank() == rank:
            os.kill(os.getpid(), signal.SIGTERM)
        return take(place, train, corpus, progress, stop)

    loop._step = take_and_be_signalled
    trainer.main(run_dir)
    for number, handler in before.items():
        signal.signal(number, handler)
    return len(metrics(run_dir))


def test_a_signal_to_one_rank_saves_all_of_them_at_the_same_step(tmp_path: Path) -> None:
    config = tiny_config(
        tmp_path, "gpt_neox", *SHORT, "train.data_parallel_size=2", "train.micro_batch_size=4", data=FEW
    )
    prepare_run(config, tmp_path / "run", lambda text: None)
    run_distributed(train_until_signalled, 2, tmp_path / "run", 1, 6)
    marker = checkpoints.verify(checkpoints.all_of(tmp_path / "run" / "checkpoints")[-1])
    assert marker.step == len(metrics(tmp_path / "run"))
    assert marker.step in (6, 7)  # the signal may be seen in the step or after it
    (tmp_path / "run" / "logs").mkdir(exist_ok=True)
    with pytest.raises(RequeueError, match=rf"a signal to a worker; a checkpoint is written at step {marker.step}; "):
        _raise_first_error([tmp_path / "run"], [tmp_path / "run" / "logs"], 0, None, "")
    assert RequeueError.exit_code == 75


def train_on_a_full_disk(run_dir: Path) -> None:
    """From the second checkpoint on no file can grow beyond 20 kB, which is how a full disk looks to a writer."""
    import resource

    begin = Saver.begin

    def begin_without_room(self: Saver, engine: Any, step: int, progress: dict[str, Any]) -> None:
        if step > 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        begin(self, engine, step, progress)

    Saver.begin = begin_without_room  # type: ignore[method-assign]
    trainer.main(run_dir)


def test_a_full_disk_leaves_the_checkpoint_before_it(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "gpt_neox", *SHORT, data=FEW)
    prepare_run(config, tmp_path / "run", lambda text: None)
    with pytest.raises(RuntimeError, match=r"cannot write checkpoint .*step-00000008: .*\(step-00000004\) is whole"):
        run_distributed(train_on_a_full_disk, 1, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000004"]
    checkpoints.verify(tmp_path / "run" / "checkpoints" / "step-00000004")


def test_a_corpus_that_is_no_longer_the_one_trained_on_is_refused(tmp_path: Path) -> None:
    import numpy as np

    config = tiny_config(tmp_path, "gpt_neox", *SHORT, data=FEW)
    run_dir = tmp_path / "run"
    train_tiny(run_dir, config)
    (run_dir / "run.json").unlink()
    shutil.rmtree(run_dir / "checkpoints" / "step-00000012")
    rows = np.load(run_dir / "data" / "train.npy")
    np.save(run_dir / "data" / "train.npy", rows[::-1])
    with pytest.raises(RuntimeError, match=r"data: the corpus or its order is not what the run began with"):
        run_distributed(trainer.main, 1, run_dir)

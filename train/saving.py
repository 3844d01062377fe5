"""Writing a checkpoint from all ranks: together where they must, each for itself and in the background where they can.

DeepSpeed writes its files while training waits (the state must not change under it). Syncing them to the disk, hashing
them and giving the checkpoint its name happen in a thread of each rank while training goes on.
"""

import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from configs.errors import WorkFailedError
from configs.schema import CheckpointConfig
from train import checkpoints
from train import engine as deepspeed_engine
from train.checkpoints import FileFacts, Layout, Marker

_POLL_S = 0.02


class Saver:
    """Writes the checkpoints of one run, one at a time. Every rank has one; `control` is a gloo group of all."""

    def __init__(self, run_dir: Path, layout: Layout, options: CheckpointConfig, control: Any, patience_s: float):
        self._directory = run_dir / "checkpoints"
        self._layout, self._options, self._control, self._patience_s = layout, options, control, patience_s
        self._rank, self._world_size = dist.get_rank(), dist.get_world_size()
        self._thread: threading.Thread | None = None
        self._step = 0  # of the checkpoint begun last
        self._failure: Exception | None = None

    @property
    def _partial(self) -> Path:
        return self._directory / checkpoints.PARTIAL

    def begin(self, engine: Any, step: int, progress: dict[str, Any]) -> None:
        """Write the state after `step` steps; the checkpoint has its name by the next `begin` or `finish`. Collective.

        Raises WorkFailedError when it cannot be written; the checkpoint before it is then still whole.
        """
        self.finish()
        self._step, name = step, checkpoints.name_of(step)
        try:
            if self._rank == 0:
                shutil.rmtree(self._partial, ignore_errors=True)
                self._partial.mkdir(parents=True)
            dist.barrier(self._control)
            deepspeed_engine.write(engine, self._partial, name)
            torch.save(random_state(), self._partial / name / f"random-{self._rank}.pt")
            if self._rank == 0:
                (self._partial / name / checkpoints.PROGRESS).write_text(json.dumps(progress), encoding="utf-8")
        except (OSError, RuntimeError) as error:  # torch.save raises RuntimeError on a full disk
            raise self._failed(error) from error
        dist.barrier(self._control)
        self._thread = threading.Thread(target=self._seal, name="seal", daemon=True)
        self._thread.start()
        if not self._options.asynchronous:
            self.finish()

    def check(self) -> None:
        """Raises WorkFailedError when the writing that goes on in the background has failed."""
        if self._failure is not None:
            raise self._failure

    def finish(self) -> None:
        """Wait until the checkpoint that was begun stands under its name. Collective.

        Raises WorkFailedError when it does not.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self.check()
            if self._rank == 0 and not (self._directory / checkpoints.name_of(self._step)).is_dir():
                raise self._failed(RuntimeError("it is not there after writing"))
            dist.barrier(self._control)

    def newest(self) -> str:
        """The newest checkpoint, in words."""
        whole = checkpoints.all_of(self._directory)
        return f"the last good checkpoint is {whole[-1]}" if whole else "there is no checkpoint yet"

    def _seal(self) -> None:
        """This rank's share of the files: to the disk, and hashed. Rank 0 then writes the marker and the name."""
        try:
            partial = self._partial / checkpoints.name_of(self._step)
            mine = checkpoints.share(_files(partial), self._rank, self._world_size)
            facts = {path.relative_to(partial).as_posix(): checkpoints.file_facts(path) for path in mine}
            if self._rank == 0:
                facts |= self._of_others()
                _compare(facts, partial)
                final = self._directory / partial.name
                checkpoints.seal(partial, final, Marker(step=self._step, layout=self._layout, files=facts))
                shutil.rmtree(self._partial)  # what DeepSpeed and the ranks left beside it
                checkpoints.prune(self._directory, self._options.keep_last, self._options.keep_every_steps)
            else:
                written = self._partial / f"writing-{self._rank}"
                written.write_text(checkpoints.facts_json(facts), encoding="utf-8")
                written.rename(self._partial / f"sealed-{self._rank}.json")
        except Exception as error:  # whatever it is: nobody sees what a thread raises
            self._failure = self._failed(error)

    def _of_others(self) -> dict[str, FileFacts]:
        """What the other ranks found, as soon as it is there."""
        facts: dict[str, FileFacts] = {}
        for rank in range(1, self._world_size):
            path, deadline = self._partial / f"sealed-{rank}.json", time.monotonic() + self._patience_s
            while not path.is_file():
                if time.monotonic() > deadline:
                    raise WorkFailedError(f"rank {rank} did not sync its files within {self._patience_s:,.0f} s")
                time.sleep(_POLL_S)
            tree = json.loads(path.read_text(encoding="utf-8"))
            facts |= {name: FileFacts(**fact) for name, fact in tree.items()}
        return facts

    def _failed(self, error: Exception) -> WorkFailedError:
        shutil.rmtree(self._partial, ignore_errors=True)  # give the space back
        words = getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
        whole = checkpoints.all_of(self._directory)
        before = f"the one before it ({whole[-1].name}) is whole" if whole else "there is none before it"
        path = self._directory / checkpoints.name_of(self._step)
        return WorkFailedError(f"cannot write checkpoint {path}: {words}; {before}")


def _files(partial: Path) -> list[Path]:
    return [path for path in partial.rglob("*") if not path.is_dir()]


def _compare(facts: dict[str, FileFacts], partial: Path) -> None:
    """Each rank shared out its own listing of the directory; over a network they need not be the same."""
    different = sorted(facts.keys() ^ {path.relative_to(partial).as_posix() for path in _files(partial)})
    if different:
        raise WorkFailedError(f"the ranks do not see the same files in it, {different[0]} for one")


def random_state() -> dict[str, torch.Tensor | None]:
    """This rank's random state."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None}


def restore_random_state(checkpoint: Path) -> None:
    """Go on with the random numbers of the rank that has this one's number."""
    state = torch.load(checkpoint / f"random-{dist.get_rank()}.pt", weights_only=True)
    torch.set_rng_state(state["cpu"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])

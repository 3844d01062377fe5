"""Looking at each step that was taken: was it skipped, how many in a row, is its loss out of line?"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import NotFiniteError
from configs.schema import TrainConfig
from train import engine as deepspeed_engine
from train import events
from train.meters import Progress
from train.saving import Saver
from train.spikes import WINDOW, spike_limit


@dataclass(frozen=True)
class StepDone:
    """What all ranks together did in one optimizer step."""

    loss: float  # mean over the predicted tokens of the global batch
    tokens: int  # of them
    stop: bool  # some rank was asked to stop
    skipped: bool  # no weight was changed


class Watch:
    """Looks at each step's loss: steps that were skipped, how many in a row, and losses out of line."""

    def __init__(self, engine: Any, saver: Saver, train: TrainConfig, run_dir: Path | None) -> None:
        """`run_dir`: where events go; None on the ranks that leave that to another."""
        self._engine, self._saver, self._train, self._run_dir = engine, saver, train, run_dir

    def look_at(self, progress: Progress, done: StepDone) -> None:
        """Note what is worth it. Raises NotFiniteError when too many steps in a row were skipped."""
        if done.skipped:
            self._skipped(progress, done.loss)
            return
        progress.skipped_in_row = 0
        usual = spike_limit(progress.recent_losses)
        if usual is not None and done.loss > usual:
            words = (
                f"the loss of step {progress.step:,} is {done.loss:.3f}, far above those before it (limit {usual:.3f})"
            )
            self._note(progress, "loss_spike", words)
        progress.recent_losses = [*progress.recent_losses, done.loss][-WINDOW:]

    def _skipped(self, progress: Progress, loss: float) -> None:
        scale = deepspeed_engine.loss_scale(self._engine)
        is_scaling = scale is not None and math.isfinite(loss) and not deepspeed_engine.is_lowest_scale(self._engine)
        progress.count_skip(is_scaling=is_scaling)
        if is_scaling:
            words = f"step {progress.step:,} is skipped: its fp16 gradients overflowed; the loss scale is now {scale:g}"
            self._note(progress, "loss_scale", words)
            return
        what = "its gradients are not finite" if math.isfinite(loss) else f"its loss is {loss}"
        self._note(progress, "skipped_step", f"step {progress.step:,} is skipped: {what}")
        if progress.skipped_in_row > self._train.max_skipped_steps:
            self._saver.finish()
            raise NotFiniteError(
                f"step {progress.step:,}: {what}, the {progress.skipped_in_row}. step in a row that had to be skipped "
                f"(train.max_skipped_steps: {self._train.max_skipped_steps}); {self._saver.newest()}; "
                "a lower train.optimizer.learning_rate may help"
            )

    def _note(self, progress: Progress, kind: events.Kind, words: str) -> None:
        if self._run_dir is not None:
            events.note(self._run_dir, progress.step, kind, words)

"""What of a run's configuration its weights depend on, and what may change between two attempts at it."""

from pathlib import Path
from typing import Any

from configs.errors import BadInputError
from configs.loader import first_difference
from configs.schema import RunConfig, TrainConfig

# What the trained weights depend on, beside the reference, which is compared by sha256 and not by path. The other
# sections may change between stages of one run.
TRAINING_SECTIONS = ("architecture", "data", "train")
# How the work is laid out over processes: free, as long as the global batch stays what it is.
LAYOUT_KEYS = (
    "train.micro_batch_size",
    "train.gradient_accumulation_steps",
    "train.data_parallel_size",
    "train.tensor_parallel_size",
    "train.pipeline_parallel_size",
    "train.zero_stage",
)
# How a run is looked after: free.
CARE_KEYS = (
    "train.checkpoint.every_steps",
    "train.checkpoint.keep_last",
    "train.checkpoint.keep_every_steps",
    "train.checkpoint.asynchronous",
    "train.max_skipped_steps",
    "train.collective_timeout_s",
    "train.trackers",
)


def recipe(config: RunConfig) -> dict[str, Any]:
    """What must stay as it is for the whole life of a run directory, as JSON."""
    tree = config.model_dump(mode="json")
    sections: dict[str, Any] = {section: tree[section] for section in TRAINING_SECTIONS}
    for key in (*LAYOUT_KEYS, *CARE_KEYS):
        *parents, last = key.split(".")
        node = sections
        for part in parents:
            node = node[part]
        del node[last]
    return {**sections, "global_batch_rows": config.train.global_batch_rows}


def check_change(stored: RunConfig, now: RunConfig, run_dir: Path) -> None:
    """Raises BadInputError, naming the key, unless a run of `stored` may go on as `now`."""
    finished = (run_dir / "run.json").is_file()
    free = CARE_KEYS if finished else (*LAYOUT_KEYS, *CARE_KEYS)  # the layout of a finished run is a fact
    difference = first_difference(stored, now, TRAINING_SECTIONS, free)
    if difference:
        raise BadInputError(
            f"--run-dir {run_dir}: holds a run of another config ({difference}); name another directory or delete it"
        )
    if stored.train.global_batch_rows != now.train.global_batch_rows:
        raise BadInputError(f"--run-dir {run_dir}: {_other_batch(stored.train, now.train)}")
    if (stored.train.zero_stage == 0) != (now.train.zero_stage == 0):
        raise BadInputError(
            f"--run-dir {run_dir}: train.zero_stage: {stored.train.zero_stage} there, {now.train.zero_stage} here: "
            "DeepSpeed converts checkpoints between ZeRO stages 1, 2 and 3 only"
        )
    if now.train.zero_stage == 0 and stored.train.tensor_parallel_size != now.train.tensor_parallel_size:
        raise BadInputError(
            f"--run-dir {run_dir}: train.tensor_parallel_size: {stored.train.tensor_parallel_size} there, "
            f"{now.train.tensor_parallel_size} here: DeepSpeed converts no checkpoint of train.zero_stage 0"
        )


def fitted(train: TrainConfig, processes: int) -> TrainConfig:
    """The same recipe on so many processes: data_parallel_size follows them, and the rows of a step stay.

    Raises BadInputError where that cannot be, with what could.
    """
    model, rows = train.tensor_parallel_size * train.pipeline_parallel_size, train.global_batch_rows
    copies = processes // model
    if copies * model != processes or rows % copies:
        fitting = [n * model for n in range(1, rows + 1) if rows % n == 0]
        raise BadInputError(
            f"{processes} processes cannot share {rows} rows a step with train.tensor_parallel_size × "
            f"train.pipeline_parallel_size = {model}; processes that can: {', '.join(map(str, fitting))}"
        )
    micro, accumulation = _split(rows // copies, train.micro_batch_size)
    return train.model_copy(
        update={
            "data_parallel_size": copies,
            "micro_batch_size": micro,
            "gradient_accumulation_steps": accumulation,
        }
    )


def _split(rows: int, largest: int) -> tuple[int, int]:
    """Rows of one rank and step as micro-batch × accumulation, the micro-batch at most `largest`."""
    micro = max(n for n in range(1, min(rows, largest) + 1) if rows % n == 0)
    return micro, rows // micro


def _other_batch(stored: TrainConfig, now: TrainConfig) -> str:
    rows = stored.global_batch_rows
    words = (
        "train.micro_batch_size × train.gradient_accumulation_steps × train.data_parallel_size makes "
        f"{now.global_batch_rows} rows a step here and {rows} there, which would be another recipe"
    )
    if rows % now.data_parallel_size:
        fitting = [n for n in range(1, rows + 1) if rows % n == 0]
        return f"{words}; train.data_parallel_size must divide {rows}: {', '.join(map(str, fitting))}"
    micro, accumulation = _split(rows // now.data_parallel_size, now.micro_batch_size)
    return (
        f"{words}; with train.data_parallel_size={now.data_parallel_size} take train.micro_batch_size={micro} and "
        f"train.gradient_accumulation_steps={accumulation}"
    )

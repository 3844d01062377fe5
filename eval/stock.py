"""lm-eval's own tasks in a run: found, their items loaded and pinned before anything is trained. Imports no lm-eval.

`eval/harness.py` does it in a process of its own and leaves a task file for each benchmark, in which the run's items
have their place: from then on a stock task and a generated one are the same thing.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from configs.errors import BadInputError, WorkFailedError
from configs.files import Record, read_record, sha256_of, sha256_of_json, write_record
from configs.schema import RunConfig
from train import offline
from train.processes import ROOT, worker_environment

RECORD = "stock.json"
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


class Items(Record):
    """The items of one task, before any limit: how many, and the sha256 of them as JSON."""

    items: int
    sha256: str


class StockTasks(Record):
    """stock.json: which of lm-eval's tasks a run asks, of which items, and what that was made from."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    schema_: Literal["replibench.stock/1"] = Field("replibench.stock/1", alias="schema")
    requested: tuple[str, ...]
    lm_eval: str = Field(description="its version, which has the tasks' wording")
    bundle: str | None = Field(description="the directory of `offline`, None: from the hub")
    overrides_sha256: str = Field(description="of the JSON of what `bundle` says of these tasks")
    files: dict[str, str] = Field(description="local file of items → sha256")
    tasks: dict[str, Items]


def check_stock(config: RunConfig) -> None:
    """Raises BadInputError, in no time, for files that `offline` names for a task and does not have."""
    if config.evaluation.suite != "lm_eval" or config.offline is None:
        return
    known = offline.overrides(Path(config.offline))
    for task in config.evaluation.tasks:
        for path in offline.data_files(known[task]) if task in known else ():
            if not path.is_file():
                raise BadInputError(f"offline: {config.offline}: lacks {path}, the items of {task}; {offline.FETCH}")


def prepare_stock(config: RunConfig, directory: Path) -> dict[str, Path]:
    """Write a task file for each of `evaluation.tasks` into `directory`; {task: YAML}. Groups are taken apart.

    Raises BadInputError for a task that lm-eval does not have or whose items `offline` lacks, WorkFailedError where
    they cannot be loaded. Items in a bundle are left as they are; those of the hub are loaded again, as they may lie
    in a cache that is gone, and refused with BadInputError where they are others than before.
    """
    check_stock(config)
    stored = directory / RECORD
    before = found = read_record(stored, StockTasks) if stored.is_file() else None
    if found is None or not _is_current(found, config):
        told = ask_harness(config, {"directory": str(directory.resolve())})
        bundle = config.offline
        used = offline.overrides(Path(bundle)) if bundle else {}
        files = [path for task in told for path in offline.data_files(used[task])] if bundle else []
        found = StockTasks(
            requested=config.evaluation.tasks,
            lm_eval=metadata.version("lm_eval"),
            bundle=bundle,
            overrides_sha256=_overrides_sha256(bundle, told),
            files={str(path): sha256_of(path) for path in files},
            tasks={task: Items.model_validate(items) for task, items in told.items()},
        )
        _check_same(before, found, directory)
        write_record(stored, found)
    for task in config.evaluation.num_fewshot_of:
        if task not in found.tasks:
            raise BadInputError(
                f"evaluation.num_fewshot_of.{task}: is none of the run's tasks; choices: {', '.join(found.tasks)}"
            )
    return stock_files(directory)


def stock_files(directory: Path) -> dict[str, Path]:
    """{task: YAML} of a prepared suite."""
    return {task: directory / f"{task}.yaml" for task in read_record(directory / RECORD, StockTasks).tasks}


def items_asked(directory: Path) -> dict[str, Any]:
    """What identifies the items of a prepared suite and how they are asked, as JSON."""
    found = read_record(directory / RECORD, StockTasks)
    items = {task: items.model_dump() for task, items in found.tasks.items()}
    return {"items": items, "overrides": found.overrides_sha256}


def texts_of_stock(directory: Path) -> dict[str, Path]:
    """{task: JSON lines with the `texts` of each item}: what a model is shown, for what looks for it in a corpus."""
    return {task: directory / "texts" / f"{task}.jsonl" for task in read_record(directory / RECORD, StockTasks).tasks}


def ask_harness(config: RunConfig, work: Mapping[str, Any]) -> dict[str, Any]:
    """Have eval/harness.py load the run's tasks (see `StockWork` there); what it tells of each. Errors as above."""
    env = worker_environment(threads=1, device="cpu")
    known: Mapping[str, Any] = {}
    if config.offline is not None:
        known = offline.overrides(Path(config.offline))
        env |= OFFLINE
    with_tasks = {"stock": config.evaluation.tasks, "overrides": known, "bundle": config.offline, **work}
    env |= datasets_cache(config, Path(work["directory"]))
    command = [sys.executable, str(ROOT / "eval" / "harness.py"), "-"]
    done = subprocess.run(command, input=json.dumps(with_tasks), capture_output=True, text=True, env=env, check=False)
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    failed = next((message for message in messages if "error" in message), None)
    if failed is not None:
        raise (BadInputError if failed.get("input") else WorkFailedError)(f"evaluation.tasks: {failed['error']}")
    if done.returncode or not messages:
        raise WorkFailedError(f"evaluation.tasks: loading them failed: {_last_line(done.stderr)}")
    told: dict[str, Any] = messages[-1]["tasks"]
    return told


def datasets_cache(config: RunConfig, directory: Path) -> dict[str, str]:
    """Where `datasets` keeps what it made of local items: beside them; what the hub gave stays in the user's own."""
    generated = config.evaluation.suite != "lm_eval" or config.offline is not None
    return {"HF_DATASETS_CACHE": str(directory / ".cache")} if generated else {}


def _check_same(before: StockTasks | None, now: StockTasks, directory: Path) -> None:
    """Raises BadInputError where the same tasks from the same place have other items: a run keeps those it began with.

    Files of a bundle that changed are another place, and known as such.
    """
    if before is None or before.model_copy(update={"tasks": now.tasks}) != now:
        return
    other = next((task for task, items in now.tasks.items() if items != before.tasks.get(task)), None)
    if other is not None:
        raise BadInputError(
            f"evaluation.tasks: {other}: the hub's items are others now than those that {directory} began with; "
            "name another --run-dir"
        )


def _is_current(found: StockTasks, config: RunConfig) -> bool:
    if found.bundle is None:  # nothing says whether the hub's items are still on this machine
        return False
    same = (found.requested, found.bundle, found.lm_eval)
    if same != (config.evaluation.tasks, config.offline, metadata.version("lm_eval")):
        return False
    if found.overrides_sha256 != _overrides_sha256(found.bundle, found.tasks):
        return False
    files = {Path(path): wanted for path, wanted in found.files.items()}
    return all(path.is_file() and sha256_of(path) == wanted for path, wanted in files.items())


def _overrides_sha256(bundle: str | None, tasks: Iterable[str]) -> str:
    """Of what a bundle changes in these tasks, wherever it lies; of nothing where there is none."""
    if bundle is None:
        return sha256_of_json({})
    known = offline.overrides(Path(bundle))
    text = json.dumps({task: known.get(task) for task in tasks}, sort_keys=True)
    return sha256_of_json(text.replace(str(Path(bundle).resolve()), ""))


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"

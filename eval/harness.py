"""Models through lm-eval, all in one process: the only module that imports it, so nothing else has to wait for that.

    python eval/harness.py '{"models": [{"model": …, "output": …}], "benchmarks": …, "tasks": […], …}'
    echo '{"stock": ["piqa", …], "directory": …, …}' | python eval/harness.py -    (lm-eval's own tasks: eval/stock.py)

lm-eval and its tasks are loaded once, the requests are built once, and tokenised once for all models of one tokenizer.
Then each model answers and lm-eval scores it: on a CPU in forked processes side by side, which share all of that; on a
GPU one after the other. What happens is told on stdout, one JSON object a line (see `Reporter`).
"""

import difflib
import functools
import gc
import hashlib
import json
import math
import multiprocessing
import os
import re
import signal
import sys
import time
import traceback
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lm_eval.tasks
import lm_eval.utils
import torch
from lm_eval import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from tqdm import tqdm  # type: ignore[import-untyped]

from configs.errors import first_line
from configs.files import atomic_writer
from train.processes import die_with_parent, parent_of_next

Samples = Mapping[str, list[dict[str, Any]]]  # by task, as lm-eval has them
Encodings = dict[str, "array[int]"]  # the token ids of a text
REPORT_EVERY_S = 0.3
ENCODE_AT_ONCE = 10_000
CHECKED = 20
CAN_FORK = sys.platform == "linux"  # elsewhere libraries do not survive it
# lm-eval's command line has these: with them, few-shot examples are the same ones
SEEDS = {"random_seed": 0, "numpy_random_seed": 1234, "torch_random_seed": 1234, "fewshot_random_seed": 1234}


class Reporter:
    """What one model's evaluation tells: {"model"} with a "share" of requests, a "warning", an "error" or "complete".

    lm-eval calls `add_partial` with each answer (it would write it into its cache).
    """

    def __init__(self, stream: int, model: str | None, total: int = 0) -> None:
        self.stream, self.model, self.total = stream, model, total
        self.done, self.told_at = 0, 0.0

    def add_partial(self, attr: str, req: Any, res: Any) -> None:
        self.done += 1
        if time.monotonic() - self.told_at > REPORT_EVERY_S:
            self.told_at = time.monotonic()
            self.tell(share=self.done / self.total)

    def tell(self, **what: Any) -> None:
        # one short write, so that the lines of two processes do not mix
        os.write(self.stream, (json.dumps({"model": self.model, **what}) + "\n").encode())

    def tell_once(self, **what: Any) -> None:
        """What may be longer than one write takes, where nobody else writes."""
        with os.fdopen(os.dup(self.stream), "w") as stream:
            stream.write(json.dumps({"model": self.model, **what}) + "\n")


class SharedEncodingsLM(HFLM):  # type: ignore[misc]  # lm-eval has no types
    """lm-eval's Hugging Face model, but texts that were tokenised before are looked up."""

    encodings: Mapping[str, "array[int]"] = {}

    def encode_ahead(self, requests: Iterable[Any], by_tokenizer: dict[str, Encodings]) -> None:
        """Tokenise in bulk what `requests` will ask for, unless a model of the same tokenizer has done so."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:  # not a fast one: lm-eval does it, text by text
            return
        key = backend.to_str()  # the tokenizer as it was built from its files, to the last token
        if key not in by_tokenizer:
            # lm-eval does not add special tokens to a text that begins with one: such a text is left to it
            bos = self.tokenizer.decode(self.prefix_token_id)
            texts = [text for text in texts_of(requests) if not text.startswith(bos)]
            by_tokenizer[key] = self._encode_all(backend, texts)
        self.encodings = by_tokenizer[key]

    def _encode_all(self, backend: Any, texts: list[str]) -> Encodings:
        found: Encodings = {}
        for start in range(0, len(texts), ENCODE_AT_ONCE):
            some = texts[start : start + ENCODE_AT_ONCE]
            # without the offsets and masks that lm-eval would get and not use
            ids = (array("I", encoding.ids) for encoding in backend.encode_batch_fast(some))
            found.update(zip(some, ids, strict=True))
        checked = texts[:: 1 + len(texts) // CHECKED]
        # where lm-eval would encode otherwise (its special tokens are its own), everything is left to it
        return found if all(self.tok_encode(text) == found[text].tolist() for text in checked) else {}

    def tok_encode(self, string: str, *arguments: Any, **options: Any) -> list[int]:
        """lm-eval's own, but for texts that are known; it is always asked when there are special wishes."""
        known = None if arguments or options else self.encodings.get(string)
        return known.tolist() if known is not None else super().tok_encode(string, *arguments, **options)


def texts_of(requests: Iterable[Any]) -> list[str]:
    """What lm-eval will tokenise for them, each once. A text that is missing here costs time, nothing else."""
    found: dict[str, None] = {}
    for request in requests:
        context = request.args[0]
        if request.request_type != "loglikelihood":
            found[context] = None
        elif context:  # the choices of a question share it; lm-eval moves its trailing spaces to the continuation
            found[context.rstrip()] = found[context + request.args[1]] = None
    return list(found)


class Evaluations:
    """Models on the same requests: what they share, and how each is done.

    `work` is what eval/launch.py asks for; `stream` the file descriptor for what is told.
    """

    def __init__(self, work: Mapping[str, Any], stream: int) -> None:
        self.work, self.stream = work, stream
        self.jobs: list[dict[str, str]] = work["models"]
        self.device = "cuda" if work["device"] != "cpu" and torch.cuda.is_available() else "cpu"
        # without lm-eval's own tasks: it would read some ten thousand files
        self.manager = TaskManager(include_path=work["benchmarks"], include_defaults=False)
        # lm-eval compiles a template again for each document: github.com/EleutherAI/lm-evaluation-harness/issues/1286
        lm_eval.utils.env.from_string = functools.lru_cache(lm_eval.utils.env.from_string)
        self.tasks = list(self.manager.load(list(work["tasks"]))["tasks"].values())
        for task in self.tasks:
            check_items(task, work["pinned"].get(task.config.task))
            build_requests(task, work["num_fewshot_of"].get(task.config.task, work["num_fewshot"]), work["limit"])
        self.requests = [request for task in self.tasks for request in task.instances]
        self.by_tokenizer: dict[str, Encodings] = {}

    def run(self) -> None:
        """Evaluate all. Exits with 1 after the first failure, which was told."""
        if self.device == "cpu" and len(self.jobs) > 1 and CAN_FORK:
            self._side_by_side()
        else:
            _settle()
            for job in self.jobs:
                self._evaluate(job)

    def load(self, model: str) -> SharedEncodingsLM:
        """The Hugging Face directory `model`, ready to answer."""
        lm = SharedEncodingsLM(
            pretrained=model,
            dtype=self.work["dtype"],
            device=self.device,
            batch_size=self.work["batch_size"],
            use_safetensors=True,
        )
        lm.encode_ahead(self.requests, self.by_tokenizer)
        return lm

    def _side_by_side(self) -> None:
        loaded = []
        for job in self.jobs:  # before they part: what is imported for it and the token ids are shared
            with self._telling(job):
                loaded.append(self.load(job["model"]))
        _settle()
        parent_of_next()
        context = multiprocessing.get_context("fork")
        parts = [context.Process(target=self._evaluate, args=one) for one in zip(self.jobs, loaded, strict=True)]
        for part in parts:
            part.start()
        for job, part in zip(self.jobs, parts, strict=True):
            part.join()
            if part.exitcode and part.exitcode < 0:  # it could not tell that itself
                why = f"ended by signal {-part.exitcode} (9: perhaps for want of memory)"
                Reporter(self.stream, job["model"]).tell(error=why)
        if any(part.exitcode for part in parts):
            sys.exit(1)

    def _evaluate(self, job: dict[str, str], lm: SharedEncodingsLM | None = None) -> None:
        """Write lm-eval's results_*.json and samples_*.jsonl of one model to job["output"]."""
        die_with_parent(signal.SIGKILL)
        with self._telling(job) as reporter, torch.inference_mode():
            _log_to(Path(job["output"]) / "lm_eval.log")
            torch.set_num_threads(self.work["threads"])
            tracker = EvaluationTracker(output_path=job["output"])
            results = self._results(lm or self.load(job["model"]), job["model"], tracker, reporter)
            samples = results.pop("samples")
            for warning in not_finite(samples):
                reporter.tell(warning=warning)
            save(tracker, results, samples, Path(job["output"]))
            reporter.tell(share=1.0, complete=True)

    def _results(
        self, lm: SharedEncodingsLM, model: str, tracker: EvaluationTracker, reporter: Reporter
    ) -> dict[str, Any]:
        for request in self.requests:  # it may have the answers of the model before
            request.resps, request.filtered_resps = [], {}
        lm.set_cache_hook(reporter)
        results: dict[str, Any] = simple_evaluate(
            model=lm,
            model_args={"pretrained": model, "dtype": self.work["dtype"], "max_length": lm.max_length},
            tasks=self.tasks,
            task_manager=self.manager,
            limit=self.work["limit"],
            batch_size=self.work["batch_size"],  # this and the device are only noted: the model is loaded
            device=self.device,
            log_samples=True,
            evaluation_tracker=tracker,
            **SEEDS,
        )
        results["config"]["model"] = results["model_name"] = Path(model).name
        return results

    @contextmanager
    def _telling(self, job: dict[str, str]) -> Iterator[Reporter]:
        """What fails within is told, and ends the process."""
        reporter = Reporter(self.stream, job["model"], sum(request.repeats or 1 for request in self.requests))
        try:
            yield reporter
        except Exception as error:
            traceback.print_exc()
            reporter.tell(error=f"{type(error).__name__}: {first_line(error)}")
            sys.exit(1)


def build_requests(task: Any, num_fewshot: int, limit: int | None) -> None:
    """Build a task's requests as lm-eval's `evaluate` would, which then finds them there for every model."""
    if task.get_config("num_fewshot") != 0:  # lm-eval's own rule: a 0 in the task's file stands
        task.set_config("num_fewshot", num_fewshot)
    task.set_fewshot_seed(SEEDS["fewshot_random_seed"])
    task.build_all_requests(limit=limit)
    task.build_all_requests = lambda **_: None


class BadTaskError(Exception):
    """A task that lm-eval does not have, or whose items are not where they should be."""


def prepare_stock(work: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Find lm-eval's own tasks, write a file for each into work["directory"] and load its items from there.

    Told of each task: the number of its items and their sha256. With work["export"] their splits are written there too,
    and what points a task at them is told as "override". Raises BadTaskError.
    """
    manager = _manager_of(work["stock"])
    overrides, bundle = work["overrides"], work["bundle"]
    names = list(dict.fromkeys(leaf for name in work["stock"] for leaf in leaves(manager, name)))
    directory = Path(work["directory"])
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        override = overrides.get(name, {})
        if bundle is not None:
            _check_local(name, override, bundle)
        stock = {"include": str(manager.task_index[name].yaml_path), "task": name, **override}
        (directory / f"{name}.yaml").write_text(json.dumps(stock, indent=1), encoding="utf-8")  # JSON is YAML
    own = TaskManager(include_path=str(directory), include_defaults=False)
    told = {}
    for name in names:
        task = _load(own, name)
        told[name] = fingerprint(task)
        write_texts(task, directory / "texts" / f"{name}.jsonl")
        if work.get("export"):
            told[name]["override"] = export(task, Path(work["export"]), overrides.get(name, {}))
    return told


def leaves(manager: TaskManager, name: str) -> Iterator[str]:
    """The tasks that a task, group or tag of lm-eval is made of."""
    entry = manager.task_index.get(name)
    if entry is None:
        close = difflib.get_close_matches(name, manager.all_tasks, n=3)
        raise BadTaskError(f"lm-eval has no task {name!r}" + (f"; did you mean {' or '.join(close)}?" if close else ""))
    if entry.kind.name == "TAG":
        yield from sorted(entry.tags)
    elif entry.kind.name == "GROUP":
        for member in (entry.cfg or {})["task"]:
            if not isinstance(member, str):
                raise BadTaskError(f"{name} is a group that sets up its tasks itself; name tasks instead")
            yield from leaves(manager, member)
    else:
        yield name


def fingerprint(task: Any) -> dict[str, Any]:
    """How many items a loaded task has, and the sha256 of them."""
    digest = hashlib.sha256()
    documents = task.eval_docs
    for document in documents:
        digest.update(json.dumps(document, sort_keys=True, default=str).encode() + b"\n")
    return {"items": len(documents), "sha256": digest.hexdigest()}


def check_items(task: Any, pinned: str | None) -> None:
    """Raises BadTaskError where a loaded task's items are not those of the sha256 `pinned`, if there is one."""
    if pinned is not None and fingerprint(task)["sha256"] != pinned:
        raise BadTaskError(f"{task.config.task}: its items are others than those that the run began with (stock.json)")


def write_texts(task: Any, path: Path) -> None:
    """What a model sees of each item of a loaded task: a JSON line each, with `texts`, a request of lm-eval's each.

    A text is the item's own prompt with one choice, target or answer behind it, as rendered; without examples and the
    description before it, which are no part of the item.
    """
    task.set_config("description", "")
    task.set_fewshot_seed(SEEDS["fewshot_random_seed"])
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        for document in task.eval_docs:
            texts = list(dict.fromkeys(_texts_shown(task, document)))
            stream.write(json.dumps({"texts": texts}) + "\n")


def _texts_shown(task: Any, document: Any) -> Iterator[str]:
    context = task.fewshot_context(document, num_fewshot=0, gen_prefix=task.doc_to_prefix(document))
    requests = task.construct_requests(doc=document, ctx=context)
    for request in requests if isinstance(requests, list) else [requests]:
        if request.request_type == "generate_until":
            delimiter = task.config.target_delimiter
            yield from (request.args[0] + delimiter + answer for answer in _answers(task, document))
        else:  # (context, continuation), or the text alone
            yield "".join(part for part in request.args if isinstance(part, str))


def _answers(task: Any, document: Any) -> Iterator[str]:
    """The right answers to what is to be generated; a number is that of a choice."""
    targets = task.doc_to_target(document)
    choices = task.doc_to_choice(document) if task.config.doc_to_choice else None
    for target in targets if isinstance(targets, list | tuple) else [targets]:
        yield str(target if choices is None or not isinstance(target, int) else choices[target])


def export(task: Any, bundle: Path, override: Mapping[str, Any]) -> dict[str, Any]:
    """Write the splits that a task uses as JSON lines; the keys that point the task at them, relative to `bundle`."""
    files = {}
    keys = ("training_split", "validation_split", "test_split", "fewshot_split")
    for split in dict.fromkeys(filter(None, (task.get_config(key) for key in keys))):
        if split in task.dataset:
            path = Path("benchmarks") / task.config.task / f"{split}.jsonl"
            with atomic_writer(bundle / path, "wb") as stream:  # the file may be in use already
                task.dataset[split].to_json(stream)
            files[split] = str(path)
    return {**override, "dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": files}}


def _manager_of(names: list[str]) -> TaskManager:
    """lm-eval's index of the folders that define `names`: of all of them it takes half a minute."""
    root = Path(lm_eval.tasks.__file__).parent
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in root.glob("*/**/*.yaml")}
    folders = set()
    for name in names:
        defines = re.compile(rf"^(task|group|tag):\s*[\"']?{re.escape(name)}[\"']?\s*$", re.MULTILINE)
        found = {path.relative_to(root).parts[0] for path, text in texts.items() if defines.search(text)}
        if len(found) != 1:
            return TaskManager()
        folders |= found
    manager = TaskManager(include_path=[root / folder for folder in sorted(folders)], include_defaults=False)
    try:
        for name in names:
            list(leaves(manager, name))
    except BadTaskError:  # a group's tasks may lie in another folder
        return TaskManager()
    return manager


def _check_local(name: str, override: Mapping[str, Any], bundle: str) -> None:
    if not override:
        raise BadTaskError(
            f"{name}: offline: {bundle} does not have its items; `replibench fetch CONFIG --to DIR` does"
        )
    for path in override["dataset_kwargs"]["data_files"].values():
        if not Path(path).is_file():
            raise BadTaskError(f"{name}: offline: {path}: no such file")


def _load(manager: TaskManager, name: str) -> Any:
    try:
        return manager.load([name])["tasks"][name]
    except Exception as error:  # datasets and the hub's client have many types
        raise RuntimeError(
            f"{name}: its items cannot be loaded: {type(error).__name__}: {first_line(error)}"
        ) from error


def not_finite(samples: Samples) -> Iterator[str]:
    """A line for each task with log-likelihoods that are no numbers; `samples` are lm-eval's, by task."""
    for task, rows in samples.items():
        documents = [row["doc_id"] for row in rows if not all(map(math.isfinite, _log_likelihoods(row["resps"])))]
        if documents:
            more = f" and {len(documents) - 1:,} more" if len(documents) > 1 else ""
            yield f"{task}: document {documents[0]}{more}: a log-likelihood is not finite"


def _log_likelihoods(responses: list[list[Any]]) -> Iterator[float]:
    """Of one document, from lm-eval's (log-likelihood, greedy) or log-likelihood; a generated text has none."""
    for response in (response for request in responses for response in request):
        value = response[0] if isinstance(response, tuple) else response
        if isinstance(value, float):
            yield value


def save(tracker: EvaluationTracker, results: dict[str, Any], samples: Samples, directory: Path) -> None:
    """By lm-eval's tracker. It only logs that it could not write a file; here that is an OSError or a ValueError."""
    tracker.general_config_tracker.model_name = results["model_name"]
    tracker.general_config_tracker.model_name_sanitized = "."  # straight into the output directory
    tracker.save_results_aggregated(results=results, samples=samples)
    json.loads((directory / f"results_{tracker.date_id}.json").read_text(encoding="utf-8"))
    for task, rows in samples.items():
        tracker.save_results_samples(task_name=task, samples=rows)
        path = directory / f"samples_{task}_{tracker.date_id}.jsonl"
        if path.read_bytes().count(b"\n") != len(rows):
            raise OSError(f"{path} could not be written whole; is the disk full?")


def _settle() -> None:
    """What was built is kept to the end: the collector need not look at it again, nor a fork copy it for that."""
    gc.freeze()
    gc.enable()


def _log_to(path: Path) -> None:
    """What this process prints from here on goes into the file `path`."""
    with path.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


def main(arguments: str) -> None:
    """Do what `arguments`, a JSON object, asks for."""
    die_with_parent(signal.SIGKILL)
    stream = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints is no message of ours
    torch.set_num_threads(1)  # a process that has threads must not be forked
    tqdm.monitor_interval = 0
    gc.disable()  # building makes many objects and no garbage
    try:
        if arguments == "-":
            Reporter(stream, None).tell_once(tasks=prepare_stock(json.load(sys.stdin)))
        else:
            Evaluations(json.loads(arguments), stream).run()
    except BadTaskError as error:
        Reporter(stream, None).tell(error=str(error), input=True)
        sys.exit(1)
    except Exception as error:
        traceback.print_exc()
        Reporter(stream, None).tell(error=f"{type(error).__name__}: {first_line(error)}")
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1])

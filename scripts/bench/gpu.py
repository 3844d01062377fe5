"""How fast one GPU trains here: speed, MFU, memory and energy at three sizes, nanoGPT beside them, bf16 against fp32.

    python -m scripts.bench.gpu --nanogpt DIR --output gpu.json     (one call, less than eight minutes)
    python -m scripts.bench.gpu --render gpu.json                   (puts its figures into docs/performance.md)

Each measurement has a process of its own; one that fails, runs out of memory or has no time left is recorded with the
reason, and the others go on. Exit code 2 without a GPU, 3 when a measurement failed.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from accounting.architecture import Architecture
from accounting.hf_config import to_hf_config
from configs.errors import BadInputError
from configs.files import read_record, write_record, write_text
from configs.presets import architecture
from scripts.bench.gpu_page import page_text
from scripts.bench.gpu_record import Case, Device, GpuBench, LossGap, Outcome
from scripts.documents import between
from train.processes import ROOT, worker_environment

PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- gpu: begin (python -m scripts.bench.gpu --render) -->", "<!-- gpu: end -->"
BUDGET_S = 460.0  # so that the whole stays under eight minutes
LONGEST_S = 180.0  # of one measurement: one that hangs leaves time for others
SHORTEST_S = 20.0  # with less than that left a measurement is not begun
MODELS = {"gpt2-124m": 1024, "gpt2-355m": 1024, "gpt3-1.3b": 2048}  # preset → sequence length
SHARE_OF_MEMORY = 0.9
# What this implementation holds beside what `accounting.memory` counts, eager (docs/performance.md says what it is).
LOGITS_UNCOUNTED = 2.5  # of the counted ones
GRADIENT_BYTES_UNCOUNTED = 4  # a parameter
LARGEST_MICRO_BATCH = 1024
ACCUMULATION = 4
NANOGPT_VOCABULARY = 50_304  # 50,257 rounded up to a multiple of 64, as its train.py does
LOSSES_CONFIG: dict[str, Any] = {
    "model_type": "gpt2",
    "vocab_size": 512,
    "n_layer": 6,
    "n_embd": 256,
    "n_head": 8,
    "n_positions": 256,
    "bos_token_id": 0,
    "eos_token_id": 0,
}


def plan(device: Device, nanogpt: Path | None, corpus: Path) -> list[Case]:
    """All measurements, the ones that matter most first: the budget may not reach the last."""
    small, middle, large = MODELS
    cases = [_training(small, device, compiled=True)]
    if nanogpt:
        cases.append(_nanogpt(small, device, nanogpt))
    cases += [_training(large, device, compiled=True), _training(middle, device, compiled=True)]
    cases += [_losses("bf16", corpus), _losses("fp32", corpus)]
    cases += [_training(model, device, compiled=False) for model in (small, large, middle)]
    if nanogpt:
        cases += [_nanogpt(large, device, nanogpt), _nanogpt(middle, device, nanogpt)]
    return cases


def largest_micro_batch(case: Case, device_bytes: int) -> int:
    """The largest power of two of rows whose expected memory fits. Raises BadInputError where not even one does."""
    fitting, size = 0, 1
    while size <= LARGEST_MICRO_BATCH and _expected_bytes(case, size) <= SHARE_OF_MEMORY * device_bytes:
        fitting, size = size, 2 * size
    if not fitting:
        raise BadInputError(
            f"{case.title}: one row of {case.sequence_length} tokens does not fit into this GPU's memory"
        )
    return fitting


def run_case(case: Case, directory: Path, timeout_s: float) -> Outcome:
    """Measure in a process of its own, with its files in `directory`; never raises for what goes wrong there."""
    directory.mkdir(parents=True)
    write_record(directory / "case.json", case)
    start = time.monotonic()
    result = _worker(directory, timeout_s, case.device)
    status = result.pop("status", "measured")
    return Outcome(case=case, status=status, took_s=round(time.monotonic() - start, 1), **result)


def run_all(cases: Sequence[Case], directory: Path, budget_s: float) -> Iterator[Outcome]:
    """Each case's outcome; of one that runs out of memory also that of the same with half the rows, and so on."""
    deadline = time.monotonic() + budget_s
    waiting = list(cases)
    for number in range(sys.maxsize):
        if not waiting:
            return
        case, left = waiting.pop(0), deadline - time.monotonic()
        if left < SHORTEST_S:
            reason = f"{max(0, left):.0f} s of the budget of {budget_s:.0f} s were left"
            yield Outcome(case=case, status="skipped", reason=reason, took_s=0)
            continue
        outcome = run_case(case, directory / str(number), min(left, LONGEST_S))
        yield outcome
        if outcome.status == "out_of_memory" and case.micro_batch_size > 1:
            waiting.insert(0, case.model_copy(update={"micro_batch_size": case.micro_batch_size // 2}))


def updated(page: str, record: GpuBench) -> str:
    """The page with the record's figures between its markers."""
    return between(page, PAGE.name, BEGIN, END, page_text(record))


def main() -> None:
    """See the module."""
    options = _options()
    try:
        if options.render:
            record = read_record(options.render, GpuBench)
            write_text(PAGE, updated(PAGE.read_text(encoding="utf-8"), record))
            return
        record = _bench(options.nanogpt, options.budget)
        write_record(options.output, record)
    except BadInputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(BadInputError.exit_code)
    print(page_text(record))
    bad = [outcome for outcome in record.outcomes if outcome.status in ("failed", "timed_out")]
    sys.exit(3 if bad else 0)


def _bench(nanogpt: Path | None, budget_s: float) -> GpuBench:
    if nanogpt and not (nanogpt / "model.py").is_file():
        raise BadInputError(f"--nanogpt {nanogpt}: has no model.py; name a checkout of nanoGPT")
    start = time.monotonic()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="gpu-bench-") as name:
        device = _device(Path(name))
        cases = plan(device, nanogpt.resolve() if nanogpt else None, Path(name) / "corpus")
        for outcome in run_all(cases, Path(name), budget_s - (time.monotonic() - start)):
            outcomes.append(outcome)
            said = f": {outcome.reason}" if outcome.reason else ""
            print(f"{outcome.case.title}: {outcome.status}, {outcome.took_s:.0f} s{said}", file=sys.stderr)
    commit, status = _git(ROOT, "rev-parse", "HEAD"), _git(ROOT, "status", "--porcelain")
    return GpuBench(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit,
        dirty=None if status is None else bool(status),
        nanogpt_commit=_git(nanogpt, "rev-parse", "HEAD") if nanogpt else None,
        versions={name: _version(name) for name in ("torch", "triton", "deepspeed", "transformers", "numpy")}
        | {"python": sys.version.split()[0]},
        device=device,
        budget_s=budget_s,
        took_s=round(time.monotonic() - start, 1),
        outcomes=tuple(outcomes),
        loss_gap=_loss_gap(outcomes),
    )


def _device(directory: Path) -> Device:
    """Asked in a process of its own too: one that has touched the GPU keeps some of its memory."""
    (directory / "device").mkdir()
    result = _worker(directory / "device", LONGEST_S, "cuda")
    if "reason" in result:
        raise BadInputError(f"the GPU cannot be used: {result['reason']}")
    if result["device"] is None:
        raise BadInputError("torch sees no GPU here; this bench needs one")
    return Device.model_validate(result["device"])


def _training(model: str, device: Device, *, compiled: bool) -> Case:
    return _fitted(_case("training", model, architecture(model), compiled), device)


def _nanogpt(model: str, device: Device, checkout: Path) -> Case:
    """The rows of a micro-batch are ours, so that both get the same batch."""
    rows = _training(model, device, compiled=True).micro_batch_size
    shape = architecture(model).model_copy(update={"padded_vocab_size": NANOGPT_VOCABULARY})
    case = _case("nanogpt", model, shape, compiled=True)
    return case.model_copy(update={"micro_batch_size": rows, "directory": str(checkout)})


def _case(what: Any, model: str, shape: Architecture, compiled: bool) -> Case:
    return Case(
        what=what,
        model=model,
        hf_config=to_hf_config(shape),
        sequence_length=MODELS[model],
        micro_batch_size=1,
        gradient_accumulation_steps=ACCUMULATION,
        precision="bf16",
        compiled=compiled,
        warm_up_steps=3,
        steps=20,
        timed_s=10,
    )


def _losses(precision: Any, corpus: Path) -> Case:
    return Case(
        what="losses",
        model="gpt2 6×256",
        hf_config=LOSSES_CONFIG,
        sequence_length=256,
        micro_batch_size=16,
        gradient_accumulation_steps=1,
        precision=precision,
        compiled=False,
        warm_up_steps=0,
        steps=300,
        timed_s=0,
        directory=str(corpus),
    )


def _fitted(case: Case, device: Device) -> Case:
    return case.model_copy(update={"micro_batch_size": largest_micro_batch(case, device.memory_bytes)})


def _expected_bytes(case: Case, rows: int) -> float:
    counted = case.model_copy(update={"micro_batch_size": rows}).predicted_memory()
    more = LOGITS_UNCOUNTED * counted.logits
    return counted.total + more + GRADIENT_BYTES_UNCOUNTED * case.architecture.parameter_counts().total


def _worker(directory: Path, timeout_s: float, device: str) -> dict[str, Any]:
    """What the process left in result.json, or a `status` with the `reason` why it left nothing."""
    # torchrun's environment for one process; port 0: any that is free
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    alone |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "HF_HUB_OFFLINE": "1"}
    log = directory / "log"
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.bench.gpu_worker", str(directory)],
            env=worker_environment(1, "cpu" if device == "cpu" else "auto") | alone,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,  # with its compile workers, so that none of them outlives it
        )
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return {
                "status": "timed_out",
                "reason": f"not done after {timeout_s:.0f} s; last words: {_last_words(log)}",
            }
        finally:
            _end(process)
    if (directory / "result.json").is_file():
        result: dict[str, Any] = json.loads((directory / "result.json").read_text(encoding="utf-8"))
        return result
    return {"status": "failed", "reason": f"ended with {code} and no result; last words: {_last_words(log)}"}


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):  # nobody of the group is left
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "-")


def _loss_gap(outcomes: Sequence[Outcome]) -> LossGap | None:
    curves: dict[str, tuple[float, ...]] = {o.case.precision: o.losses for o in outcomes if o.losses is not None}
    return LossGap.between(curves) if len(curves) > 1 else None


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(directory), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", type=Path, metavar="DIR", help="a checkout of nanoGPT, to be measured beside ours")
    parser.add_argument("--output", type=Path, metavar="FILE", default=Path("gpu.json"), help="default: gpu.json")
    parser.add_argument("--budget", type=float, metavar="SECONDS", default=BUDGET_S, help=f"default: {BUDGET_S:.0f}")
    parser.add_argument("--render", type=Path, metavar="FILE", help="measure nothing; a record's figures into the page")
    return parser.parse_args()


if __name__ == "__main__":
    main()

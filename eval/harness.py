"""One model through lm-eval: the only module that imports it. Run as a process of its own, so that two models can be
evaluated side by side and nothing else has to wait for the import.

    python eval/harness.py '{"model": …, "benchmarks": …, "output": …, …}'
"""

import json
import signal
import sys
from pathlib import Path
from typing import Any

from train.processes import die_with_parent


def evaluate(job: dict[str, Any]) -> None:
    """Evaluate the Hugging Face directory job["model"] on the lm-eval tasks in job["benchmarks"], into job["output"].

    Writes lm-eval's own results_*.json and samples_*.jsonl. Everything is read from disk: no hub, no stock tasks.
    """
    import torch
    from lm_eval import simple_evaluate
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(job["threads"])
    device = "cuda" if job["device"] != "cpu" and torch.cuda.is_available() else "cpu"
    # fp32 on every device: rounding must not be what separates two models
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32).to(device).eval()
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    lm = HFLM(
        pretrained=model,
        tokenizer=tokenizer,
        batch_size=job["batch_size"],
        max_length=model.config.max_position_embeddings,
    )
    tracker = EvaluationTracker(output_path=job["output"])
    results = simple_evaluate(
        model=lm,
        tasks=job["tasks"],
        task_manager=TaskManager(include_path=job["benchmarks"], include_defaults=False),
        num_fewshot=job["num_fewshot"],
        log_samples=True,
        bootstrap_iters=0,  # the criterion computes its own intervals, from the samples
        evaluation_tracker=tracker,
        random_seed=0,
        numpy_random_seed=0,
        torch_random_seed=0,
        fewshot_random_seed=0,
    )
    # With a loaded model lm-eval records none of these.
    results["config"].update(
        model=Path(job["model"]).name,
        model_args={"pretrained": job["model"], "dtype": "float32", "max_length": lm.max_length},
        batch_size=job["batch_size"],
        device=device,
    )
    results["model_name"] = Path(job["model"]).name
    tracker.general_config_tracker.model_name = Path(job["model"]).name
    tracker.general_config_tracker.model_name_sanitized = "."  # straight into the output directory
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    for task in results["configs"]:
        tracker.save_results_samples(task_name=task, samples=samples[task])


if __name__ == "__main__":
    die_with_parent(signal.SIGKILL)
    evaluate(json.loads(sys.argv[1]))

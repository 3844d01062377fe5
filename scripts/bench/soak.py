"""Kill one run at random, again and again, and see whether it ends as the run that nobody touched.

python -m scripts.bench.soak --kills 50 --write     (the figures also go into docs/reliability.md)
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from configs.files import write_text
from scripts.bench.victim import Victim, last_step, left_behind, shared_memory, train_command
from scripts.documents import between

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- soak: begin (python -m scripts.bench.soak --write) -->", "<!-- soak: end -->"
STEPS_PER_KILL = 24
# what is done, to whom, and how the command must then end; None: to the command itself
BLOWS: dict[str, tuple[signal.Signals, bool, tuple[int, ...]]] = {
    "kill -9 of a rank": (signal.SIGKILL, True, (3,)),
    "kill -9 of the command": (signal.SIGKILL, False, (-signal.SIGKILL,)),
    "SIGTERM to a rank": (signal.SIGTERM, True, (75,)),
    "SIGTERM to the command": (signal.SIGTERM, False, (75,)),
    "SIGUSR1 to the command": (signal.SIGUSR1, False, (75,)),
}
ARCHITECTURE = {
    "model_type": "gpt_neox",
    "vocab_size": 512,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": 0,
}


def run_config(kills: int) -> dict[str, Any]:
    """A tiny model on two ranks; a checkpoint every ten steps."""
    steps = STEPS_PER_KILL * (kills + 1)
    return {
        "name": "soak",
        "architecture": ARCHITECTURE,
        "data": {"documents": max(1500, 6 * steps), "held_out_documents": 20},
        "train": {
            "steps": steps,
            "device": "cpu",
            "sequence_length": 32,
            "micro_batch_size": 1,
            "data_parallel_size": 2,
            "log_every_steps": 1,
            "checkpoint": {"every_steps": 10},
        },
    }


def soak(kills: int, seed: int, directory: Path) -> dict[str, Any]:
    """The figures. Raises where a command ends in a way that it must not, or leaves processes behind."""
    rng, start, shared_before = random.Random(seed), time.monotonic(), shared_memory()
    config, temporary = directory / "soak.yaml", directory / "tmp"
    config.write_text(yaml.safe_dump(run_config(kills)))
    quiet, run_dir = directory / "undisturbed", directory / "run"
    _finish(Victim(train_command(config, quiet), quiet, temporary))
    blows, gone = Counter[str](), []
    for number in range(kills):
        victim = Victim(train_command(config, run_dir), run_dir, temporary)
        blow = _strike(victim, run_dir, number, rng)
        blows[blow] += 1
        gone.append(victim.gone_after())
        print(f"{number + 1}/{kills} {blow}: at step {last_step(run_dir / 'metrics.jsonl')}", file=sys.stderr)
    _finish(Victim(train_command(config, run_dir), run_dir, temporary))
    return {
        "kills": kills,
        "seed": seed,
        "blows": dict(sorted(blows.items())),
        "longest_until_all_processes_were_gone_s": round(max(gone), 1),
        **_compared(run_dir, quiet),
        "left_behind": left_behind(run_dir, temporary, shared_before),
        "took_s": round(time.monotonic() - start),
        "load_average": round(os.getloadavg()[0], 1),
        "cores": os.cpu_count(),
    }


def _strike(victim: Victim, run_dir: Path, number: int, rng: random.Random) -> str:
    """Wait for a random moment, strike, wait for the end; the name of the blow."""
    name = rng.choice(list(BLOWS))
    blow, at_rank, codes = BLOWS[name]
    reached = last_step(run_dir / "metrics.jsonl")
    latest = (number + 1) * STEPS_PER_KILL  # so that the run does not end before its last kill
    if not victim.reach(rng.randint(reached + 1, max(reached + 1, latest)), timeout_s=300):
        raise RuntimeError(f"the command ended before it was struck: {victim.words()}")
    time.sleep(rng.uniform(0, 0.05))  # anywhere in a step, or in the writing of a checkpoint
    victim.signal(blow, rng.randrange(2) if at_rank else None)
    code = victim.wait()
    if code not in codes:
        raise RuntimeError(f"{name}: exit code {code} instead of {codes}: {victim.words()}")
    return name


def _finish(victim: Victim) -> None:
    if victim.wait(1800) != 0:
        raise RuntimeError(victim.words())


def _compared(run_dir: Path, quiet: Path) -> dict[str, Any]:
    ours, theirs = (json.loads((d / "run.json").read_text()) for d in (run_dir, quiet))
    lines = [[json.loads(x) for x in (d / "metrics.jsonl").read_text().splitlines()] for d in (run_dir, quiet)]
    pairs = list(zip(*lines, strict=True))
    return {
        "steps": ours["steps"],
        "restarts": ours["restarts"],
        "lost_steps": ours["lost_steps"],
        "same_certificate": ours["data_order_sha256"] == theirs["data_order_sha256"],
        "largest_loss_difference": max(abs(a["loss"] - b["loss"]) for a, b in pairs),
        "bit_identical_losses": all(a["loss"] == b["loss"] for a, b in pairs),
        "held_out_loss_difference": abs(ours["held_out_loss"]["replica"] - theirs["held_out_loss"]["replica"]),
    }


def page_text(figures: dict[str, Any]) -> str:
    """The figures as a table."""
    blows = ", ".join(f"{count} × {name}" for name, count in figures["blows"].items())
    left = [f"{len(found)} {what.replace('_', ' ')}" for what, found in figures["left_behind"].items() if found]
    rows = [
        ("blows", blows),
        ("steps of the run, done again after them", f"{figures['steps']:,}, {figures['lost_steps']:,}"),
        ("longest until every process was gone", f"{figures['longest_until_all_processes_were_gone_s']} s"),
        ("data-order certificate", "the same" if figures["same_certificate"] else "ANOTHER"),
        ("largest difference of a logged loss", f"{figures['largest_loss_difference']:g}"),
        ("difference of the held-out loss", f"{figures['held_out_loss_difference']:g}"),
        ("left behind", ", ".join(left) or "nothing: no process, shared memory, temporary or half-written file"),
        ("took", f"{figures['took_s']:,} s on {figures['cores']} cores at a load of {figures['load_average']}"),
    ]
    head = f"{figures['kills']} blows, seed {figures['seed']}:"
    return "\n".join([head, "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def main() -> None:
    """Run it; exit code 1 when the run did not come out as the undisturbed one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="also write the figures into docs/reliability.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        figures = soak(options.kills, options.seed, Path(directory))
    print(json.dumps(figures, indent=2))
    if options.write:
        page = PAGE.read_text(encoding="utf-8")
        write_text(PAGE, between(page, PAGE.name, BEGIN, END, page_text(figures)))
    passed = figures["same_certificate"] and figures["largest_loss_difference"] <= 1e-5
    sys.exit(0 if passed and not any(figures["left_behind"].values()) else 1)


if __name__ == "__main__":
    main()

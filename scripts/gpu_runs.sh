#!/usr/bin/env bash
# What to run where one NVIDIA GPU is at hand: the smoke recipe in fp32 on the CPU and in bf16 on the GPU, whose losses
# must fall alike, and GPT-2 124M for speed and MFU. The run records go to OUT, to be kept under docs/results.
#     scripts/gpu_runs.sh OUT
set -euo pipefail
out=${1:?usage: scripts/gpu_runs.sh OUT}
mkdir -p "$out"
one_process=(--set train.data_parallel_size=1 --set train.micro_batch_size=16 --set train.steps=600)

replibench train smoke "${one_process[@]}" --run-dir "$out/runs/cpu-fp32"
replibench train smoke "${one_process[@]}" --set train.device=cuda --set train.precision=bf16 --run-dir "$out/runs/gpu-bf16"
replibench train gpt2-124m-generated --run-dir "$out/runs/gpt2-124m"
for run in cpu-fp32 gpu-bf16 gpt2-124m; do
    cp "$out/runs/$run/run.json" "$out/$run.json"
    cp "$out/runs/$run/metrics.jsonl" "$out/$run.metrics.jsonl"
done
python - "$out" <<'PY'
import json, sys
from pathlib import Path

out = Path(sys.argv[1])
losses = {name: [json.loads(line)["loss"] for line in (out / f"{name}.metrics.jsonl").open()] for name in ("cpu-fp32", "gpu-bf16")}
gap = max(abs(a - b) for a, b in zip(*losses.values(), strict=True))
print(f"largest difference of logged losses, bf16 on the GPU against fp32 on the CPU: {gap:.4f} nats per token")
run = json.loads((out / "gpt2-124m.json").read_text())
print(f"gpt2-124m: {run['tokens_per_s']:,.0f} tokens/s, MFU {run['mfu']}, peak {run['peak']}")
PY

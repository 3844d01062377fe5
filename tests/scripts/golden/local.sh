#!/bin/bash
set -u
export RUN_DIR=RUNS/gpt2-124m-generated
cd CHECKOUT || exit 3
source VENV/bin/activate || exit 3

JOB=local$(date +%s)
RESTART=0
STOPPED=0
stop() {
  STOPPED=1
  echo "stopping: the step is finished and a checkpoint written; launch again to go on" >&2
  mkdir -p "$RUN_DIR/attempts/$JOB-$RESTART"
  touch "$RUN_DIR/attempts/$JOB-$RESTART/stop"  # the command sees it and asks its workers for a checkpoint
}
trap stop USR1 TERM INT
while :; do
  python -m scripts.node RUNS/gpt2-124m-generated/launch/config.yaml --processes 1 --max-requeues 10 --run-dir "$RUN_DIR" --names "$(hostname)" --attempt "$JOB-$RESTART" &
  NODE=$!
  while :; do
    wait $NODE
    CODE=$?
    kill -0 $NODE 2>/dev/null || break
  done
  if [ $CODE != 75 ] || [ $STOPPED = 1 ]; then
    exit $CODE
  fi
  RESTART=$((RESTART + 1))
done

#!/bin/bash
# Runs where the hosts can be reached from, until the run has ended; a host that does not answer is left out.
set -u
export RUN_DIR=/SHARED/replibench/runs/gpt2-124m-generated
REMOTE=(ssh -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=15 )
HOSTS=(HOST1 HOST2 )
SIZES=(1 2)  # numbers of hosts that can share the rows of a step

read -r -d '' SETUP <<'SETUP_ENDS'
cd /SHARED/replibench || exit 3
source /SHARED/replibench/.venv/bin/activate || exit 3
export RUN_DIR=/SHARED/replibench/runs/gpt2-124m-generated
SETUP_ENDS

JOB=ssh$(date +%s)
RESTART=0
STOPPED=0
stop() {
  STOPPED=1
  echo "stopping: the step is finished and a checkpoint written; launch again to go on" >&2
  mkdir -p "$RUN_DIR/attempts/$JOB-$RESTART"
  touch "$RUN_DIR/attempts/$JOB-$RESTART/stop"  # each node sees it and asks its workers for a checkpoint
}
trap stop USR1 TERM INT
running() {
  local count=0
  for pid in "${PIDS[@]}"; do kill -0 "$pid" 2>/dev/null && count=$((count + 1)); done
  echo $count
}
wait_for_all() {
  for _ in $(seq "$1"); do [ "$(running)" = 0 ] || sleep 1; done
}

while :; do
  UP=()
  for host in "${HOSTS[@]}"; do
    [ ${#UP[@]} -lt "${SIZES[-1]}" ] && "${REMOTE[@]}" "$host" true </dev/null && UP+=("$host")
  done
  if [ ${#UP[@]} -lt "${SIZES[0]}" ]; then
    echo "${#UP[@]} hosts answer, and ${SIZES[0]} are needed" >&2
    exit 3
  fi
  for size in "${SIZES[@]}"; do [ "$size" -le ${#UP[@]} ] && USED=$size; done
  UP=("${UP[@]:0:$USED}")
  NAMES=$(IFS=,; echo "${UP[*]}")
  PIDS=()
  for rank in "${!UP[@]}"; do
    "${REMOTE[@]}" "${UP[$rank]}" "$SETUP
exec python -m scripts.node /SHARED/replibench/runs/gpt2-124m-generated/launch/config.yaml --processes 8 --max-requeues 10 --accelerator a100-sxm-80gb --run-dir "$RUN_DIR" --names $NAMES --rank $rank \
--rendezvous ${UP[0]}:$((29500 + RESTART % 100)) --attempt $JOB-$RESTART" </dev/null &
    PIDS+=($!)
  done
  # When one has ended the others follow within seconds, or the first one's host is gone and they wait for it.
  while [ "$(running)" = ${#PIDS[@]} ]; do sleep 1; done
  wait_for_all 20
  # Whatever goes on at the hosts without a connection to here: it would hold the run against the next attempt.
  mkdir -p "$RUN_DIR/attempts/$JOB-$RESTART"
  touch "$RUN_DIR/attempts/$JOB-$RESTART/abandon"
  wait_for_all 60
  [ "$(running)" = 0 ] || kill "${PIDS[@]}" 2>/dev/null
  (eval "$SETUP"; exec python -m scripts.node --verdict --processes 8 --max-requeues 10 --accelerator a100-sxm-80gb --run-dir "$RUN_DIR" --attempt "$JOB-$RESTART")
  CODE=$?
  if [ $CODE != 75 ] || [ $STOPPED = 1 ]; then
    exit $CODE
  fi
  RESTART=$((RESTART + 1))
done

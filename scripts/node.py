"""One machine's part of an attempt at a run; what the scripts of `replibench launch` start once on every node.

    python -m scripts.node CONFIG --run-dir DIR --names n1,n2 --rank 0 --rendezvous n1:29500 --processes 8 --attempt 7-0
    python -m scripts.node --verdict --run-dir DIR --attempt 7-0        how it ended, where no node could say

The first node prepares the run for the processes at hand, asks every node for its report and judges them; the others
wait for its word.
Exit codes: 0 finished, 75 start it again, 2 the input must change, 3 it failed and would again.
"""

import argparse
import os
import sys
import time
import traceback
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from accounting.hf_config import from_hf_config
from configs.errors import BadInputError, InterruptedRunError, NodeError, WorkFailedError
from configs.files import Record, read_record, write_record
from configs.loader import load_config
from configs.locks import exclusive, in_turn
from configs.schema import CheckpointConfig, RunConfig
from scripts.console import Screen
from train import exits, preflight
from train.attempts import BEGAN
from train.checkpoints import all_of, step_of
from train.failures import LOST_PEER, NODE, failures, first_real, forget_failures, left_in
from train.launch import error_of, launch
from train.layouts import fitted
from train.place import Place

ASKED, GO = "asked", "go.json"
PREPARING_S = 24 * 3600.0  # a large corpus takes its time; a first node that is gone takes the job with it
OTHERS_S = 8.0  # for the other nodes to say what went wrong there
_POLL_S = 0.2


class Go(Record):
    """attempts/ID/go.json: the first node's word to the others."""

    error: str | None


def main(arguments: list[str]) -> int:
    """The exit code."""
    given = _parser().parse_args(arguments)
    restart = int(given.attempt.rpartition("-")[2])
    may_repeat = restart < given.max_requeues
    if (given.run_dir / "run.json").is_file():
        return 0
    if given.verdict:
        return _verdict(given.run_dir, given.attempt, may_repeat=may_repeat).exit_code()
    names = tuple(given.names.split(","))
    place = Place(names, given.rank, given.processes, given.rendezvous, given.attempt)
    directory = exits.directory_of(given.run_dir, given.attempt)
    os.environ |= {NODE: place.name, BEGAN: str(time.time())}
    try:
        if place.is_first:
            return _lead(given, place, may_repeat=may_repeat)
        _follow(given, directory, place)
    except Exception as error:
        _show(error)
        print(exits.words_for(error), file=sys.stderr)
    return _word_of_the_first(given.run_dir, directory)


def _lead(given: argparse.Namespace, place: Place, *, may_repeat: bool) -> int:
    """The first node: prepare, judge the nodes, train, and say how it ended."""
    screen, run_dir, error = Screen(), given.run_dir, None
    for stale in (ASKED, GO, exits.FILE):  # of an attempt of the same name that did not come to train
        (exits.directory_of(run_dir, place.attempt) / stale).unlink(missing_ok=True)
    forget_failures(left_in(run_dir, place.attempt))
    try:
        with exclusive(run_dir, patient=True):
            exits.close_earlier(run_dir, place.attempt)
            settings = _prepared(given, place, screen)
            launch(run_dir, settings.train, lambda line: None, screen.say, place)
    except Exception as failure:
        _show(failure)
        error = failure
    record = _concluded(run_dir, place.attempt, error, may_repeat=may_repeat)
    print(f"attempt {record.attempt}: {record.kind}{': ' if record.message else ''}{record.message}", file=sys.stderr)
    return record.exit_code()


def _show(error: Exception) -> None:
    """A traceback of what nobody foresaw."""
    if not isinstance(error, BadInputError | WorkFailedError | InterruptedRunError):
        traceback.print_exc()


def _prepared(given: argparse.Namespace, place: Place, screen: Screen) -> RunConfig:
    """The run, laid out over the nodes at hand and written; every node is fit. The others are told either way."""
    from scripts import stages

    run_dir, corpus = given.run_dir, given.corpus
    go = exits.directory_of(run_dir, place.attempt) / GO
    try:
        settings = load_config(given.config)
        settings = settings.model_copy(update={"train": fitted(settings.train, place.world_size)})
        with ExitStack() as turn:
            if corpus is not None:
                turn.enter_context(in_turn(corpus))
                if not (run_dir / "data").is_symlink():
                    (run_dir / "data").symlink_to(os.path.relpath(corpus, run_dir))
            stages.prepare(settings, run_dir, screen)
        go.parent.mkdir(parents=True, exist_ok=True)
        (go.parent / ASKED).touch()  # not before: an earlier attempt's processes would be on the devices
        preflight.report(run_dir, go.parent, place, _devices(given, place))
        found = preflight.check(go.parent, place, _needs(settings, given, place))
        screen.say(f"pre-flight: {len(found)} nodes are fit, {place.world_size} processes")
    except BaseException as error:
        write_record(go, Go(error=f"{error}"))
        raise
    write_record(go, Go(error=None))
    return settings


def _devices(given: argparse.Namespace, place: Place) -> int:
    """That each node's processes use; 0: none, they train on CPUs."""
    return 0 if given.accelerator is None else place.processes


def _needs(settings: RunConfig, given: argparse.Namespace, place: Place) -> preflight.Needs:
    import json

    run_dir = given.run_dir
    architecture = from_hf_config(json.loads((run_dir / "model.json").read_text(encoding="utf-8")))
    return preflight.Needs(
        devices=_devices(given, place),
        accelerator=given.accelerator,
        parameters=architecture.parameter_counts().total,
        checkpoints=_checkpoints_to_come(settings.train.checkpoint, run_dir / "checkpoints"),
        processes=place.processes,
    )


def _checkpoints_to_come(options: CheckpointConfig, directory: Path) -> int:
    """That need room: the last few and one that is being written, less those that will make room for them."""
    each = options.keep_every_steps
    going = [path for path in all_of(directory) if each is None or step_of(path) % each]
    return options.keep_last + 1 - min(len(going), options.keep_last)


def _follow(given: argparse.Namespace, directory: Path, place: Place) -> None:
    """Another node: report when asked, wait for the first one's word, then train."""
    run_dir, word = given.run_dir, (directory / GO, directory / exits.FILE)
    _wait_for(PREPARING_S, directory / ASKED, *word)
    if (directory / ASKED).is_file():
        try:
            preflight.report(run_dir, directory, place, _devices(given, place))
        except WorkFailedError as error:  # an end now would end the first node, which will miss the report and say so
            print(exits.words_for(error), file=sys.stderr)
        _wait_for(preflight.WAIT_S + OTHERS_S, *word)
    if not (directory / GO).is_file():
        return
    go = read_record(directory / GO, Go)
    if go.error is not None:
        raise NodeError(f"the first node says: {go.error}")
    screen = Screen()
    launch(run_dir, load_config(run_dir / "config.yaml").train, lambda line: None, screen.say, place)


def _concluded(run_dir: Path, attempt: str, error: BaseException | None, *, may_repeat: bool) -> exits.Exit:
    """How it ended. Where this node knows only that it lost another, the other may still say why."""
    known = failures(left_in(run_dir, attempt))
    if error is not None and known and known[0]["kind"] == LOST_PEER:
        time.sleep(OTHERS_S)
        first = failures(left_in(run_dir, attempt))[0]
        if first["kind"] != LOST_PEER:
            error = error_of(first)
    return exits.conclude(run_dir, attempt, error, may_repeat=may_repeat)


def _word_of_the_first(run_dir: Path, directory: Path) -> int:
    """The same exit code on every node; without a word of the first one, it is gone."""
    _wait_for(3 * OTHERS_S, directory / exits.FILE)
    path = directory / exits.FILE
    if (run_dir / "run.json").is_file():
        return 0
    return read_record(path, exits.Exit).exit_code() if path.is_file() else 75


def _verdict(run_dir: Path, attempt: str, *, may_repeat: bool) -> exits.Exit:
    """How it ended, unless that is written: by the first real failure of a rank, which may not have got further."""
    first = first_real(left_in(run_dir, attempt))
    error = error_of(first) if first else NodeError("the first node ended without a word")
    return exits.conclude(run_dir, attempt, error, may_repeat=may_repeat)


def _wait_for(seconds: float, *paths: Path) -> None:
    """Until one of them is there."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(OSError):  # of a file system that is gone for a while
            if any(path.is_file() for path in paths):
                return
        time.sleep(_POLL_S)


def _parser() -> argparse.ArgumentParser:
    parser: Any = argparse.ArgumentParser(prog="python -m scripts.node", description=__doc__)
    parser.add_argument("config", nargs="?", type=Path)
    parser.add_argument("--run-dir", required=True, type=Path)
    parser.add_argument("--attempt", required=True, help="JOB-RESTART: as often as RESTART it was started again")
    parser.add_argument("--names", default="", help="of all nodes, the first one first, by comma")
    parser.add_argument("--rank", type=int, default=0, help="of this node among them")
    parser.add_argument("--processes", type=int, default=1, help="on each node")
    parser.add_argument("--rendezvous", default="127.0.0.1:0", help="HOST:PORT on the first node")
    parser.add_argument("--accelerator", help="a row of configs/accelerators.yaml, which every device must be")
    parser.add_argument("--corpus", type=Path, help="of several runs: prepared once, and data/ of each is a link to it")
    parser.add_argument("--max-requeues", type=int, default=0)
    parser.add_argument("--verdict", action="store_true", help="say how the attempt ended")
    return parser  # type: ignore[no-any-return]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

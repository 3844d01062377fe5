"""Phases do not overlap, communication is what a step waits for others, and what warms up does not count as speed."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from tests.distributed import run_distributed
from tests.train.tiny import metrics, tiny_config
from train import loop, meters, trainer
from train.attempts import Attempts
from train.meters import Interval, PhaseClock, Progress, compiling_counted, waits_counted
from train.prepare import prepare_run

CPU = torch.device("cpu")
LATE_S = 0.2


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still until its only element is changed."""
    time_s = [100.0]
    monkeypatch.setattr(meters.time, "perf_counter", lambda: time_s[0])
    return time_s


def test_what_lies_in_a_phase_is_taken_off_it(now: list[float]) -> None:
    clock = PhaseClock(CPU)
    with clock.phase("forward_backward"):
        now[0] += 3
        clock.begin("compile")
        now[0] += 10
        clock.begin("communication")
        now[0] += 0.5
        clock.end()
        clock.end()
        now[0] += 1
    with clock.phase("optimizer"):
        now[0] += 2
    counted = {name: seconds for name, seconds in clock.seconds.items() if seconds}
    assert counted == {"forward_backward": 4, "compile": 10, "communication": 0.5, "optimizer": 2}


class FakeEvent:
    """A CUDA event of a stream that has always done what was queued: its time is the host's."""

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        self.at = time.perf_counter()

    def elapsed_time(self, end: "FakeEvent") -> float:
        return 1e3 * (end.at - self.at)


def test_on_cuda_phases_are_read_from_events_when_it_is_settled(
    now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = []
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waited.append(True))
    clock = PhaseClock(torch.device("cuda"), without=["communication"])
    with clock.phase("forward_backward"):
        now[0] += 3
        clock.begin("compile")
        now[0] += 10
        clock.end()
    assert not any(clock.seconds.values())
    assert not waited
    clock.settle()
    assert {name: seconds for name, seconds in clock.seconds.items() if seconds} == {
        "forward_backward": 3,
        "compile": 10,
    }
    with waits_counted(clock):  # of which the host sees nothing there
        assert dist.Work.wait.__module__ != meters.__name__


def test_a_phase_is_known_only_if_every_attempt_knew_it() -> None:
    clock = PhaseClock(CPU, without=["compile"])
    clock.go_on_from(dict.fromkeys(meters.PHASES, 7.0))
    assert "compile" not in clock.seconds
    clock = PhaseClock(CPU)
    clock.go_on_from({name: 7.0 for name in meters.PHASES if name != "communication"})
    assert "communication" not in clock.seconds
    assert clock.seconds["data"] == 7


def test_a_step_is_timed_without_checkpoints_and_compiling(now: list[float]) -> None:
    clock, progress = PhaseClock(CPU), Progress()
    interval = Interval(clock)
    for steps, compiling in ((2, 30.0), (2, 0.0), (3, 0.0)):
        with clock.phase("forward_backward"):
            clock.begin("compile")
            now[0] += compiling
            clock.end()
            now[0] += steps * (4.0 if interval.is_first else 1.0)
        with clock.phase("checkpoint"):
            now[0] += 50
        interval.steps += steps
        progress.close_interval(interval.seconds_per_step(), is_warm_up=interval.is_first)
        if interval.is_first:
            assert progress.median_step_time_s() == 4  # there is no other
        interval.start_next()
    assert progress.median_step_time_s() == 1
    assert (progress.warm_up_step_times_s, progress.interval_step_times_s) == ([4], [1, 1])


def wait_for_a_late_rank() -> dict[str, dict[str, float]]:
    """Collectives of all kinds, to which rank 1 comes `LATE_S` late: this rank's seconds by what was called."""
    dist.init_process_group("gloo")
    rank, clock, seconds = dist.get_rank(), PhaseClock(CPU), {}
    one, two, half = torch.ones(4), torch.ones(8), torch.ones(2)
    peer: Any = dist.recv if rank == 0 else dist.send

    def send_both_ways() -> None:
        operations = [dist.P2POp(call, torch.ones(4), 1 - rank) for call in (dist.isend, dist.irecv)]
        for work in dist.batch_isend_irecv(operations):
            work.wait()

    calls = {
        "all_reduce": lambda: dist.all_reduce(one),
        "asynchronous": lambda: dist.all_reduce(one, async_op=True).wait(),
        "broadcast": lambda: dist.broadcast(one, 1),
        "gather": lambda: dist.all_gather_into_tensor(two, one),
        "scatter": lambda: dist.reduce_scatter_tensor(half, one),
        "point to point": lambda: peer(one, 1 - rank),
        "both ways": send_both_ways,
        "barrier": dist.barrier,
    }
    with waits_counted(clock):
        for phase in ("forward_backward", "checkpoint"):
            for name, call in calls.items() if phase == "forward_backward" else [("checkpoint", dist.barrier)]:
                clock.at("data")
                dist.barrier()
                clock.seconds = dict.fromkeys(meters.PHASES, 0.0)
                if rank == 1:
                    time.sleep(LATE_S)
                with clock.phase(phase):
                    call()
                seconds[name] = dict(clock.seconds)
    assert dist.Work.wait.__module__ != meters.__name__  # left as it was
    dist.destroy_process_group()
    return seconds


def test_waiting_for_a_late_rank_is_communication_whatever_is_called() -> None:
    early, _ = run_distributed(wait_for_a_late_rank, 2)
    in_a_checkpoint = early.pop("checkpoint")
    assert in_a_checkpoint["communication"] == 0
    assert in_a_checkpoint["checkpoint"] > 0.9 * LATE_S
    for name, seconds in early.items():
        assert seconds["communication"] > 0.9 * LATE_S, name
        assert seconds["forward_backward"] < 0.5 * LATE_S, name


def test_compiling_is_no_part_of_the_phase_it_happens_in() -> None:
    def slow(graph: Any, inputs: Any) -> Any:
        time.sleep(0.2)
        return graph.forward

    clock, model = PhaseClock(CPU), torch.nn.Linear(4, 4)
    compiled: Any = torch.compile(model, backend=slow)
    with compiling_counted(clock):
        for _ in range(2):
            with clock.phase("forward_backward"):
                compiled(torch.ones(2, 4)).sum().backward()
            first = clock.seconds["compile"]
    assert clock.seconds["compile"] == first > 0.2
    assert 0 < clock.seconds["forward_backward"] < 0.2
    torch.compile(torch.nn.Linear(3, 3), backend=slow)(torch.ones(2, 3))  # after it nothing is counted
    assert clock.seconds["compile"] == first


def train_with_a_slow_rank(run_dir: Path) -> None:
    """Train; rank 1 comes late to each step's first collective."""
    take = loop._step

    def take_late(*arguments: Any) -> Any:
        if dist.get_rank() == 1:
            time.sleep(LATE_S)
        return take(*arguments)

    loop._step = take_late
    trainer.main(run_dir)


def test_a_slow_rank_shows_as_communication_of_the_others(tmp_path: Path) -> None:
    overrides = ("train.steps=8", "train.data_parallel_size=2", "train.micro_batch_size=4", "train.log_every_steps=2")
    config = tiny_config(tmp_path, "gpt_neox", *overrides, data={"documents": 1000, "held_out_documents": 20})
    prepare_run(config, tmp_path / "run", lambda text: None)
    run_distributed(train_with_a_slow_rank, 2, tmp_path / "run")
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    split = run["time"]
    assert split["communication_s"] > 0.9 * 8 * LATE_S
    assert split["compile_s"] is None
    assert sum(seconds for seconds in split.values() if seconds) == pytest.approx(run["wall_clock_s"], rel=0.02)
    assert run["step_time_median_s"] > LATE_S
    assert run["peak_memory_bytes"] > 2**20


def line(step: int, **figures: float) -> str:
    """One of metrics.jsonl."""
    return json.dumps({"step": step, **figures}) + "\n"


def begin(run_dir: Path, step: int, source: str | None = "meter", n_devices: int = 1) -> Attempts:
    """The next attempt at a run, from the checkpoint of `step`."""
    return Attempts.begin(run_dir, step, time.time(), n_devices, source, {}, write=True)


def later(attempt: Attempts, seconds: float) -> None:
    """As if it had been started before."""
    attempt.started -= seconds


def test_each_attempts_time_and_energy_is_kept_also_of_lost_and_unlogged_work(tmp_path: Path) -> None:
    first = begin(tmp_path, 0, n_devices=2)
    later(first, 200)
    assert first.totals(2000.0)["energy_joules"] == 2000
    first.came_to(29)  # no line says so: it is killed before the next one
    (tmp_path / "metrics.jsonl").write_text(line(10, elapsed_s=100.0) + line(20, elapsed_s=150.0))
    second = begin(tmp_path, 20)
    assert (second.earlier_s, second.earlier_device_s) == (pytest.approx(200, abs=1), pytest.approx(400, abs=2))
    assert (second.earlier_joules, second.totals(5.0)["energy_joules"]) == (2000, 2005)
    later(second, 50)
    second.came_to(20)
    third = begin(tmp_path, 10)  # its newest checkpoint was damaged; the second finished no step
    assert (third.earlier_s, third.earlier_device_s) == (pytest.approx(250, abs=1), pytest.approx(450, abs=2))
    assert (third.restarts, third.lost_steps, third.reached) == (2, 9 + 10, 29)
    assert [entry["step"] for entry in metrics(tmp_path)] == [10]


def test_where_the_machine_died_the_last_line_counts(tmp_path: Path) -> None:
    begin(tmp_path, 0, n_devices=2)
    (tmp_path / "reached.json").write_bytes(b"\0" * 256)
    (tmp_path / "metrics.jsonl").write_text(line(10, elapsed_s=100.0, energy_joules=1000.0))
    second = begin(tmp_path, 5)
    assert (second.lost_steps, second.earlier_s, second.earlier_device_s) == (5, 100, 200)
    assert second.earlier_joules == 1000


def test_energy_is_unknown_where_one_attempt_did_not_measure_it(tmp_path: Path) -> None:
    begin(tmp_path, 0, source=None)
    second = begin(tmp_path, 10)
    assert set(second.totals(5.0)) == {"elapsed_s"}
    assert second.energy_sources == ("meter",)
    third = begin(tmp_path, 10)
    assert set(third.totals(7.0)) == {"elapsed_s"}

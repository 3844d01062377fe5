"""How an attempt ended is said with its class, rank and node; and the nodes that cannot take part are named."""

import errno
import json
import os
import socket
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from configs.errors import (
    BadInputError,
    HangError,
    NodeError,
    NotFiniteError,
    OutOfMemoryError,
    RequeueError,
    WorkFailedError,
)
from configs.loader import load_config
from scripts import node
from tests.extrapolate.run_records import run_record
from train import exits, failures, launch, place, preflight, survivors
from train.failures import leave_failure, left_in
from train.launch import ERRORS
from train.place import Place
from train.preflight import Needs, NodeFacts, Report

OLDER = 100.0  # seconds


def fail(run_dir: Path, rank: int, error: BaseException, monkeypatch: pytest.MonkeyPatch, attempt: str = "9-0") -> None:
    """A rank's last word."""
    left_in(run_dir, attempt).mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("REPLIBENCH_NODE", f"n{rank}")
    leave_failure(left_in(run_dir, attempt), error)


NCCL_SYSTEM = (
    "unhandled system error (run with NCCL_DEBUG=INFO for details), NCCL version 2.21.5\n"
    "ncclSystemError: System call (e.g. socket, malloc) or external library call failed or device error."
)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BadInputError("train.steps"), "user_error"),
        (NotFiniteError("loss"), "nan"),
        (HangError("rank 1"), "hang"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("[gloo] Connection closed by peer [10.0.0.2]"), failures.LOST_PEER),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), "node_failure"),
        (RuntimeError("CUDA error: unspecified launch failure"), "node_failure"),
        (OSError(errno.ESTALE, os.strerror(errno.ESTALE)), "node_failure"),
        (OSError(errno.EIO, os.strerror(errno.EIO)), "node_failure"),
        (socket.gaierror(-3, "Temporary failure in name resolution"), "node_failure"),
        (RuntimeError(f"NCCL error in: ProcessGroupNCCL.cpp:3699, {NCCL_SYSTEM}"), failures.LOST_PEER),
        (RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection timed out [10.0.0.2]:1234"), failures.LOST_PEER),
        (RuntimeError("Timed out waiting 600000ms for recv operation to complete"), failures.LOST_PEER),
        (RuntimeError("Socket Timeout"), failures.LOST_PEER),
        (OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH)), failures.LOST_PEER),
        (RuntimeError("CUDA error: device-side assert triggered"), "error"),
        (RuntimeError("shapes cannot be multiplied"), "error"),
    ],
)
def test_the_kind_of_an_error(error: BaseException, kind: str) -> None:
    assert failures.kind_of(error) == kind
    assert kind in {*ERRORS, "user_error", failures.LOST_PEER}


def test_the_first_real_error_is_not_its_earlier_echo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(tmp_path, 0, RuntimeError("Connection reset by peer"), monkeypatch)  # its clock is ahead
    fail(tmp_path, 3, NotFiniteError("step 7: its loss is nan"), monkeypatch)
    fail(tmp_path, 1, RuntimeError("Connection reset by peer"), monkeypatch)
    record = exits.conclude(tmp_path, "9-0", NotFiniteError("step 7: its loss is nan"), may_repeat=True)
    assert (record.kind, record.rank, record.node, record.again) == ("nan", 3, "n3", False)
    assert record.exit_code() == 3
    assert exits.exits(tmp_path) == [record]


def test_another_attempt_s_failure_is_not_this_one_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(tmp_path, 3, NotFiniteError("step 7: its loss is nan"), monkeypatch, attempt="9-0")
    assert node.main(["--verdict", "--run-dir", str(tmp_path), "--attempt", "9-1", "--max-requeues", "3"]) == 75
    (only,) = exits.exits(tmp_path)
    assert (only.attempt, only.kind, only.rank, only.node) == ("9-1", "node_failure", None, None)


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (NotFiniteError("step 7: its loss is nan"), "nan", 3),
        (OutOfMemoryError("device 3"), "out_of_memory", 3),
        (BadInputError("train.steps"), "user_error", 2),
        (HangError("rank 3"), "hang", 75),
    ],
)
def test_a_head_that_was_killed_takes_no_rank_s_word_away(
    error: Exception, kind: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(tmp_path, 0, RuntimeError("Connection reset by peer"), monkeypatch)
    fail(tmp_path, 3, error, monkeypatch)
    assert node.main(["--verdict", "--run-dir", str(tmp_path), "--attempt", "9-0", "--max-requeues", "3"]) == code
    (only,) = exits.exits(tmp_path)
    assert (only.kind, only.rank, only.node) == (kind, 3, "n3")
    assert str(error) in only.message


# In torchrun's place: one worker, that writes run.json when it was left alone for two seconds.
WORKER = "import pathlib, sys, time; time.sleep(2); pathlib.Path(sys.argv[1]).touch()"
TORCHRUN = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"


@pytest.mark.parametrize(("attempt", "lives"), [("9-0", True), ("9-1", False)])
def test_a_late_word_of_another_attempt_ends_nobody(
    attempt: str, lives: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = [sys.executable, "-c", WORKER, str(tmp_path / "run.json"), "worker.py"]
    monkeypatch.setattr(launch, "_command", lambda *_: [sys.executable, "-c", TORCHRUN, *worker])
    monkeypatch.setattr(survivors, "GRACE_S", 0.2)
    left_in(tmp_path, "9-1").mkdir(parents=True)
    late = threading.Timer(0.5, fail, (tmp_path, 3, NotFiniteError("nan"), monkeypatch, attempt))
    late.start()
    here = Place(("n1",), 0, 1, "127.0.0.1:0", "9-1")
    with nullcontext() if lives else pytest.raises(NotFiniteError, match="rank 3"):
        launch.launch(tmp_path, load_config("smoke").train, lambda line: None, lambda words: None, here)
    late.join()


def test_what_another_node_says_a_little_later_is_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(tmp_path, 0, RuntimeError("Connection reset by peer"), monkeypatch)
    says = threading.Timer(0.1, fail, (tmp_path, 5, OutOfMemoryError("was ended by SIGKILL"), monkeypatch))
    monkeypatch.setattr(node, "OTHERS_S", 1.0)
    says.start()
    record = node._concluded(tmp_path, "9-0", NodeError("rank 0 lost a peer"), may_repeat=True)
    says.join()
    assert (record.kind, record.rank, record.node, record.again) == ("out_of_memory", 5, "n5", False)
    assert "rank 5: was ended by SIGKILL" in record.message


def test_a_rank_that_was_given_up_does_not_take_it_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = left_in(tmp_path, "9-0")
    left.mkdir(parents=True)
    leave_failure(left, HangError("rank 1 on n2 does not answer"), 1, "n2")  # another rank's word
    fail(tmp_path, 1, RuntimeError("Connection reset by peer"), monkeypatch)
    (only,) = failures.failures(left)
    assert (only["kind"], only["rank"], only["node"]) == ("hang", 1, "n2")


@pytest.mark.parametrize(
    ("error", "may_repeat", "kind", "code"),
    [
        (RequeueError("SIGUSR1"), True, "requeue", 75),
        (RequeueError("SIGUSR1"), False, "requeue", 3),
        (NodeError("n2"), True, "node_failure", 75),
        (HangError("rank 1"), True, "hang", 75),
        (BadInputError("train.steps"), True, "user_error", 2),
        (WorkFailedError("disk"), True, "error", 3),
        (ZeroDivisionError(), True, "error", 3),
        (socket.gaierror(-2, "Name or service not known"), True, "node_failure", 75),
        (OSError(errno.ESTALE, os.strerror(errno.ESTALE)), False, "node_failure", 3),
        (RuntimeError("No route to host"), True, "node_failure", 75),
        (MemoryError(), True, "out_of_memory", 3),
    ],
)
def test_what_a_scheduler_is_told(error: Exception, may_repeat: bool, kind: str, code: int, tmp_path: Path) -> None:
    record = exits.conclude(tmp_path, "9-0", error, may_repeat=may_repeat)
    assert (record.kind, record.exit_code()) == (kind, code)


def test_a_finished_run_is_finished_and_the_first_word_stands(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(run_record().model_dump_json(by_alias=True))
    first = exits.conclude(tmp_path, "9-0", NodeError("late"), may_repeat=True)
    assert (first.kind, first.exit_code()) == ("finished", 0)
    assert exits.conclude(tmp_path, "9-0", HangError("later"), may_repeat=True) == first


def test_an_attempt_that_could_say_nothing_was_taken_away(tmp_path: Path) -> None:
    (tmp_path / "attempts" / "9-0").mkdir(parents=True)
    (tmp_path / "attempts" / "9-1").mkdir()
    ended = time.time() - OLDER
    os.utime(tmp_path / "attempts" / "9-0", (ended, ended))
    exits.close_earlier(tmp_path, "9-1")
    (only,) = exits.exits(tmp_path)
    assert (only.attempt, only.kind) == ("9-0", "node_failure")
    assert only.time == pytest.approx(ended)


def test_one_that_a_rank_spoke_for_is_closed_with_its_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(tmp_path, 3, NotFiniteError("step 7: its loss is nan"), monkeypatch)
    exits.close_earlier(tmp_path, "9-1")
    (only,) = exits.exits(tmp_path)
    assert (only.kind, only.rank, only.node, only.message) == ("nan", 3, "n3", "step 7: its loss is nan")


GOOD = NodeFacts(
    node="n2",
    devices=("NVIDIA H100 80GB HBM3",) * 8,
    free_share=(0.99,) * 8,
    memory_available_bytes=10**12,
    disk_free_bytes=10**12,
    versions={"torch": "2.13.0"},
    time=0.0,
)
NEEDS = Needs(devices=8, accelerator="h100-sxm-80gb", parameters=10**9, checkpoints=3, processes=8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"devices": GOOD.devices[:7], "free_share": GOOD.free_share[:7]}, "has 7 devices, and 8 are needed"),
        ({"devices": ("NVIDIA A100-SXM4-80GB",) * 8}, "device 0 is NVIDIA A100-SXM4-80GB, and the profile says h100"),
        ({"free_share": (0.99, 0.4, *GOOD.free_share[2:])}, "device 1 has 40 % of its memory free"),
        ({"memory_available_bytes": 10**9}, "has 1.0 GB of memory available; its processes need 32.0 GB"),
        ({"disk_free_bytes": 10**9}, "3 more checkpoints need 48.0 GB"),
        ({"versions": {"torch": "2.12.0"}}, "has torch 2.12.0, and n1 has 2.13.0"),
    ],
)
def test_a_node_that_is_not_fit_is_named(change: dict[str, object], message: str | None, tmp_path: Path) -> None:
    nodes = [GOOD.model_copy(update={"node": "n1"}), GOOD.model_copy(update=change)]
    for rank, facts in enumerate(nodes):
        (tmp_path / f"node-{rank}.json").write_text(Report(facts=facts, error=None).model_dump_json())
    here = Place(("n1", "n2"), 0, 8, "127.0.0.1:0", "9-0")
    if message is None:
        assert len(preflight.check(tmp_path, here, NEEDS)) == 2
        return
    with pytest.raises(NodeError, match="pre-flight: n2: ") as error:
        preflight.check(tmp_path, here, NEEDS)
    assert message in str(error.value)


def test_a_node_that_does_not_report_is_named(tmp_path: Path) -> None:
    (tmp_path / "node-0.json").write_text(GOOD.model_dump_json())
    with pytest.raises(NodeError, match=r"pre-flight: n2, n3 did not report within 0 s"):
        preflight.check(tmp_path, Place(("n1", "n2", "n3"), 0, 8, "127.0.0.1:0", "9-0"), NEEDS, wait_s=0)


def test_this_machine_reports_of_itself(tmp_path: Path) -> None:
    preflight.report(tmp_path, tmp_path, Place(("here",), 0, 1, "127.0.0.1:0", "9-0"), devices=0)
    facts = Report.model_validate_json((tmp_path / "node-0.json").read_text()).facts
    assert facts is not None
    assert facts.memory_available_bytes > 0
    assert facts.disk_free_bytes > 0
    assert {"python", "torch", "deepspeed"} <= facts.versions.keys()


class Nvml:
    """Of a machine of four devices, the second of which is lost."""

    NVMLError = RuntimeError

    def nvmlInit(self) -> None: ...  # noqa: N802

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 4

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        if index == 1:
            raise RuntimeError("GPU is lost")
        return f"device {index}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        return uuid

    def nvmlDeviceGetName(self, handle: str) -> str:  # noqa: N802
        return handle

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(free=9, total=10)


@pytest.mark.parametrize(
    ("visible", "devices", "found"),
    [
        ("2,0,1", 2, ("device 2", "device 0")),
        ("GPU-7a, 3", 2, ("GPU-7a", "device 3")),
        ("3", 2, ("device 3",)),
        ("-1", 2, ()),
        ("", 2, ()),
        (None, 1, ("device 0",)),
        (None, 0, ()),
        (None, 2, None),
    ],
)
def test_devices_that_the_run_does_not_use_are_not_looked_at(
    visible: str | None, devices: int, found: tuple[str, ...] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    preflight.report(tmp_path, tmp_path, Place(("here",), 0, devices, "127.0.0.1:0", "9-0"), devices)
    said = Report.model_validate_json((tmp_path / "node-0.json").read_text())
    assert (said.facts and said.facts.devices) == found
    assert said.error == (None if found is not None else "RuntimeError: GPU is lost")


def test_the_way_to_the_first_node_gives_address_and_interface() -> None:
    assert place.local_address(place.here(2)) == "127.0.0.1"
    assert place.local_address(Place(("n1", "n2"), 0, 1, "127.0.0.1:29500", "9-0")) == "127.0.0.1"
    assert place.interface_of("127.0.0.1") in ("lo", "lo0")
    assert place.interface_of("203.0.113.7") is None
    assert json.loads(json.dumps(place.network_environment(place.here(2)))) == {}


class Probe:
    """A socket that has an address on the way out and to other nodes, and none but its own name's on the way to it."""

    def __init__(self, *unused: object) -> None:
        self.to = ""

    def __enter__(self) -> "Probe":
        return self

    def __exit__(self, *unused: object) -> None: ...

    def connect(self, address: tuple[str, int]) -> None:
        self.to = address[0]

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1" if self.to.startswith("127.") else "10.0.0.1", 9)


@pytest.mark.parametrize(
    ("other", "interface", "address"),
    [("10.0.0.2", None, "10.0.0.1"), ("10.0.0.2", "ib0", "10.9.0.1"), ("127.0.1.1", None, None)],
)
def test_a_first_node_whose_own_name_leads_to_itself_alone_tells_the_others_another_address(
    other: str, interface: str | None, address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"n1": "127.0.1.1", "n2": other}

    def resolve(host: str, port: int, **unused: object) -> list[tuple[object, ...]]:
        if host not in known:
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_DGRAM, 0, "", (known[host], port))]

    monkeypatch.setattr(place.socket, "getaddrinfo", resolve)
    monkeypatch.setattr(place.socket, "socket", Probe)
    cards = {"ib0": [SimpleNamespace(family=socket.AF_INET, address="10.9.0.1")]}
    monkeypatch.setattr(place.psutil, "net_if_addrs", lambda: cards)
    monkeypatch.setenv(place.INTERFACES[0], interface or "")
    first = Place(("n1", "n2"), 0, 8, "n1:29500", "9-0")
    if address is None:
        with pytest.raises(BadInputError, match=r"launch.interface: n1 knows itself as 127.0.0.1 only"):
            place.local_address(first)
    else:
        assert place.local_address(first) == address


def test_the_first_node_is_the_host_of_the_rendezvous_whatever_its_name_leads_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launch, "local_address", lambda place: "10.0.0.1")
    for rank in (0, 1):
        words = launch._command([Path("run")], Place(("n1", "n2"), rank, 8, "n1:29500", "9-0"))
        assert f"--rdzv-conf=is_host={1 - rank}" in words

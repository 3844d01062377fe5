"""A real Slurm of two nodes on this machine, as root, without systemd, cgroups or containers: for tests alone."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.distributed import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "squeue", "sinfo")
NODES = ("n1", "n2")
CONFIGURATION = """ClusterName=replibench
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={directory}/munge/socket
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.%n.pid
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool/%n
SlurmctldLogFile={directory}/log/slurmctld
SlurmdLogFile={directory}/log/slurmd.%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0,bf_interval=1,requeue_delay=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
MpiDefault=none
PropagateResourceLimits=NONE
KillWait=5
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=8 RealMemory=8000 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=8 RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=20
PartitionName=high Nodes=n1,n2 MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""

# No Slurm is left behind by tests that are killed before they can end it; after a proper end there are no pid files.
WATCH = """while kill -0 {pid} 2>/dev/null && [ -d {directory}/state ]; do sleep 1; done
[ -f {directory}/slurmctld.pid ] || exit 0
timeout 10 scancel --full --signal=KILL --user=root
kill -9 $(cat {directory}/slurmd.*.pid {directory}/slurmctld.pid {directory}/munge/pid)
"""


def why_not() -> str | None:
    """Why Slurm cannot be started here; None if it can."""
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        return f"{', '.join(missing)} not installed: apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "a Slurm of our own needs root"


class Slurm:
    """Started by `with`; stopped, with all that ran in it, at the end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {**os.environ, "SLURM_CONF": str(directory / "slurm.conf")}

    def __enter__(self) -> "Slurm":
        for name in ("munge", "state", "spool/n1", "spool/n2", "log"):
            (self.directory / name).mkdir(parents=True)
        key = self.directory / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        host, ports = socket.gethostname().partition(".")[0], [free_port() for _ in range(3)]
        (self.directory / "slurm.conf").write_text(
            CONFIGURATION.format(host=host, directory=self.directory, ports=ports)
        )
        end = WATCH.format(pid=os.getpid(), directory=self.directory)
        nothing = subprocess.DEVNULL
        subprocess.Popen(
            ["bash", "-c", end],
            env=self.environment,
            start_new_session=True,
            stdin=nothing,
            stdout=nothing,
            stderr=nothing,
        )
        munge = self.directory / "munge"
        files = [f"--{name}-file={munge / name}" for name in ("key", "pid", "log", "seed")]
        try:
            self._start("munged", *files, f"--socket={munge / 'socket'}", "--force")
            self._start("slurmctld")
            for node in NODES:
                self._start("slurmd", "-N", node)
            self.wait_for(self._all_idle)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *unused: object) -> None:
        self.client("scancel", "--user=root")
        self.client("scancel", "--full", "--signal=KILL", "--user=root")
        self._stop()

    def client(self, *command: str) -> str:
        """What one of Slurm's commands prints; they hang for ever when its controller is down."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=20)
        return (done.stdout + done.stderr).strip()

    def state(self, job: str) -> str:
        """Of a job, such as PENDING, RUNNING or COMPLETED."""
        words = self.client("scontrol", "show", "job", job).split()
        return next((word.partition("=")[2] for word in words if word.startswith("JobState=")), "unknown")

    def states(self, job: str) -> list[str]:
        """Of all tasks of an array."""
        words = self.client("scontrol", "show", "job", job).split()
        return [word.partition("=")[2] for word in words if word.startswith("JobState=")]

    def start_now(self, job: str, *nodes: str) -> None:
        """Once these nodes are free; a requeued job waits two minutes otherwise."""
        listing = ("sinfo", "-h", "-N", "-n", ",".join(nodes), "-o", "%T")
        self.wait_for(lambda: self.state(job) == "PENDING" and {*self.client(*listing).split()} == {"idle"})
        time.sleep(3)  # started in the second of its end it would be refused: "Job credential revoked"

        def started() -> bool:
            if self.state(job) == "PENDING":  # its start is put off once more when its cleaning up is done
                self.client("scontrol", "update", f"JobId={job}", "StartTime=now")
            return self.state(job) == "RUNNING"

        self.wait_for(started)

    def crash(self, node: str) -> None:
        """As if its power were cut: its daemon, and all that it started, is gone at once."""
        daemon = psutil.Process(int((self.directory / f"slurmd.{node}.pid").read_text()))
        for process in (daemon, *(each for each in psutil.process_iter() if self._is_of(each, node))):
            with contextlib.suppress(psutil.Error):
                process.kill()

    def _is_of(self, process: psutil.Process, node: str) -> bool:
        """Did a step or a batch script of ours start it there? Other tests may have a Slurm with such a node too."""
        try:
            of = process.environ()
        except psutil.Error:
            return False
        return of.get("SLURMD_NODENAME") == node and of.get("SLURM_CONF") == self.environment["SLURM_CONF"]

    def boot(self, node: str) -> None:
        """The opposite, once it was said to be DOWN."""
        self._start("slurmd", "-N", node)
        self.wait_for(self._all_idle)

    def _all_idle(self) -> bool:
        return self.client("sinfo", "-h", "-N", "-p", "main", "-o", "%T").split() == ["idle"] * 2

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Until `condition()`; TimeoutError with the controller's last words."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                log = self.directory / "log" / "slurmctld"
                raise TimeoutError(log.read_text()[-1500:] if log.is_file() else "no controller")
            time.sleep(0.2)

    def _start(self, *command: str) -> None:
        subprocess.run(command, env=self.environment, check=True, timeout=30, stdin=subprocess.DEVNULL)

    def _stop(self) -> None:
        """In the reverse order, by the pid files."""
        files = [*self.directory.glob("slurmd.*.pid"), self.directory / "slurmctld.pid", self.directory / "munge/pid"]
        for path in files:
            if path.is_file():
                _end(int(path.read_text()))


def _end(pid: int) -> None:
    """TERM, and after ten seconds KILL."""
    for number, seconds in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
        deadline = time.monotonic() + seconds
        try:
            os.kill(pid, number)
            while time.monotonic() < deadline:
                os.kill(pid, 0)
                time.sleep(0.05)
        except ProcessLookupError:
            return

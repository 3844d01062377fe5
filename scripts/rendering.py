"""From a run and a profile to the exact script or manifest, and the command that submits it. Starts nothing."""

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml

from configs.errors import BadInputError
from configs.loader import dump_config
from configs.profiles import Kubernetes, Local, Profile, Site, SkyPilot, Slurm, Ssh
from configs.schema import RunConfig
from scripts.elsewhere import CHECKOUT, relocated
from train.attempts import SUBMITTED
from train.place import INTERFACES
from train.processes import ROOT

TEMPLATES = Path(__file__).with_name("templates")
CONFIG_VARIABLE = "REPLIBENCH_CONFIG"  # where no file of ours can come along, the manifest has the configuration
CONTAINER_CONFIG = "/tmp/replibench-config.yaml"
LONGEST_LABEL = 63  # RFC 1123
INSTALLED = ".venv"  # by `make install`


@dataclass(frozen=True)
class Member:
    """One run: its resolved configuration, where it lies for the nodes, and its directory there."""

    settings: RunConfig
    config: str
    run_dir: str
    step: int | None = None  # of a checkpoint that is evaluated; None: the run is trained


@dataclass(frozen=True)
class Job:
    """What is submitted: one run, or several as an array, on so many nodes each."""

    profile: Profile
    members: tuple[Member, ...]
    nodes: tuple[int, ...]  # numbers of them that the runs can be laid out over, least first
    processes: int  # on each
    corpus: str | None = None  # of all members, which is prepared once
    submitted: float | None = None  # seconds since the epoch; None: not yet

    @property
    def trains(self) -> bool:
        """Or else checkpoints are evaluated, each by one process."""
        return self.members[0].step is None

    @property
    def site(self) -> Site:
        """The profile's."""
        return self.profile.site

    @property
    def name(self) -> str:
        """Of the job, as every scheduler takes it."""
        if self.corpus is not None:
            return Path(self.corpus).parent.name.lower()
        first = self.members[0].settings.name + ("" if self.trains else "-evaluation")
        return (first if len(self.members) == 1 else f"{first}-and-{len(self.members) - 1}-more").lower()

    @property
    def directory(self) -> Path:
        """Where script and submission are kept: in the first run."""
        return Path(self.members[0].run_dir) / "launch"


@dataclass(frozen=True)
class Rendered:
    """A file and the command that submits it."""

    path: Path
    text: str
    command: tuple[str, ...]


class _Dumper(yaml.SafeDumper):
    """Scripts as blocks that one can read, and nothing by reference."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def render(job: Job) -> Rendered:
    """The exact file and command. Raises BadInputError for a name that a scheduler does not take."""
    slurm = "slurm.sh.j2" if job.trains else "slurm-evaluation.sh.j2"
    kinds: dict[type[Site], tuple[Callable[[Job], str], str, tuple[str, ...]]] = {
        Local: (_script("local.sh.j2"), "job.sh", ("bash",)),
        Ssh: (_script("ssh.sh.j2"), "job.sh", ("bash",)),
        Slurm: (
            _script(slurm),
            "job.sbatch",
            ("sbatch", "--parsable"),
        ),
        Kubernetes: (_jobsets, "jobset.yaml", ("kubectl", "create", "--filename")),
        SkyPilot: (_tasks, "task.yaml", ("sky", "jobs", "launch", "--yes", "--detach-run")),
    }
    make, name, command = kinds[type(job.site)]
    path = job.directory / (name if job.trains else f"evaluation-{name}")
    return Rendered(path, make(job), (*command, str(path)))


def check_arrays(where: Profile) -> None:
    """Raises BadInputError where several runs or checkpoints cannot be one job."""
    if isinstance(where.site, Local | Ssh | SkyPilot):
        raise BadInputError(
            f"--on {where.name}: several runs or checkpoints need a scheduler that has arrays (Slurm) or runs "
            "Jobs (Kubernetes); here `replibench train`, `sweep` and `evaluate --checkpoint` do them one by one"
        )


def node_arguments(job: Job) -> list[str]:
    """Of `python -m scripts.node`, but for what only the scheduler knows."""
    arguments = ["--processes", str(job.processes), "--max-requeues", str(job.site.max_requeues)]
    if job.profile.accelerator is not None:
        arguments += ["--accelerator", job.profile.accelerator.name]
    if job.corpus is not None:
        arguments += ["--corpus", job.corpus]
    return arguments


def environment(site: Site) -> dict[str, str]:
    """Of every process on the nodes, beside what the schedulers set."""
    return {
        **(dict.fromkeys(INTERFACES, site.interface) if site.interface else {}),
        **({"TMPDIR": site.scratch} if site.scratch else {}),
        **site.env,
    }


def _script(template: str) -> Callable[[Job], str]:
    def make(job: Job) -> str:
        return (
            _templates()
            .get_template(template)
            .render(
                **_of_shell(job.site),
                **(_of_slurm(job, job.site) if isinstance(job.site, Slurm) else {}),
                name=job.name,
                site=job.site,
                members=job.members,
                trains=job.trains,
                nodes=_range(job.nodes),
                sizes=job.nodes,
                processes=job.processes,
                node_arguments=shlex.join(node_arguments(job)) + ' --run-dir "$RUN_DIR"',
                output=job.directory / ("slurm-%j.out" if len(job.members) == 1 else "slurm-%A_%a.out"),
            )
        )

    return make


def _of_slurm(job: Job, site: Slurm) -> dict[str, Any]:
    """What it asks for of each node, all or one process's share, and the container as words of srun."""
    flags = {"image": site.container, "mounts": site.mounts}
    parts = 1 if job.trains else job.profile.per_node
    return {
        "container": shlex.join(f"--container-{flag}={value}" for flag, value in flags.items() if value),
        "cpus": site.cpus_per_node and max(1, site.cpus_per_node // parts),
        "memory": _memory(site.memory, parts),
    }


def _memory(of_node: str | None, parts: int) -> str | None:
    """A share of what sbatch --mem takes, whose unit is M where there is none."""
    if of_node is None or parts == 1:
        return of_node
    number, unit = int(of_node.rstrip("KMGT")), of_node.lstrip("0123456789") or "M"
    share = number * 1024 ** "KMGT".index(unit) // parts
    return f"{share}K" if share else None  # 0: all of the node, whatever that is


def _of_shell(site: Site) -> dict[str, Any]:
    """Where the project and its Python are on the nodes: as here or in the image, unless the profile says otherwise."""
    is_remote = isinstance(site, Kubernetes | SkyPilot) or (isinstance(site, Slurm) and site.container is not None)
    here = sys.prefix if sys.prefix != sys.base_prefix and not is_remote else None
    if isinstance(site, SkyPilot) and _installs(site):
        here = INSTALLED
    return {
        "checkout": site.checkout or (None if is_remote else str(ROOT)),
        "venv": site.venv or (None if site.checkout else here),
        "environment": environment(site),
    }


def _installs(site: SkyPilot) -> bool:
    """A bare machine of a cloud: the checkout goes along and is installed there."""
    return site.checkout is None and site.venv is None and site.image is None


def _range(nodes: tuple[int, ...]) -> str:
    return str(nodes[0]) if len(nodes) == 1 else f"{nodes[0]}-{nodes[-1]}"


def _templates() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(TEMPLATES)
    found = jinja2.Environment(
        loader=loader,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        comment_start_string="<#",  # jinja's own is how a shell counts an array
        comment_end_string="#>",
    )
    found.filters["q"] = lambda value: shlex.quote(str(value))
    return found


def _start(job: Job, member: Member, scheduler: dict[str, str]) -> str:
    """Shell that writes the configuration and becomes this node's command; `scheduler`: flag → shell word."""
    if member.step is None:
        words = shlex.join(["scripts.node", CONTAINER_CONFIG, *node_arguments(job), "--run-dir", member.run_dir])
        words += "".join(f" {flag} {word}" for flag, word in scheduler.items())
    else:
        words = shlex.join(["scripts.cli", "evaluate", CONTAINER_CONFIG, "--run-dir", member.run_dir])
        words += f" --checkpoint {member.step}"
    lines = _templates().get_template("environment.sh.j2").render(site=job.site, **_of_shell(job.site))
    write = f'printf %s "${CONFIG_VARIABLE}" | sed "s|{CHECKOUT}|$PWD|g" > {CONTAINER_CONFIG}'
    return f"{lines}{write}\nexec python -m {words}\n"


def _jobsets(job: Job) -> str:
    return yaml.dump_all((_jobset(job, member) for member in job.members), Dumper=_Dumper, sort_keys=False, width=120)


def _jobset(job: Job, member: Member) -> dict[str, Any]:
    """A JobSet of one Job with a pod for each node. At 75 from a pod all are started again; 2 and 3 end it."""
    site = job.site
    assert isinstance(site, Kubernetes)
    called = member.settings.name if member.step is None else f"{member.settings.name}-step-{member.step}"
    name = called.lower().replace("_", "-").replace(".", "-")
    pod = f"{name}-node-0-{job.nodes[-1] - 1}"
    if len(pod) > LONGEST_LABEL:
        raise BadInputError(
            f"name: {called}: its pods would be called {pod}, and Kubernetes allows {LONGEST_LABEL} characters; set a "
            f"`name` that is {len(pod) - LONGEST_LABEL} shorter"
        )
    labels = {"app.kubernetes.io/name": "replibench"}
    labels |= {"kueue.x-k8s.io/queue-name": site.queue} if site.queue else {}
    for_good = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [2, 3]}}
    pods = {
        "parallelism": job.nodes[-1],
        "completions": job.nodes[-1],
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "podFailurePolicy": {"rules": [for_good]},
        "template": {"metadata": {"labels": labels}, "spec": _pod(job, member, name, site)},
    }
    rule = {"name": "forgood", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": name, "namespace": site.namespace, "labels": labels},
        "spec": {
            "failurePolicy": {"maxRestarts": site.max_requeues, "rules": [rule]},
            "network": {"enableDNSHostnames": True},
            "replicatedJobs": [{"name": "node", "replicas": 1, "template": {"spec": pods}}],
        },
    }


def _pod(job: Job, member: Member, name: str, site: Kubernetes) -> dict[str, Any]:
    assert site.shared is not None
    names = ",".join(f"{name}-node-0-{index}.{name}" for index in range(job.nodes[-1]))
    flags = {
        "--names": names,
        "--rank": '"$JOB_COMPLETION_INDEX"',
        "--rendezvous": f"{names.partition(',')[0]}:{site.port}",
        "--attempt": '"$JOBSET_UID-$RESTART_ATTEMPT"',
    }
    wanted: dict[str, Any] = {"cpu": site.cpu, "memory": site.memory}
    limits = {site.resource: str(job.processes)} if site.resource else {}
    volumes = {"runs": {"persistentVolumeClaim": {"claimName": site.claim}}}
    volumes["memory"] = {"emptyDir": {"medium": "Memory", "sizeLimit": site.shared_memory}}
    container = {
        "name": "node",
        "image": site.image,
        "command": ["bash", "-c", _start(job, member, flags)],
        "env": [
            *({"name": name, "value": value} for name, value in _carried(job, member).items()),
            _from_pod("JOBSET_UID", "metadata.labels['jobset.sigs.k8s.io/jobset-uid']"),
            _from_pod("RESTART_ATTEMPT", "metadata.labels['jobset.sigs.k8s.io/restart-attempt']"),
        ],
        "resources": {"requests": {**wanted, **limits}, "limits": {"memory": site.memory, **limits}},
        "volumeMounts": [
            {"name": "runs", "mountPath": site.shared},
            {"name": "memory", "mountPath": "/dev/shm"},
        ],
    }
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": site.grace_s,
        **({"serviceAccountName": site.service_account} if site.service_account else {}),
        "containers": [container],
        "volumes": [{"name": key, **value} for key, value in volumes.items()],
    }


def _carried(job: Job, member: Member) -> dict[str, str]:
    """What lies in the run directory where that is to be seen from here."""
    when = {} if job.submitted is None else {SUBMITTED: str(job.submitted)}
    return {CONFIG_VARIABLE: dump_config(relocated(member.settings, CHECKOUT)), **when}


def _from_pod(name: str, field: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": field}}}


def _tasks(job: Job) -> str:
    """A managed job of SkyPilot: it recovers pre-empted machines; exit code 75 is a restart like theirs."""
    site, member = job.site, job.members[0]
    assert isinstance(site, SkyPilot)
    flags = {
        "--names": '"$(echo "$SKYPILOT_NODE_IPS" | paste -sd,)"',
        "--rank": '"$SKYPILOT_NODE_RANK"',
        "--rendezvous": f'"$(echo "$SKYPILOT_NODE_IPS" | head -n1):{site.port}"',
        "--attempt": '"$SKYPILOT_TASK_ID-$(cat "$RUN_DIR/attempts.jsonl" 2>/dev/null | wc -l)"',
    }
    resources: dict[str, Any] = {
        **({"infra": site.infra} if site.infra else {}),
        **({"accelerators": f"{site.accelerators}:{job.processes}"} if site.accelerators else {}),
        **({"image_id": site.image} if site.image else {}),
        "use_spot": site.use_spot,
        "disk_size": site.disk_gb,
        "job_recovery": {"max_restarts_on_errors": site.max_requeues},
    }
    task = {
        "name": job.name,
        "num_nodes": job.nodes[-1],
        "resources": resources,
        **({"workdir": str(ROOT)} if site.checkout is None else {}),
        **({"setup": "make install\n"} if _installs(site) else {}),
        "volumes": {site.shared: site.volume},
        "envs": {**_carried(job, member), "RUN_DIR": member.run_dir},
        "run": _start(job, member, flags),
    }
    return yaml.dump(task, Dumper=_Dumper, sort_keys=False, width=120)

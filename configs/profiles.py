"""Where `replibench launch` starts a run: the `launch` section of `configs/clusters/*.yaml`, or of a file of one's own.

The file's other keys (accelerator, count, dtype, source) are the planner's, in `configs/presets.py`.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from accounting.accelerators import Accelerator
from configs import presets
from configs.distributions import Positive
from configs.errors import BadInputError
from configs.loader import explain, parse_yaml
from configs.schema import Count, Natural, Section

CLUSTERS = Path(__file__).resolve().parent / "clusters"


def _seconds(value: Any) -> Any:
    """YAML 1.1 reads 12:00:00 as a number in base 60."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value // 3600:02}:{value % 3600 // 60:02}:{value % 60:02}"
    return value


Walltime = Annotated[str, BeforeValidator(_seconds), Field(pattern=r"^(\d+-)?\d{1,2}:\d{2}:\d{2}$")]
# These go into scripts as they are.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._/@:+-]+$")]
Names = Annotated[str, Field(pattern=r"^[A-Za-z0-9._/@:+,-]+$")]  # several, by comma
Features = Annotated[str, Field(pattern=r"^[A-Za-z0-9._/@:+,&|*()\[\]-]+$")]  # as sbatch --constraint combines them
Image = Annotated[str, Field(pattern=r"^[A-Za-z0-9._/@:+#-]+$")]  # pyxis: REGISTRY#IMAGE:TAG


def is_plain(path: str) -> bool:
    """Whether a path means the same in every script and on every node, quoted or not."""
    return re.fullmatch(r"/[A-Za-z0-9._/@:+-]*", path) is not None


def _plain(path: str) -> str:
    if not is_plain(path):
        raise ValueError("write it out from / on: nothing expands `~` or `$` in a script; letters, digits and ._/@:+-")
    return path


PlainPath = Annotated[str, AfterValidator(_plain)]


class Site(Section):
    """What every kind of scheduler needs to know."""

    per_node: Count | None = Field(None, description="processes on a node [default: the accelerator's usual node]")
    shared: PlainPath | None = Field(None, description="a directory that every node sees; run directories are in it")
    scratch: PlainPath | None = Field(None, description="a directory of each node's own, for temporary files")
    checkout: PlainPath | None = Field(None, description="where this project is on the nodes [default: as here]")
    venv: PlainPath | None = Field(None, description="a virtual environment on the nodes [default: the present one]")
    setup: tuple[str, ...] = Field((), description="shell lines before anything else, such as `module load cuda`")
    env: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str] = Field(
        default_factory=dict, description="environment of the processes, such as NCCL_IB_HCA"
    )
    interface: Name | None = Field(
        None, description="network interface of gloo and NCCL [default: gloo's is the one that leads to the first node]"
    )
    port: Annotated[int, Field(ge=1024, le=65535 - 999)] = Field(  # a job of Slurm's adds up to 999
        29500, description="of the rendezvous, on the first node"
    )
    max_requeues: Natural = Field(10, description="how often an attempt may be started again by itself")
    usd_per_accelerator_hour: Positive | None = Field(None, description="what an hour of one accelerator costs here")


class Local(Site):
    """This machine."""

    scheduler: Literal["local"]


class Ssh(Site):
    """Hosts without a scheduler, the first one that answers being the first node."""

    scheduler: Literal["ssh"]
    hosts: Annotated[tuple[Name, ...], Field(min_length=1)]
    command: tuple[str, ...] = Field(
        ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=15"),
        description="runs `COMMAND HOST SHELL-WORDS`",
    )


class Slurm(Site):
    """sbatch, srun, torchrun."""

    scheduler: Literal["slurm"]
    partition: Names | None = None
    account: Name | None = None
    qos: Name | None = None
    constraint: Features | None = None
    gres: Name | None = Field(None, description="generic resource of an accelerator, such as gpu or gpu:h100")
    cpus_per_node: Count | None = None
    memory: Annotated[str, Field(pattern=r"^\d+[KMGT]?$")] | None = Field(
        None, description="of a node, as sbatch --mem takes it, such as 512G"
    )
    exclusive: bool = True
    walltime: Walltime = Field("24:00:00", description="sbatch --time; then the job is requeued")
    warning_s: Count = Field(120, description="before the walltime: time for a checkpoint")
    container: Image | None = Field(None, description="image for srun --container-image (pyxis)")
    mounts: Names | None = Field(None, description="for srun --container-mounts")


class Kubernetes(Site):
    """A JobSet: one Job, a pod for each node."""

    scheduler: Literal["kubernetes"]
    image: Name
    claim: Name = Field(description="a PersistentVolumeClaim (ReadWriteMany), mounted at `shared`")
    namespace: Name = "default"
    resource: Name | None = Field(None, description="an accelerator's resource, such as nvidia.com/gpu")
    queue: Name | None = Field(None, description="of Kueue")
    service_account: Name | None = None
    shared_memory: Name = Field("16Gi", description="/dev/shm of a pod")
    cpu: Name = "1"
    memory: Name = "4Gi"
    grace_s: Count = Field(120, description="from the end's announcement to the kill: time for a checkpoint")


class SkyPilot(Site):
    """A task of SkyPilot, on Kubernetes or RunPod: elsewhere it has no volumes."""

    scheduler: Literal["skypilot"]
    accelerators: Name | None = Field(None, description="SkyPilot's name of the accelerator, such as H100")
    infra: Name | None = Field(None, description="where the volume is, such as k8s")
    use_spot: bool = False
    image: Name | None = None
    volume: Name = Field(
        description="of SkyPilot, which every node can write, mounted at `shared`; a bucket will not do"
    )
    disk_gb: Count = 256


KINDS: dict[str, type[Site]] = {
    "local": Local,
    "ssh": Ssh,
    "slurm": Slurm,
    "kubernetes": Kubernetes,
    "skypilot": SkyPilot,
}


class Profile(Section):
    """A place to start runs at. No accelerator: it has CPUs alone."""

    name: str
    accelerator: Accelerator | None
    site: Site

    @property
    def most_nodes(self) -> int | None:
        """That a run can ask for; None: the scheduler knows."""
        if isinstance(self.site, Local):
            return 1
        return len(self.site.hosts) if isinstance(self.site, Ssh) else None

    @property
    def per_node(self) -> int:
        """Processes on a whole node: accelerators as the framework counts them, or those that the profile says."""
        if self.site.per_node is not None:
            return self.site.per_node
        return accelerators_per_node(self.accelerator) or 1


def accelerators_per_node(accelerator: Accelerator | None) -> int | None:
    """Devices in its usual node; None where no such node is known."""
    node = None if accelerator is None else presets.nodes().get(accelerator.name)
    return None if node is None or accelerator is None else node.accelerators * accelerator.devices


def profile_names() -> list[str]:
    """The names that `--on` takes."""
    return sorted(path.stem for path in CLUSTERS.glob("*.yaml") if "launch" in _tree(path))


def profile(name: str) -> Profile:
    """The profile of that name, or in that file. Raises BadInputError naming the file and the key."""
    path = Path(name) if "/" in name or name.endswith((".yaml", ".yml")) else CLUSTERS / f"{name}.yaml"
    if not path.is_file():
        raise BadInputError(f"--on {name}: no such profile; choices: {', '.join(profile_names())}, or a file of yours")
    tree = _tree(path)
    if "launch" not in tree:
        raise BadInputError(f"--on {name}: {path.name} has no `launch` section; choices: {', '.join(profile_names())}")
    accelerator = presets.accelerator(str(tree["accelerator"])) if tree.get("accelerator") else None
    found = Profile(name=path.stem, accelerator=accelerator, site=_site(tree["launch"], path.name))
    _check(found, path.name)
    return found


def _check(profile: Profile, origin: str) -> None:
    usual, asked = accelerators_per_node(profile.accelerator), profile.site.per_node
    if asked is not None and usual is not None and profile.accelerator is not None and asked > usual:
        raise BadInputError(
            f"{origin}: launch.per_node: {asked} is more than the {usual} devices of a node of "
            f"{profile.accelerator.name} (configs/nodes.yaml)"
        )


def _site(tree: Any, origin: str) -> Site:
    scheduler = tree.get("scheduler") if isinstance(tree, dict) else None
    if scheduler not in KINDS:
        raise BadInputError(f"{origin}: launch.scheduler: {scheduler!r} is not a choice; choices: {', '.join(KINDS)}")
    try:
        return KINDS[scheduler].model_validate(tree)
    except ValidationError as error:
        raise BadInputError(f"{origin}: launch.{explain(error, KINDS[scheduler])}") from None


def _tree(path: Path) -> dict[str, Any]:
    try:
        tree = parse_yaml(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: cannot be read: {error}") from None
    if not isinstance(tree, dict):
        raise BadInputError(f"{path.name}: must be a mapping of keys (accelerator, launch, …)")
    return tree

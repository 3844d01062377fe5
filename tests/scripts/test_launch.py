"""What `launch` renders, to the letter, and what it refuses before anything is submitted.

python -m tests.scripts.test_launch     writes the golden files anew, to be read before they are committed
"""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.errors import BadInputError
from configs.loader import load_config, write_config
from configs.profiles import KINDS, Site, profile, profile_names
from scripts import launch, rendering
from scripts.elsewhere import foreign, relocated
from scripts.rendering import Job, Member, Rendered, render
from tests.train.tiny import ARCHITECTURES
from train.attempts import SUBMITTED
from train.layouts import fitted
from train.processes import ROOT

GOLDEN = Path(__file__).with_name("golden")
RUN = "gpt2-124m-generated"
MANY_ROWS = "train.gradient_accumulation_steps=16"
CONTAINER = {
    "partition": "h100,h200",
    "constraint": "ib&[rack1|rack2]",
    "cpus_per_node": 64,
    "memory": "1T",
    "gres": "gpu",
    "container": "nvcr.io#nvidia/pytorch:24.05-py3",
    "mounts": "/shared:/shared,/data:/data:ro",
    "checkout": "/opt/replibench",
    "port": 64_536,
}
# golden file → profile, --nodes
CASES = {
    "slurm.sbatch": ("slurm-h100", "1-2"),
    "slurm-array.sbatch": ("slurm-h100", "2"),
    "slurm-container.sbatch": ("slurm-h100", "2"),
    "slurm-sweep.sbatch": ("slurm-h100", None),
    "slurm-evaluation.sbatch": ("slurm-h100", None),
    "ssh.sh": ("ssh-a100", "1-2"),
    "local.sh": ("local", None),
    "kubernetes.yaml": ("kubernetes-h100", "2"),
    "kubernetes-sweep.yaml": ("kubernetes-h100", None),
    "kubernetes-evaluation.yaml": ("kubernetes-h100", None),
    "skypilot.yaml": ("skypilot-h100", "2"),
}
KUBERNETES = {"kubernetes.yaml": 1, "kubernetes-sweep.yaml": 9, "kubernetes-evaluation.yaml": 2}  # manifests
SWEEP = {
    "name": "ladder",
    "base": {"architecture": {**ARCHITECTURES["gpt_neox"]}, "train": {"sequence_length": 32, "micro_batch_size": 8}},
    "sizes": {
        "small": {"architecture": {"hidden_size": 16, "intermediate_size": 64}},
        "middle": {"architecture": {"hidden_size": 32, "intermediate_size": 128}},
        "large": {"architecture": {"hidden_size": 64, "intermediate_size": 256}},
    },
    "tokens": [10_240, 20_480, 40_960],
    "held_out": {"architecture": {"hidden_size": 128, "intermediate_size": 512}, "tokens": 81_920},
}


def job(on: str, nodes: str | None = None, *overrides: str, configs: tuple[str, ...] = (RUN,)) -> Job:
    """As `replibench launch` has it; warnings are errors."""

    def warn(text: str) -> None:
        raise UserWarning(text)

    return launch.plan(configs, on, overrides or (MANY_ROWS,), launch.parse_nodes(nodes), None, warn)


def golden(name: str, directory: Path) -> str:
    """What is rendered, without what is this machine's and without the configuration, which has tests of its own."""
    found = render(wanted(name, directory)).text
    # The environment first: it may lie in the checkout.
    for path, word in ((str(Path("runs").resolve()), "RUNS"), (sys.prefix, "VENV"), (str(ROOT), "CHECKOUT")):
        found = found.replace(path, word)
    return found


def wanted(name: str, directory: Path) -> Job:
    """One run, several, a sweep's ladder, or two checkpoints, as the name says."""
    on, nodes = CASES[name]
    if "container" in name:
        return job(site(directory, CONTAINER), nodes)
    if "array" in name:
        other = directory / "other.yaml"
        other.write_text(yaml.safe_dump({"extends": str(ROOT / "configs" / "runs" / f"{RUN}.yaml"), "name": "other"}))
        return job(on, nodes, configs=(RUN, str(other)))
    if "sweep" in name:
        path = directory / "ladder.yaml"
        path.write_text(yaml.safe_dump(SWEEP))
        return job(on, nodes, "base.train.device=auto", configs=(str(path),))
    if "evaluation" in name:
        where = Path(profile(on).site.shared or "") / RUN
        settings = load_config(RUN)
        members = tuple(
            Member(settings, str(where / "launch/evaluation.yaml"), str(where), step) for step in (500, 1000)
        )
        return Job(profile(on), members, (1,), 1)
    return job(on, nodes)


@pytest.mark.parametrize("name", CASES)
def test_rendered_to_the_letter(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "dump_config", lambda config: f"name: {config.name}\n")
    monkeypatch.setattr(sys, "base_prefix", "/usr")  # as in a virtual environment
    assert golden(name, tmp_path) == (GOLDEN / name).read_text(), "read `python -m tests.scripts.test_launch`'s diff"


def manifests(name: str = "kubernetes.yaml", directory: Path = Path()) -> list[dict[str, Any]]:
    """As kubectl reads them."""
    return list(yaml.safe_load_all(render(wanted(name, directory)).text))


def test_the_manifest_carries_the_whole_configuration(tmp_path: Path) -> None:
    pod = manifests()[0]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    text = next(each["value"] for each in pod["containers"][0]["env"] if each["name"] == rendering.CONFIG_VARIABLE)
    (tmp_path / "config.yaml").write_text(text)
    assert load_config(tmp_path / "config.yaml") == load_config(RUN, (MANY_ROWS,))


@pytest.mark.parametrize(("name", "count"), list(KUBERNETES.items()))
def test_every_manifest_is_a_jobset_and_has_no_key_that_is_not_one(name: str, count: int, tmp_path: Path) -> None:
    models = pytest.importorskip("kubeflow_trainer_api.models", reason="pip install 'replibench[test]'")
    found = manifests(name, tmp_path)
    assert len({tree["metadata"]["name"] for tree in found}) == len(found) == count

    def read(tree: dict[str, Any]) -> Any:
        return models.JobsetV1alpha2JobSet.from_dict(tree).to_dict()

    assert [read(tree) for tree in found] == found
    tree = found[0]
    stray = yaml.safe_load(yaml.safe_dump(tree))
    stray["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["restartpolicy"] = "Never"
    assert read(stray) != stray


def test_skypilot_reads_its_task(tmp_path: Path) -> None:
    sky = pytest.importorskip("sky", reason="pip install 'replibench[skypilot]'")
    (tmp_path / "task.yaml").write_text(render(job("skypilot-h100", "2")).text)
    assert sky.Task.from_yaml(str(tmp_path / "task.yaml")).num_nodes == 2
    stray = yaml.safe_load((tmp_path / "task.yaml").read_text()) | {"num_node": 2}
    (tmp_path / "stray.yaml").write_text(yaml.safe_dump(stray))
    with pytest.raises(Exception, match="num_nodes"):
        sky.Task.from_yaml(str(tmp_path / "stray.yaml"))


def site(tmp_path: Path, keys: dict[str, Any]) -> str:
    """A profile of one's own."""
    path = tmp_path / "site.yaml"
    launch = {"scheduler": "slurm", "shared": "/shared", **keys}
    path.write_text(yaml.safe_dump({"accelerator": "h100-sxm-80gb", "launch": launch}))
    return str(path)


@pytest.mark.parametrize(
    ("keys", "nodes", "overrides", "message"),
    [
        ({"shared": None}, "1", (), r"launch.shared: is missing"),
        ({"shared": None, "scheduler": "ssh", "hosts": ["a"]}, "1", (), r"launch.shared: is missing"),
        ({"shared": None}, "2", (), r"launch.shared: is missing: .* name a directory of the shared file system"),
        ({"per_node": 16}, "1", (), r"launch.per_node: 16 is more than the 8 devices of a node of h100-sxm-80gb"),
        ({"scheduler": "slrum"}, "1", (), r"launch.scheduler: 'slrum' is not a choice; choices: local, ssh, slurm"),
        ({"partiton": "gpu"}, "1", (), r"launch.partiton: unknown key; did you mean 'partition'"),
        ({"partition": "a b; rm"}, "1", (), r"launch.partition: 'a b; rm'"),
        ({"mounts": "/a:/a /b:/b"}, "1", (), r"launch.mounts: '/a:/a /b:/b'"),
        ({"shared": "runs"}, "1", (), r"launch.shared: 'runs': write it out from / on"),
        ({"checkout": "~/replibench"}, "1", (), r"launch.checkout: '~/replibench': .* nothing expands `~` or `\$`"),
        ({"venv": "${HOME}/venv"}, "1", (), r"launch.venv: '\$\{HOME\}/venv': write it out from / on"),
        ({"scratch": "$TMPDIR"}, "1", (), r"launch.scratch: '\$TMPDIR': write it out from / on"),
        ({"port": 64_537}, "1", (), r"launch.port: 64537: .* 64536"),
        ({"scheduler": "ssh", "hosts": ["a", "b"]}, "3", (), r"--nodes: 3 is more than the 2 of site"),
        ({}, "2-1", (), r"--nodes: '2-1' is no number of nodes"),
        ({}, "3", (), r"24 processes cannot share 128 rows a step .* processes that can: 1, 2, 4, 8, 16"),
        ({}, None, ("train.data_parallel_size=12",), r"12 processes do not fill nodes of 8"),
        ({}, "1", ("train.device=cpu",), r"train.device: cpu, and site has h100-sxm-80gb; take auto"),
        ({"accelerator": "h100"}, "1", (), r"launch.accelerator: unknown key"),
    ],
)
def test_refused_before_submission(
    keys: dict[str, Any], nodes: str | None, overrides: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInputError, match=message) as error:
        job(site(tmp_path, keys), nodes, MANY_ROWS, *overrides)
    assert "\n" not in str(error.value)


def test_a_profile_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(BadInputError, match=r"--on slurm: no such profile; choices: .*slurm-h100"):
        profile("slurm")
    with pytest.raises(BadInputError, match=r"a100-1024.yaml has no `launch` section"):
        profile("a100-1024")
    assert {type(profile(name).site) for name in profile_names()} == {*KINDS.values()}
    assert all(issubclass(kind, Site) for kind in KINDS.values())


def test_tensor_parallelism_across_nodes_is_warned_of_with_its_cost() -> None:
    with pytest.raises(UserWarning, match=r"16 crosses nodes of 8: .* 50 GB/s a device .* have 450: 9 times as long"):
        job("slurm-h100", "2", MANY_ROWS, "train.tensor_parallel_size=16")


@pytest.mark.parametrize("processes", [1, 2, 4, 8, 16, 32, 64, 128])
def test_the_recipe_is_the_same_on_any_number_of_processes(processes: int) -> None:
    train = load_config(RUN, (MANY_ROWS,)).train
    found = fitted(train, processes)
    assert found.world_size == processes
    assert found.global_batch_rows == train.global_batch_rows
    assert found.micro_batch_size <= train.micro_batch_size


def test_several_runs_need_a_scheduler_that_has_arrays(tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump({"extends": str(ROOT / "configs" / "runs" / f"{RUN}.yaml"), "name": "other"}))
    with pytest.raises(BadInputError, match=r"--on ssh-a100: several runs or checkpoints need a scheduler"):
        render(job("ssh-a100", "1", configs=(RUN, str(other))))
    with pytest.raises(BadInputError, match="runs of one job need names of their own"):
        job("slurm-h100", "1", configs=(RUN, RUN))


def test_a_sweeps_ladder_shares_one_corpus_and_leaves_the_held_out_run_for_its_prediction(tmp_path: Path) -> None:
    found = wanted("slurm-sweep.sbatch", tmp_path)
    assert [Path(member.run_dir).name for member in found.members] == [
        *("small-10.2k", "small-20.5k", "middle-10.2k", "small-41k", "middle-20.5k", "large-10.2k"),
        *("middle-41k", "large-20.5k", "large-41k"),  # least compute first
    ]
    assert {str(Path(member.run_dir).parent / "data") for member in found.members} == {found.corpus}
    with pytest.raises(BadInputError, match=r"CONFIG: a sweep is launched by itself"):
        job("slurm-h100", None, "base.train.device=auto", configs=(str(tmp_path / "ladder.yaml"), RUN))


@pytest.mark.parametrize(
    ("steps", "message"),
    [("10,x", r"--evaluate: '10,x' are no steps"), ("10,10", r"--evaluate: '10,10'"), ("", "--evaluate: ''")],
)
def test_steps_of_checkpoints_are_numbers(steps: str, message: str) -> None:
    assert launch.parse_steps("500, 1000") == (500, 1000)
    with pytest.raises(BadInputError, match=message):
        launch.parse_steps(steps)


def test_a_checkpoint_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    where = site(tmp_path, {"shared": str(tmp_path)})
    (tmp_path / RUN / "checkpoints" / "step-00000500").mkdir(parents=True)
    assert launch.plan_evaluations(RUN, where, (), (500,), None).members[0].step == 500
    with pytest.raises(BadInputError, match=r"--evaluate 600: .*step-00000600: no such checkpoint; there are: 500"):
        launch.plan_evaluations(RUN, where, (), (500, 600), None)


def test_a_dry_run_prints_the_script_and_the_command() -> None:
    found = launch.dry_run(Rendered(Path("job.sh"), "#!/bin/bash\n", ("bash", "job.sh")))
    assert found == "#!/bin/bash\n\n# job.sh, to be submitted with:\n# bash job.sh\n"


def test_on_this_machine_there_are_as_many_processes_as_the_configuration_has() -> None:
    found = job("local", None, "train.data_parallel_size=4")
    assert (found.nodes, found.processes) == ((1,), 4)
    with pytest.raises(BadInputError, match=r"--nodes: 2 is more than the 1 of local"):
        job("local", "2")


SBATCH = """#!/bin/bash
cat "${@: -1}" > seen 2> /dev/null || cat > seen
[ -f refuse ] && { echo "sbatch: error: invalid partition" >&2; exit 1; }
echo 7
"""


@pytest.fixture
def scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory where `sbatch` takes what it is given, into `seen`, unless there is a file `refuse`."""
    for name in ("sbatch", "sinfo"):
        (tmp_path / "bin" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(SBATCH)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_refused_launch_leaves_a_live_jobs_files_alone(scheduler: Path) -> None:
    where = site(scheduler, {"shared": str(scheduler)})
    assert launch.submit(job(where, "1")).job == "7"
    assert (scheduler / "seen").read_text() == (scheduler / RUN / "launch" / "job.sbatch").read_text()
    before = {path: path.read_bytes() for path in (scheduler / RUN).rglob("*") if path.is_file()}
    assert scheduler / RUN / "launch" / "config.yaml" in before
    (scheduler / "refuse").touch()
    with pytest.raises(BadInputError, match="--on site: sbatch: error: invalid partition"):
        launch.submit(job(where, "2", MANY_ROWS, "train.steps=77"))
    assert {path: path.read_bytes() for path in (scheduler / RUN).rglob("*") if path.is_file()} == before


def test_a_run_that_has_begun_goes_on_with_its_own_recipe(tmp_path: Path) -> None:
    where = site(tmp_path, {"shared": str(tmp_path)})
    write_config(tmp_path / RUN / "config.yaml", load_config(RUN, (MANY_ROWS,)))
    assert job(where, "2").nodes == (2,)
    with pytest.raises(BadInputError, match=r"holds a run of another config \(train.steps: "):
        job(where, "2", MANY_ROWS, "train.steps=77")
    (tmp_path / RUN / "run.json").touch()
    assert job(where, "2", "train.data_parallel_size=16").nodes == (2,)  # on other nodes than it had: left as it is
    with pytest.raises(BadInputError, match="holds a run of another config"):
        job(where, "2", MANY_ROWS, "train.steps=77")


def test_manifests_have_the_time_of_their_submission() -> None:
    for on in ("kubernetes-h100", "skypilot-h100"):
        found = job(on, "1")
        assert SUBMITTED not in render(found).text
        assert "'1234.5'" in render(replace(found, submitted=1234.5)).text.partition(SUBMITTED)[2]


@pytest.mark.parametrize("name", ["a run", "50%", "a;b"])
def test_a_directory_that_a_scheduler_reads_otherwise_is_refused(name: str, tmp_path: Path) -> None:
    where = site(tmp_path, {"shared": str(tmp_path)})
    with pytest.raises(
        BadInputError, match=r"--run-dir .*: schedulers and ssh read more into such a name; take one of"
    ):
        launch.plan((RUN,), where, (MANY_ROWS,), (1, 1), tmp_path / name, print)


@pytest.mark.parametrize("key", ["checkout", "venv"])
def test_nothing_runs_beside_a_checkout_or_an_environment_that_is_not_there(key: str, tmp_path: Path) -> None:
    where = site(tmp_path, {"scheduler": "local", "shared": str(tmp_path), key: str(tmp_path / "nowhere")})
    (tmp_path / "job.sh").write_text(render(job(where, "1")).text)
    done = subprocess.run(("bash", str(tmp_path / "job.sh")), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, "nowhere" in done.stderr) == (3, True)
    assert not (tmp_path / RUN).exists()


def test_an_evaluation_asks_for_one_processs_share_of_a_node(tmp_path: Path) -> None:
    where = profile(site(tmp_path, CONTAINER))
    member = Member(load_config(RUN), "/shared/evaluation.yaml", "/shared/run", 500)
    text = render(Job(where, (member,), (1, 1), 1)).text
    assert "--exclusive" not in text
    assert {"#SBATCH --gres=gpu:1", "#SBATCH --cpus-per-task=8", f"#SBATCH --mem={1024**3 // 8}K"} <= {
        *text.split("\n")
    }
    assert f"srun --ntasks-per-node=1 --cpus-per-task=8 '--container-image={CONTAINER['container']}'" in text


def test_walltimes_are_not_numbers_in_base_sixty(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("launch: {scheduler: slurm, shared: /shared, walltime: 12:30:00}\n")
    assert "--time=12:30:00" in render(job(str(path), "1", MANY_ROWS, "train.device=cpu")).text


def test_paths_of_this_checkout_are_of_the_one_there() -> None:
    run = load_config("smoke")
    there = relocated(run, "/opt/replibench")
    assert there.reference == "/opt/replibench/configs/references/tinyworld-434k"
    assert there.train == run.train
    assert foreign(run, None) == []
    moved = load_config("smoke", ("data={sources: [{path: /mine/a.txt}, {path: /runs/b.txt}]}",))
    assert foreign(moved, "/runs") == ["data.sources.0.path: /mine/a.txt"]


def test_a_path_that_a_pod_may_not_have_is_warned_of() -> None:
    said: list[str] = []
    overrides = (MANY_ROWS, "data={sources: [{path: /mine/a.txt}]}")
    launch.plan((RUN,), "kubernetes-h100", overrides, (1, 1), None, said.append)
    assert ["data.sources.0.path: /mine/a.txt: of this machine" in each for each in said] == [True]


def test_a_name_that_is_too_long_for_a_pod_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"Kubernetes allows 63 characters; set a `name` that is 7 shorter"):
        render(job("kubernetes-h100", "2", MANY_ROWS, f"name={'x' * 61}"))


if __name__ == "__main__":
    import tempfile

    rendering.dump_config = lambda config: f"name: {config.name}\n"
    for each in CASES:
        with tempfile.TemporaryDirectory() as scratch:
            (GOLDEN / each).write_text(golden(each, Path(scratch)))

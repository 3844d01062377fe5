"""The rules that keep it a house: who imports whom, and what stays light."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ["accounting", "configs", "tinyworld", "train", "eval", "extrapolate", "report", "scripts"]
HEAVY = ("torch", "transformers", "deepspeed", "lm_eval")
LIGHT_ROOMS = ("accounting", "configs", "tinyworld", "extrapolate", "report")
LIGHT_MODULES = (
    "train.record",
    *(f"train.{name}" for name in ("hub", "integrity", "offline", "reference")),
    *(
        f"eval.{name}"
        for name in ("beside", "calibration", "criterion", "judge", "power", "results", "statistics", "verdict")
    ),
    "report.verdict_terminal",
    "scripts.cli",
    "scripts.commands",
    "scripts.compare",
    "scripts.extrapolate",
    "scripts.references",
)


def _modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def _imports(path: Path) -> set[str]:
    """Top-level packages that a file imports, at any depth of its code."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_rooms_above_it(room: str) -> None:
    below = set(ROOMS[ROOMS.index(room) + 1 :])
    if room == "tinyworld":
        below |= set(ROOMS) - {"tinyworld"}  # it imports nothing of ours
    for path in _modules(room):
        assert not _imports(path) & below, path


def test_deepspeed_and_lm_eval_have_one_door_each() -> None:
    doors = {"deepspeed": "train/engine.py", "lm_eval": "eval/harness.py"}
    for room in ROOMS:
        for path in _modules(room):
            for library, door in doors.items():
                if library in _imports(path):
                    assert str(path.relative_to(ROOT)) == door


def test_light_rooms_stay_light() -> None:
    names = list(LIGHT_MODULES)
    for room in LIGHT_ROOMS:
        for path in _modules(room):
            parts = path.relative_to(ROOT).with_suffix("").parts
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        f"    heavy = [h for h in {HEAVY!r} if h in sys.modules]\n"
        "    assert not heavy, (name, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def test_extrapolate_and_accounting_never_import_torch_at_all() -> None:
    for room in ("accounting", "configs", "tinyworld", "extrapolate", "report"):
        for path in _modules(room):
            assert not _imports(path) & {*HEAVY}, path


def test_no_code_of_others_is_ever_run() -> None:
    """`trust_remote_code` is nowhere on, and pickles are read in two places, from bytes that were verified."""
    unpickling = set()
    for path in [path for room in ROOMS for path in _modules(room)]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"trust_remote_code\W{1,4}(True|1|yes)", text), path
        if re.search(r"\b(torch|pickle|joblib|dill)\.(load|loads|Unpickler)\(", text):
            unpickling.add(str(path.relative_to(ROOT)))
        if "weights_only=False" in text:
            assert path == ROOT / "train" / "convert.py"
    assert unpickling == {"train/convert.py", "train/saving.py"}
    for path in ROOT.glob("configs/**/*.yaml"):
        assert "trust_remote_code" not in path.read_text(encoding="utf-8"), path


def test_no_path_of_a_machine_stands_in_the_project() -> None:
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=False).stdout.split(
        "\n"
    )
    assert len(listed) > 50
    suffixes = {".py", ".md", ".yaml", ".toml", ".json", ".txt", ".j2"}
    for name in listed:
        path = ROOT / name
        if path.suffix in suffixes and path.is_file() and path != Path(__file__):
            text = path.read_text(encoding="utf-8")
            for prefix in ("/" + "work/", "/" + "root/", "/" + "home/"):
                assert prefix not in text, (name, prefix)

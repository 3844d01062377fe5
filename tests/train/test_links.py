"""The ways between nodes are measured before the first step, and a slow node is named."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from configs.errors import NodeError
from tests.distributed import run_distributed
from train import engine, links
from train.links import Links

CPU = torch.device("cpu")


def _join() -> Any:
    engine.initialise(CPU, 60)
    return engine.control_group(60)


def measured(nodes: list[str]) -> dict[str, Any]:
    """As this rank has it."""
    return links.measure(nodes, CPU, _join()).model_dump()


def test_every_node_and_pair_is_measured_and_all_ranks_agree() -> None:
    found = run_distributed(measured, 4, ["a", "a", "b", "b"])
    assert all(each == found[0] for each in found)
    assert set(found[0]["within"]) == {"a", "b"}
    assert {node: set(others) for node, others in found[0]["between"].items()} == {"a": {"b"}, "b": {"a"}}
    rates = [*found[0]["within"].values(), *found[0]["between"]["a"].values(), found[0]["all_ranks"]]
    assert all(1e6 < rate < 1e12 for rate in rates)  # bytes/s, of whatever machine


def checked_with_a_slow_rank(run_dir: Path, nodes: list[str], slow: int) -> str:
    """What the check says on this rank, where one rank takes half a second for whatever it sends."""
    os.environ["REPLIBENCH_ATTEMPT"] = "7-0"
    control, plain = _join(), links.dist.all_reduce

    def all_reduce(*arguments: Any, **options: Any) -> Any:
        if links.dist.get_rank() == slow:
            time.sleep(0.5)
        return plain(*arguments, **options)

    links.dist.all_reduce, links.REPEATS = all_reduce, 1
    try:
        links.check(run_dir, nodes, CPU, control)
    except NodeError as error:
        return str(error)
    finally:
        links.dist.all_reduce = plain
        del os.environ["REPLIBENCH_ATTEMPT"]
    return "nothing"


def test_a_slow_node_is_named_on_all_ranks_before_the_first_step(tmp_path: Path) -> None:
    said = run_distributed(checked_with_a_slow_rank, 5, tmp_path, ["a", "b", "c", "d", "e"], 2)
    assert len({*said}) == 1
    assert said[0].startswith("pre-flight: c: an all-reduce to its neighbours has ")
    found = Links.model_validate(json.loads((tmp_path / "attempts" / "7-0" / "links.json").read_text()))
    assert set(found.between["c"]) == {"b", "d"}  # the ring
    assert set(found.between["a"]) == {"b", "e"}


@pytest.mark.parametrize(
    ("within", "between", "named"),
    [
        ({"a": 8.0, "b": 9.0, "c": 1.0}, {}, "c: an all-reduce among its own devices"),
        ({}, {"a": {"b": 1.0, "d": 9.0}, "b": {"a": 1.0, "c": 1.0}, "c": {"b": 1.0, "d": 9.0}, "d": {"a": 9.0}}, "b: "),
        ({"a": 8.0, "b": 9.0, "c": 3.0}, {"a": {"b": 9.0}, "b": {"a": 9.0}}, None),
        ({"a": 8.0, "b": 1.0}, {}, None),  # which of two is as it should be?
    ],
)
def test_who_is_slow(within: dict[str, float], between: dict[str, dict[str, float]], named: str | None) -> None:
    said = Links(within=within, between=between, all_ranks=1.0).slow()
    assert (said is None) == (named is None)
    assert (said or "").startswith(named or "")

"""Tensor parallelism is exact: in fp64 the gradients of one step are those of one process, to the last digits."""

from pathlib import Path

import numpy as np
import pytest
import torch

from configs.schema import TrainConfig
from tests.distributed import run_distributed
from tests.train.tiny import ARCHITECTURES
from train.families import FAMILIES
from train.model import build, full_config, to_checkpoint_names


def _gradients(family: str, tensor_parallel: int, vocab_parallel: bool) -> dict[str, np.ndarray] | None:
    """On each rank: one forward and backward pass in fp64; the whole gradients by parameter, on rank 0."""
    from train import engine as deepspeed_engine

    device = torch.device("cpu")
    deepspeed_engine.initialise(device, timeout_s=60)
    train = TrainConfig(
        tensor_parallel_size=tensor_parallel, zero_stage=0, vocab_parallel_head=vocab_parallel, micro_batch_size=2
    )
    model = build(full_config(ARCHITECTURES[family]), seed=3, device=device).double()
    engine = deepspeed_engine.start(model, FAMILIES[family], train, "fp32")
    ids = torch.arange(2 * 20).reshape(2, 20) * 7 % 512
    logits = engine(input_ids=ids).logits
    assert logits.dtype == torch.float64
    engine.allreduce_gradients = lambda *_, **__: None  # there is one copy, and DeepSpeed would refuse fp64 there
    engine.backward(deepspeed_engine.summed_loss(engine, logits[:, :-1], ids[:, 1:]))
    with torch.no_grad():
        for parameter in engine.module.parameters():
            assert parameter.grad is not None
            parameter.copy_(parameter.grad)
    state = deepspeed_engine.gather(engine)
    if state is None:
        return None
    named = to_checkpoint_names(FAMILIES[family], state)
    return {name: tensor.double().numpy() for name, tensor in named.items()}


@pytest.mark.parametrize("vocab_parallel", [False, True], ids=["", "vocab-parallel"])
@pytest.mark.parametrize("family", FAMILIES)
def test_split_gradients_are_the_whole_ones(family: str, vocab_parallel: bool, tmp_path: Path) -> None:
    (one,) = run_distributed(_gradients, 1, family, 1, False)
    two, _ = run_distributed(_gradients, 2, family, 2, vocab_parallel)
    assert one.keys() == two.keys()
    # DeepSpeed takes the vocabulary-parallel loss in fp32 whatever the logits are.
    tolerance = 1e-6 if vocab_parallel else 1e-12
    for name, gradient in one.items():
        assert np.abs(gradient).max() > 0 or name.endswith("k_proj.bias"), name  # softmax ignores a shift of the keys
        np.testing.assert_allclose(two[name], gradient, atol=tolerance, rtol=0, err_msg=name)

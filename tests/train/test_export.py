"""The exported directory is the trained model, for anyone's transformers."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from configs.errors import WorkFailedError
from tests.distributed import run_distributed
from tests.train.tiny import ARCHITECTURES, tiny_config
from train.families import FAMILIES
from train.model import build, full_config
from train.prepare import prepare_run


def _export_and_damage(run_dir: Path) -> tuple[float, str]:
    """In a training process: export an untrained model, compare logits, then damage one weight and compare again."""
    from configs.loader import load_config
    from train import engine as deepspeed_engine
    from train.data import open_corpus
    from train.export import export, logit_difference

    config, device = load_config(run_dir / "config.yaml"), torch.device("cpu")
    hf_config = full_config(dict(config.architecture))
    family = FAMILIES[config.architecture["model_type"]]
    deepspeed_engine.initialise(device, timeout_s=60)
    engine = deepspeed_engine.start(build(hf_config, 5, device), family, config.train, "fp32")
    corpus = open_corpus(run_dir / "data", config)
    export(engine, family, hf_config, config, run_dir / "data", run_dir / "replica")
    difference = logit_difference(engine, run_dir / "replica", corpus, "fp32", device)
    weights = run_dir / "replica" / "model.safetensors"
    if torch.distributed.get_rank() == 0:
        state = load_file(weights)
        name = next(n for n in state if n.endswith("dense.weight") or n.endswith("attn.c_proj.weight"))
        state[name] = state[name].t().contiguous()  # the classic: a square matrix exported the wrong way round
        save_file(state, weights, metadata={"format": "pt"})
        try:
            logit_difference(engine, run_dir / "replica", corpus, "fp32", device)
        except WorkFailedError as error:
            return difference, str(error)
    return difference, ""


@pytest.mark.parametrize("family", ["gpt_neox", "gpt2"])
def test_logits_are_the_engines_and_a_wrong_weight_is_noticed(family: str, tmp_path: Path) -> None:
    config = tiny_config(tmp_path, family)
    prepare_run(config, tmp_path / "run", lambda text: None)
    ((difference, noticed),) = run_distributed(_export_and_damage, 1, tmp_path / "run")
    assert difference <= 1e-5
    assert "logits differ" in noticed


@pytest.mark.parametrize("family", ["gpt_neox", "gpt2"])
def test_the_directory_is_complete_and_of_the_reference_architecture(family: str, tmp_path: Path) -> None:
    config = tiny_config(tmp_path, family)
    prepare_run(config, tmp_path / "run", lambda text: None)
    run_distributed(_export_and_damage, 1, tmp_path / "run")
    replica = tmp_path / "run" / "replica"
    model = AutoModelForCausalLM.from_pretrained(replica)
    tokenizer = AutoTokenizer.from_pretrained(replica)
    for key, value in ARCHITECTURES[family].items():
        assert getattr(model.config, key) == value
    if family == "gpt2":
        assert model.config.resid_pdrop == 0.1  # the reference's own config goes out, not the training copy
    assert tokenizer.decode(tokenizer("the dog is old .").input_ids) == "the dog is old ."
    assert tokenizer.eos_token_id == 0
    assert (replica / "README.md").is_file()

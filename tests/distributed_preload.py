"""Imported once by the fork server of tests/distributed.py."""

from transformers.models import gpt2, gpt_neox  # noqa: F401

import train.trainer

assert train.trainer

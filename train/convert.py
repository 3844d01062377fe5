"""Turn a checkpoint of one layout into DeepSpeed's universal form. A process of its own: `python -m train.convert`."""

import runpy
import signal
import sys

from train.processes import die_with_parent

if __name__ == "__main__":
    die_with_parent(signal.SIGKILL)
    source, target = sys.argv[1:]
    arguments = ["--input_folder", source, "--output_folder", target, "--inject_missing_state"]
    # one process: the children of a pool would outlive a kill
    sys.argv = ["ds_to_universal", *arguments, "--num_extract_workers", "1", "--num_merge_workers", "1"]
    runpy.run_module("deepspeed.checkpoint.ds_to_universal", run_name="__main__")

"""One measurement of the GPU bench, in a process of its own: `python -m scripts.bench.gpu_worker DIRECTORY`.

Reads case.json there (none: describes the device) and writes result.json. What goes wrong goes in there too.
"""

import json
import signal
import sys
from pathlib import Path

from configs.errors import first_line
from configs.files import read_record, write_text
from scripts.bench.gpu_record import Case
from train.processes import die_with_parent


def main(directory: Path) -> None:
    """Measure; result.json has `speed`, `losses` or `device`, or else `status` and `reason`."""
    try:
        import torch

        try:
            result = _measured(directory)
        except torch.OutOfMemoryError as error:
            result = {"status": "out_of_memory", "reason": first_line(error)}
    except Exception as error:
        # The process ends with a traceback in its log; the bench wants a line and goes on to the next case.
        _leave(directory, {"status": "failed", "reason": f"{type(error).__name__}: {first_line(error)}"})
        raise
    _leave(directory, result)


def _measured(directory: Path) -> dict[str, object]:
    if not (directory / "case.json").is_file():
        from scripts.bench.gpu_device import device

        found = device()
        return {"device": found.model_dump() if found else None}
    from scripts.bench import gpu_measure

    case = read_record(directory / "case.json", Case)
    if case.what == "losses":
        return {"losses": gpu_measure.losses(case)}
    return {"speed": gpu_measure.speed(case).model_dump()}


def _leave(directory: Path, result: dict[str, object]) -> None:
    write_text(directory / "result.json", json.dumps(result))


if __name__ == "__main__":
    die_with_parent(signal.SIGKILL)
    main(Path(sys.argv[1]))

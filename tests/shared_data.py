"""Real data that is too large for the repository: beside it where it was made, and absent elsewhere."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("REPLIBENCH_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
needs_shared_data = pytest.mark.skipif(
    not SHARED.is_dir(), reason="needs ../shared/data, which is not in the repository"
)

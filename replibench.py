"""The command's entry. Its name is nobody else's, and it puts our rooms before any of the user's.

Rooms have everyday names (train, eval, configs), so with PYTHONPATH=. a file of the user's would be found first.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from scripts.cli import main

if __name__ == "__main__":
    main()

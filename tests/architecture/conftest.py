"""The house rules read the sources with one reader."""

import sys
from pathlib import Path

# Helper modules of this folder: importlib mode puts no folder of tests on the path by itself.
sys.path.insert(0, str(Path(__file__).parent))

"""Tests of what runs at scale; processes.py is for those that start several processes."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

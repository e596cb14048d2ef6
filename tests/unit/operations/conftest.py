from __future__ import annotations

import sys
from pathlib import Path

# With --import-mode=importlib the folder of a test is not on the path; fake_host is beside these tests.
sys.path.insert(0, str(Path(__file__).parent))

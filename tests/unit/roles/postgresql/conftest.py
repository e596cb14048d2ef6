"""With --import-mode=importlib the folder of a test is not on the path; servers.py is beside these tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

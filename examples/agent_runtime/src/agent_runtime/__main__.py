"""`python -m agent_runtime`: run the process that the instance file describes."""

import sys

from agent_runtime.launcher import main

if __name__ == "__main__":
    sys.exit(main())

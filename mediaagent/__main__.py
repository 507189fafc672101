"""`python -m mediaagent --config FILE`: the MediaAgent."""

from __future__ import annotations

import sys

from mediaagent.agent import serve
from mediaagent.settings import MediaAgentSettings
from runtime.main import run

if __name__ == "__main__":
    sys.exit(run("ingot-mediaagent", MediaAgentSettings, serve))

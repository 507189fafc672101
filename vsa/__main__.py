"""`python -m vsa --config FILE`: the VSA."""

from __future__ import annotations

import sys

from runtime.main import run
from vsa.agent import serve
from vsa.settings import VsaSettings

if __name__ == "__main__":
    sys.exit(run("ingot-vsa", VsaSettings, serve))

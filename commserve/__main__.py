"""`python -m commserve --config FILE`: the CommServe."""

from __future__ import annotations

import sys

from commserve.daemon import serve
from commserve.settings import CommServeSettings
from runtime.main import run

if __name__ == "__main__":
    sys.exit(run("ingot-commserve", CommServeSettings, serve))

#!/usr/bin/env python3
"""punchhole.tcp as it comes, but for a connection that fails: that ends it with exit code 1 in place of a traceback."""

import runpy
import sys

try:
    runpy.run_module("punchhole.tcp", run_name="__main__")
except OSError as why:
    sys.exit(f"no connection: {why}")

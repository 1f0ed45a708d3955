#!/usr/bin/env python3
"""A peer that gets next to nothing of the only processor that it may use, if somebody else keeps that busy."""

import os
import time

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
while True:
    time.sleep(0.001)

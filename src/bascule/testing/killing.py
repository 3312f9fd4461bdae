"""Killing a driver at an instant of its work."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path


def killed(driver: Path, data: Path, begun: Path, after_s: float) -> bool:
    """`driver DATA BEGUN` is killed `after_s` after it made the file BEGUN. Whether it was still at work."""
    begun.unlink(missing_ok=True)
    process = subprocess.Popen([sys.executable, str(driver), str(data), str(begun)])
    end_s = time.monotonic() + 60
    while not begun.exists() and process.poll() is None:
        assert time.monotonic() < end_s
        time.sleep(0.002)  # waits for another process; the condition is checked, not the time
    time.sleep(after_s)  # the instant is the point of the test
    at_work = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return at_work

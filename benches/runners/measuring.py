"""Running a command to its end, and what it took."""

import os
import signal
import statistics
import subprocess
import time
from dataclasses import dataclass


@dataclass
class Took:
    wall: float
    cpu: float
    code: int


def run(command, root, limit):
    """Runs a command; none when it took longer than `limit` seconds and was killed."""
    begin = time.monotonic()
    process = subprocess.Popen(
        command, cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        wall = time.monotonic() - begin
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return Took(wall, usage.ru_utime + usage.ru_stime, process.returncode)
        if wall > limit:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None
        time.sleep(0.0005 if wall < 0.2 else 0.005)


def median(values):
    return statistics.median(values)

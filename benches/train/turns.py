"""Contenders that take turns, and the programs that stand for pipe."""

import json
import os
import statistics
import subprocess
import sys
import time


def memory(process):
    """Returns the most bytes that a process has had since it became a program."""
    with open(f"/proc/{process}/status") as file:
        return 1024 * next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


class Pipe:
    """A program of pipe's, which waits for the name of the next work."""

    def __init__(self, path, threads):
        environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([path], env=environment, **pipes)

    def run(self, work):
        self.process.stdin.write(work + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the Rust half ended at `{work}` (status {self.process.wait()})")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def timed(work):
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def take_turns(contenders, rounds, limit):
    """Runs each once unmeasured, then all in turn; returns the medians by name."""
    for run in contenders.values():
        run()
    taken = {name: [] for name in contenders}
    start = time.perf_counter()
    for done in range(rounds):
        if done >= 3 and time.perf_counter() - start > limit:
            break
        for name, run in contenders.items():
            # threads that wait for more work in a loop shall not count against the next
            time.sleep(0.02)
            taken[name].append(run())
    return {
        name: {key: statistics.median(one[key] for one in all) for key in ("wall", "cpu")}
        for name, all in taken.items()
    }

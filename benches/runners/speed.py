"""How long each runner takes for the same job; the runs of all runners alternate."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from measuring import median, run
from tools import Step

PER_DIRECTORY = 500


def trivial(count):
    return [Step(f"s{i}", f"echo {i} > $out") for i in range(count)]


def over_directory():
    return [Step("count", "find $in -type f | wc -l > $out", reads=["data"])]


def write_data(root, count):
    for i in range(count):
        directory = os.path.join(root, "data", f"{i // PER_DIRECTORY:04}")
        if i % PER_DIRECTORY == 0:
            os.makedirs(directory)
        with open(os.path.join(directory, f"{i:06}.txt"), "w") as file:
            file.write(f"file {i}\n" * 16)


def edit_one(root, turn):
    with open(os.path.join(root, "data", "0003", f"{3 * PER_DIRECTORY + 7:06}.txt"), "w") as file:
        file.write(f"edited {turn}\n")


@dataclass
class Job:
    """What is measured: a run that finds everything done, unless something else is said."""

    name: str
    steps: Callable
    files: int = 0
    # Called before each run with the directory and the number of the turn.
    before: Callable | None = None
    # The first run in a new directory.
    first: bool = False
    # What a run would do is asked, and nothing has run.
    plan: bool = False


# A file system may be slower for some time after many files were removed, so what makes files is first.
JOBS = [
    Job("1,000 trivial steps", lambda: trivial(1000), first=True),
    Job("nothing to do, 10 steps", lambda: trivial(10)),
    Job("nothing to do, 1,000 steps", lambda: trivial(1000)),
    Job("100,000 steps planned", lambda: trivial(100_000), plan=True),
    Job("nothing to do, 50,000 files", over_directory, 50_000),
    Job("nothing to do, 200,000 files", over_directory, 200_000),
    Job("one of 50,000 files changed", over_directory, 50_000, edit_one),
]


def prepare(tool, root, job):
    os.makedirs(root)
    write_data(root, job.files)
    tool.prepare(root)
    tool.write(root, job.steps())


def measure(tools, base, rounds, limit, say):
    """Returns {job: {tool: (wall, cpu) or why not}}."""
    results = {}
    for job in JOBS:
        say(job.name)
        told, times = {}, {name: [] for name in tools}
        asked = {name: tool.plan() if job.plan else tool.command() for name, tool in tools.items()}
        # Removed at the end, so that nobody pays for what was removed before.
        place = os.path.join(base, "job")
        for name, tool in tools.items():
            if asked[name] is None:
                told[name] = "does not say"
            elif not job.first:
                root = os.path.join(place, name)
                prepare(tool, root, job)
                took = None if job.plan else run(asked[name], root, limit)
                if not job.plan and (took is None or took.code != 0):
                    told[name] = "first run over the limit" if took is None else "failed"
        for turn in range(rounds):
            for name, tool in tools.items():
                if name in told:
                    continue
                root = os.path.join(place, name)
                if job.first:
                    root += f"-{turn}"
                    prepare(tool, root, job)
                if job.before:
                    job.before(root, turn)
                took = run(asked[name], root, limit)
                if took is None:
                    told[name] = f"over {limit:.0f} s"
                elif took.code != 0:
                    told[name] = "failed"
                else:
                    times[name].append(took)
        for name in tools:
            if name not in told:
                parts = zip(*((took.wall, took.cpu) for took in times[name]))
                told[name] = tuple(median(part) for part in parts)
        shutil.rmtree(place)
        results[job.name] = told
    return results

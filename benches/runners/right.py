"""What each runner runs again, and what it does when killed or started twice.

The steps: `a` reads the directory `data`, `b` reads what `a` made, `c` reads `c.txt`, `d` nothing.
Each writes its name to `ran` when it starts.
"""

import os
import shutil
import signal
import subprocess
import time

from measuring import run
from tools import Step

LIMIT = 60


def steps(root, changed="", slow=0.0):
    def ran(name):
        return f"echo {name} >> {root}/ran; "

    wait = f"; sleep {slow}; echo END >> $out" if slow else ""
    return [
        Step("a", ran("a") + "cat $in/* | tr a-z A-Z > $out" + wait, reads=["data"]),
        Step("b", ran("b") + "sort $in > $out", needs=["a"]),
        Step("c", ran("c") + "cat $in > $out" + changed, reads=["c.txt"]),
        Step("d", ran("d") + "echo d > $out"),
    ]


class Project:
    def __init__(self, tool, base, slow=0.0):
        self.tool, self.root, self.slow = tool, os.path.join(base, "project"), slow
        os.makedirs(os.path.join(self.root, "data"))
        self.write("data/x", "pear\n")
        self.write("data/y", "apple\n")
        self.write("c.txt", "c\n")
        tool.prepare(self.root)
        tool.write(self.root, steps(self.root, slow=slow))

    def path(self, path):
        return os.path.join(self.root, path)

    def write(self, path, text):
        with open(self.path(path), "w") as file:
            file.write(text)

    def read(self, path):
        try:
            with open(self.path(path)) as file:
                return file.read()
        except FileNotFoundError:
            return None

    def run(self):
        """Returns the steps that ran."""
        if os.path.exists(self.path("ran")):
            os.remove(self.path("ran"))
        took = run(self.tool.command(), self.root, LIMIT)
        if took is None or took.code != 0:
            return "failed"
        return " ".join(sorted((self.read("ran") or "").split())) or "nothing"

    def output(self, step):
        return self.read(self.tool.output(step))

    def start(self):
        return subprocess.Popen(
            self.tool.command(), cwd=self.root, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )

    def wait_for_start(self):
        for _ in range(4000):
            if "a" in (self.read("ran") or "").split():
                return
            time.sleep(0.005)


def touch(project):
    os.utime(project.path("data/x"))
    return project.run()


def same_output(project):
    project.write("data/x", "PEAR\n")
    return project.run()


def revert(project):
    project.write("data/x", "plum and more\n")
    project.run()
    project.write("data/x", "pear\n")
    return project.run()


def keeping_size_and_time(project):
    before = os.stat(project.path("data/x"))
    time.sleep(0.1)
    project.write("data/x", "fig!\n")
    os.utime(project.path("data/x"), ns=(before.st_atime_ns, before.st_mtime_ns))
    ran = project.run()
    return ran if "FIG!" in (project.output("b") or "") else "**missed**"


def output_edited(project):
    path, before = project.path(project.tool.output("a")), project.output("a")
    os.chmod(path, 0o644)
    with open(path, "w") as file:
        file.write("by hand\n")
    project.run()
    return "repaired" if project.output("a") == before else "**kept wrong**"


def command_changed(project):
    project.tool.write(project.root, steps(project.root, changed="; echo more >> $out"))
    ran = project.run()
    return ran if "more" in (project.output("c") or "") else "**missed**"


def orphans(project):
    found = 0
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                environment = file.read()
            with open(f"/proc/{name}/stat") as file:
                ended = file.read().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            continue
        found += not ended and f"BENCH_PROJECT={project.root}".encode() in environment
    return found


def killed(project):
    os.environ["BENCH_PROJECT"] = project.root
    process = project.start()
    project.wait_for_start()
    time.sleep(0.3)
    process.kill()
    process.wait()
    time.sleep(0.5)
    left = "children live on" if orphans(project) else "children end"
    del os.environ["BENCH_PROJECT"]
    # Had the child not outlived the runner, this is what would be found: a file half written.
    subprocess.run(["sleep", str(project.slow)], check=True)
    ran = project.run()
    if ran == "failed":
        return f"{left}; **the next run fails**"
    whole = (project.output("a") or "").endswith("END\n")
    return f"{left}; next: {ran}" if whole else f"{left}; **torn output kept**"


def twice(project):
    first = project.start()
    project.wait_for_start()
    second = project.start()
    codes = [process.wait() for process in (first, second)]
    ran = (project.read("ran") or "").split().count("a")
    times = {1: "once", 2: "**twice**"}.get(ran, f"{ran} times")
    return f"`a` ran {times}" + ("" if codes == [0, 0] else "; **a run failed**")


# What is told, what is right, what is done, how long `a` takes, whether all was made before.
CASES = [
    ("touch", "nothing", touch, 0, True),
    ("same output", "a", same_output, 0, True),
    ("input reverted", "nothing", revert, 0, True),
    ("edit keeping size and time", "a b", keeping_size_and_time, 0, True),
    ("output edited by hand", "repaired", output_edited, 0, True),
    ("command changed", "c", command_changed, 0, True),
    ("SIGKILL of the runner", "children end; next: a b …", killed, 2, False),
    ("two runs at once", "`a` ran once", twice, 1.5, False),
]


def judge(tools, base, say):
    """Returns {case: {tool: what it did}}."""
    results = {}
    for case, _, act, slow, made in CASES:
        say(case)
        results[case] = {}
        for name, tool in tools.items():
            project = Project(tool, base, slow)
            time.sleep(0.05)
            if made and project.run() != "a b c d":
                results[case][name] = "failed"
            else:
                # Some tell files apart by times of a few milliseconds.
                time.sleep(0.1)
                results[case][name] = act(project)
            shutil.rmtree(project.root)
    return results

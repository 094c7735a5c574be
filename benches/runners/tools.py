"""How each runner is told of the same steps: one class a runner, one row of TOOLS."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field


@dataclass
class Step:
    """A step that writes one file. In `script`, $in stands for what it reads and $out for its file."""

    name: str
    script: str
    reads: list[str] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)


def files_below(root, path):
    """Runners that know files by name alone are told every one."""
    whole = os.path.join(root, path)
    if not os.path.isdir(whole):
        return [path]
    found = []
    for directory, _, names in os.walk(whole):
        relative = os.path.relpath(directory, root)
        found += (os.path.join(relative, name) for name in names)
    return sorted(found)


class Tool:
    program = ""
    version_arguments = ["--version"]

    def path(self):
        found = shutil.which(self.program)
        return found and os.path.abspath(found)

    def version(self):
        shown = subprocess.run([self.path(), *self.version_arguments], capture_output=True, text=True)
        return shown.stdout.strip().splitlines()[0]

    def output(self, step):
        return f"out/{step}.txt"

    def shell(self, step, steps_by_name):
        """The script with paths in place; all runners but pipe run in the project's directory."""
        read = step.reads + [self.output(need) for need in step.needs]
        return step.script.replace("$in", " ".join(read)).replace("$out", self.output(step.name))

    def inputs(self, root, step):
        named = [file for path in step.reads for file in files_below(root, path)]
        return named + [self.output(need) for need in step.needs]

    def prepare(self, root):
        pass

    def plan(self):
        """The command that says what a run would do; none where there is no such command."""
        return None


class Pipe(Tool):
    program = os.environ.get("PIPE", "pipe")

    def output(self, step):
        return f".pipe/latest/p/{step}/{step}.txt"

    def write(self, root, steps):
        parts = []
        for step in steps:
            read = [f"{{files.{i}}}" for i in range(len(step.reads))]
            read += [f"{{input.{need}}}/{need}.txt" for need in step.needs]
            script = step.script.replace("$in", " ".join(read))
            script = script.replace("$out", f"{{out}}/{step.name}.txt")
            lines = [f"[stage.{step.name}]", 'kind = "command"']
            if step.reads:
                lines.append(f"files = {json.dumps(step.reads)}")
            if step.needs:
                pairs = ", ".join(f'{need} = "{need}"' for need in step.needs)
                lines.append(f"inputs = {{ {pairs} }}")
            lines.append(f'run = ["sh", "-c", {json.dumps(script)}]')
            lines.append(f'outputs = ["{step.name}.txt"]')
            parts.append("\n".join(lines) + "\n")
        with open(os.path.join(root, "p.toml"), "w") as file:
            file.write("\n".join(parts))

    def command(self):
        return [self.path(), "run", "p.toml", "--quiet"]

    def plan(self):
        return [self.path(), "plan", "p.toml"]


class Ninja(Tool):
    program = "ninja"

    def write(self, root, steps):
        with open(os.path.join(root, "build.ninja"), "w") as file:
            for step in steps:
                script = self.shell(step, steps).replace("$", "$$")
                inputs = " ".join(self.inputs(root, step))
                file.write(f"rule {step.name}\n  command = {script}\n")
                file.write(f"build {self.output(step.name)}: {step.name} {inputs}\n")

    def command(self):
        return [self.path(), "--quiet"]

    def plan(self):
        return [self.path(), "-n"]


class N2(Ninja):
    program = "n2"

    def command(self):
        return [self.path()]

    def plan(self):
        return None


class Make(Tool):
    program = "make"

    def write(self, root, steps):
        os.makedirs(os.path.join(root, "out"), exist_ok=True)
        with open(os.path.join(root, "Makefile"), "w") as file:
            file.write("all: " + " ".join(self.output(step.name) for step in steps) + "\n")
            for step in steps:
                script = self.shell(step, steps).replace("$", "$$")
                inputs = " ".join(self.inputs(root, step))
                file.write(f"{self.output(step.name)}: {inputs}\n\t@{script}\n")

    def command(self):
        return [self.path(), "--silent", f"-j{os.cpu_count()}"]

    def plan(self):
        return [self.path(), "-n"]


class Doit(Tool):
    program = "doit"

    def write(self, root, steps):
        os.makedirs(os.path.join(root, "out"), exist_ok=True)
        tasks = [
            {
                "name": step.name,
                "script": self.shell(step, steps),
                "reads": step.reads,
                "needs": [self.output(need) for need in step.needs],
                "out": self.output(step.name),
            }
            for step in steps
        ]
        with open(os.path.join(root, "dodo.py"), "w") as file:
            file.write(
                "import os\n"
                "from doit.tools import config_changed\n"
                "DOIT_CONFIG = {'verbosity': 0, 'reporter': 'zero'}\n"
                f"TASKS = {tasks!r}\n"
                "def below(path):\n"
                "    if not os.path.isdir(path):\n"
                "        return [path]\n"
                "    return [os.path.join(d, n) for d, _, names in os.walk(path) for n in names]\n"
                "def task_step():\n"
                "    for t in TASKS:\n"
                "        reads = [file for path in t['reads'] for file in below(path)]\n"
                "        yield {'name': t['name'], 'actions': [t['script']],\n"
                "               'file_dep': reads + t['needs'], 'targets': [t['out']],\n"
                "               'uptodate': [config_changed(t['script'])]}\n"
            )

    def command(self):
        return [self.path(), "run", "-n", str(os.cpu_count())]


class Snakemake(Tool):
    program = "snakemake"

    def write(self, root, steps):
        with open(os.path.join(root, "Snakefile"), "w") as file:
            file.write(
                "import os\n"
                "def below(path):\n"
                "    if not os.path.isdir(path):\n"
                "        return [path]\n"
                "    return [os.path.join(d, n) for d, _, names in os.walk(path) for n in names]\n"
            )
            everything = [self.output(step.name) for step in steps]
            file.write(f"rule all:\n    input: {everything!r}\n")
            for step in steps:
                script = self.shell(step, steps).replace("{", "{{").replace("}", "}}")
                needs = [self.output(need) for need in step.needs]
                reads = f"[f for p in {step.reads!r} for f in below(p)] + {needs!r}"
                file.write(f"rule {step.name}:\n    input: {reads}\n")
                file.write(f"    output: {self.output(step.name)!r}\n    shell: {script!r}\n")

    def command(self):
        return [self.path(), "--cores", str(os.cpu_count()), "--quiet", "all"]

    def plan(self):
        return [self.path(), "-n", "--quiet"]


class Dvc(Tool):
    program = "dvc"

    def prepare(self, root):
        subprocess.run([self.path(), "init", "--no-scm", "--quiet"], cwd=root, check=True)
        subprocess.run([self.path(), "config", "core.analytics", "false"], cwd=root, check=True)

    def write(self, root, steps):
        os.makedirs(os.path.join(root, "out"), exist_ok=True)
        stages = {
            step.name: {
                "cmd": self.shell(step, steps),
                "deps": step.reads + [self.output(need) for need in step.needs],
                "outs": [self.output(step.name)],
            }
            for step in steps
        }
        # JSON is YAML.
        with open(os.path.join(root, "dvc.yaml"), "w") as file:
            json.dump({"stages": stages}, file)

    def command(self):
        return [self.path(), "repro", "--quiet"]

    def plan(self):
        return [self.path(), "repro", "--dry"]


class Xvc(Tool):
    program = "xvc"

    def prepare(self, root):
        subprocess.run([self.path(), "init", "--no-git"], cwd=root, check=True, capture_output=True)

    def write(self, root, steps):
        os.makedirs(os.path.join(root, "out"), exist_ok=True)
        known = self.commands(root)
        if known:
            # An import would begin anew: nothing would be known of what was made.
            for step in steps:
                command = self.shell(step, steps)
                if command != known[step.name]:
                    self.pipeline(root, "step", "update", "-s", step.name, "--command", command)
            return
        described = [
            {
                "name": step.name,
                "command": self.shell(step, steps),
                "invalidate": "ByDependencies",
                "dependencies": [self.dependency(root, path) for path in step.reads]
                + [self.dependency(root, self.output(need)) for need in step.needs],
                "outputs": [{"File": {"path": self.output(step.name)}}],
            }
            for step in steps
        ]
        file = os.path.join(root, "xvc.json")
        with open(file, "w") as out:
            json.dump({"name": "default", "version": 1, "workdir": "", "steps": described}, out)
        self.pipeline(root, "import", "--file", file, "--overwrite")

    def pipeline(self, root, *words):
        command = [self.path(), "pipeline", *words]
        return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout

    def commands(self, root):
        described = json.loads(self.pipeline(root, "export", "--format", "json"))
        return {step["name"]: step["command"] for step in described["steps"]}

    def dependency(self, root, path):
        if os.path.isdir(os.path.join(root, path)):
            digests = {"content_digest": None, "xvc_metadata_digest": None, "xvc_paths_digest": None}
            return {"Glob": {"glob": f"{path}/**/*", **digests}}
        return {"File": {"path": path, "content_digest": None, "xvc_metadata": None}}

    def command(self):
        return [self.path(), "pipeline", "run"]


TOOLS = {
    "pipe": Pipe(),
    "ninja": Ninja(),
    "n2": N2(),
    "make": Make(),
    "doit": Doit(),
    "snakemake": Snakemake(),
    "DVC": Dvc(),
    "Xvc": Xvc(),
}

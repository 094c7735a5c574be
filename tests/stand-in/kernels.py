#!/usr/bin/env python3
"""kernels.py SOURCES OUT: writes OUT, C that runs our kernels (SOURCES/kernels.cu) a thread after the other.

As stages/src/ops/gpu/emulation.rs compiles them for tests, whose opening words are read from there.
"""

import pathlib
import re
import subprocess
import sys

sources, out = map(pathlib.Path, sys.argv[1:])
emulation = (sources / "emulation.rs").read_text()
preface = re.search(r'const PREFACE: &str = "(.*?)";', emulation, re.S).group(1).replace('\\"', '"')
include = '#include "kernels.cu"\n'
marked = f"{preface}#define KERNEL MARKED\n#define TOGETHER MARKED_TOGETHER\n{include}"
compiler = ["cc", "-x", "c", "-std=c11", "-E", "-P", "-I", str(sources), "-"]
text = subprocess.run(compiler, input=marked, text=True, check=True, capture_output=True).stdout

found = re.findall(r"MARKED(_TOGETHER)? (\w+)\s*\(([^)]*)\)", text)
if len(found) < 20:
    sys.exit(f"kernels.py: only {len(found)} kernels were found")
opening = "#define KERNEL static void\n#define TOGETHER static void\n"
parts = [preface, opening, include, '#include "stand_in.h"\n#include <string.h>\n']
for together, name, parameters in found:
    types = [re.match(r"(.*[ *])\w+$", " ".join(one.split())).group(1).strip() for one in parameters.split(",")]
    given = ", ".join(f"*({kind} const *)a[{at}]" for at, kind in enumerate(types))
    parts.append(
        f"static void run_{name}(const unsigned grid[3], const unsigned size[3], void *const *a) {{\n"
        f"  for (thread = 0; thread < grid[0] * size[0]; thread += {256 if together else 1}) {{\n"
        f"    block = thread / 256;\n    member = thread % 256;\n    {name}({given});\n  }}\n}}\n"
    )
entries = "\n".join(f'  {{"{name}", run_{name}}},' for _, name, _ in found)
parts.append(
    f"static const struct {{ const char *name; stand_in_kernel run; }} all[] = {{\n{entries}\n}};\n"
    "stand_in_kernel stand_in_find_own(const char *name) {\n"
    "  for (size_t i = 0; i < sizeof all / sizeof *all; i++)\n"
    "    if (!strcmp(all[i].name, name)) return all[i].run;\n  return 0;\n}\n"
)
out.write_text("".join(parts))

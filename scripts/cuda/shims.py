#!/usr/bin/env python3
"""shims.py CUDARC_SOURCES OUT: writes OUT/lib{cuda,cublas,cublasLt,curand,nvrtc,cudnn,nccl}.a.

Each archive holds one trampoline for every function that cudarc may call. The first call of a
function opens the real library and patches the trampoline's slot; where the library is missing,
every call returns the library's own error code instead, so the program starts without CUDA.

Environment of the built program: CUDA_LIBS=FOLDER:FOLDER is searched first, CUDA_SHIM_DEBUG=1
prints which libraries were found. x86-64 Linux only.
"""

import pathlib
import re
import subprocess
import sys

# library: (module of cudarc, soname, error code when missing, libraries to open before it)
LIBRARIES = {
    "cuda": ("driver", "libcuda.so.1", 100, []),
    "cublasLt": ("cublaslt", "libcublasLt.so.13", 1, []),
    "cublas": ("cublas", "libcublas.so.13", 1, ["libcublasLt.so.13"]),
    "curand": ("curand", "libcurand.so.10", 101, []),
    "nvrtc": ("nvrtc", "libnvrtc.so.13", 11, []),
    "cudnn": ("cudnn", "libcudnn.so.9", 1001, ["libcublasLt.so.13", "libcublas.so.13", "libnvrtc.so.13"]),
    "nccl": ("nccl", "libnccl.so.2", 2, []),
}

C = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {@NAMES@};
static const char *const before[] = {@BEFORE@ 0};
extern void *shim_@LIB@_slots[];

static int missing(void) { return @ERROR@; }
static const char *missing_text(void) { return "the library @SONAME@ is not installed"; }

static const char *const folders[] = {
  "/usr/local/cuda/lib64", "/usr/local/cuda/targets/x86_64-linux/lib", "/usr/local/nvidia/lib64",
  "/usr/lib/x86_64-linux-gnu",
  "/opt/*/.venv/lib/python3*/site-packages/nvidia/*/lib",
  "/opt/*/lib/python3*/site-packages/nvidia/*/lib",
  "/usr/local/lib/python3*/*-packages/nvidia/*/lib",
  "/usr/lib/python3*/*-packages/nvidia/*/lib", 0};

static void *open_in(const char *folder, const char *soname) {
  char pattern[4096];
  glob_t found;
  void *handle = 0;
  snprintf(pattern, sizeof pattern, "%s/%s", folder, soname);
  if (glob(pattern, 0, 0, &found) == 0)
    for (size_t i = 0; i < found.gl_pathc && !handle; i++)
      handle = dlopen(found.gl_pathv[i], RTLD_NOW | RTLD_GLOBAL);
  globfree(&found);
  return handle;
}

static void *open_library(const char *soname) {
  void *handle = 0;
  const char *named = getenv("CUDA_LIBS");
  if (named) {
    char *copy = strdup(named), *rest, *folder;
    for (folder = strtok_r(copy, ":", &rest); folder && !handle; folder = strtok_r(0, ":", &rest))
      handle = open_in(folder, soname);
    free(copy);
  }
  if (!handle) handle = dlopen(soname, RTLD_NOW | RTLD_GLOBAL);
  const char *environment = getenv("VIRTUAL_ENV");
  if (!handle && environment) {
    char folder[4096];
    snprintf(folder, sizeof folder, "%s/lib/python3*/site-packages/nvidia/*/lib", environment);
    handle = open_in(folder, soname);
  }
  for (int i = 0; folders[i] && !handle; i++) handle = open_in(folders[i], soname);
  return handle;
}

static void *library(void) {
  static void *handle;
  static int tried;
  if (__atomic_load_n(&tried, __ATOMIC_ACQUIRE)) return handle;
  for (int i = 0; before[i]; i++) open_library(before[i]);
  void *opened = open_library("@SONAME@");
  char folder[4096] = "not found";
  if (opened) dlinfo(opened, RTLD_DI_ORIGIN, folder);
  if (opened && !strcmp("@LIB@", "nvrtc")) /* the one from pip does not find its builtins itself */
    open_in(folder, "libnvrtc-builtins.so.13.*");
  if (!opened && strcmp("@LIB@", "cuda"))
    fprintf(stderr, "@SONAME@ is not found; name its folder in CUDA_LIBS\n");
  if (getenv("CUDA_SHIM_DEBUG")) fprintf(stderr, "shim: @SONAME@: %s\n", folder);
  handle = opened;
  __atomic_store_n(&tried, 1, __ATOMIC_RELEASE);
  return handle;
}

__attribute__((visibility("hidden"))) void *shim_@LIB@_resolve(unsigned long index) {
  const char *name = names[index];
  void *handle = library(), *function = handle ? dlsym(handle, name) : 0;
  if (handle && !function) fprintf(stderr, "shim: @SONAME@ has no %s\n", name);
  if (!function) {
    int gives_text = strncmp(name, "cuGet", 5) &&
      (strstr(name, "String") || strstr(name, "StatusName") || strstr(name, "GetLastError"));
    function = gives_text ? (void *)missing_text : (void *)missing;
  }
  shim_@LIB@_slots[index] = function;
  return function;
}
"""

# Saves every register that may carry an argument, asks which function is meant, and jumps there.
RESOLVE = r"""
    .section .note.GNU-stack,"",@progbits
    .text
    .p2align 4
.Lresolve:
    push %rdi; push %rsi; push %rdx; push %rcx; push %r8; push %r9; push %rax
    sub $136, %rsp
    movups %xmm0, 0(%rsp); movups %xmm1, 16(%rsp); movups %xmm2, 32(%rsp); movups %xmm3, 48(%rsp)
    movups %xmm4, 64(%rsp); movups %xmm5, 80(%rsp); movups %xmm6, 96(%rsp); movups %xmm7, 112(%rsp)
    mov 192(%rsp), %rdi
    call shim_@LIB@_resolve
    mov %rax, %r11
    movups 0(%rsp), %xmm0; movups 16(%rsp), %xmm1; movups 32(%rsp), %xmm2; movups 48(%rsp), %xmm3
    movups 64(%rsp), %xmm4; movups 80(%rsp), %xmm5; movups 96(%rsp), %xmm6; movups 112(%rsp), %xmm7
    add $136, %rsp
    pop %rax; pop %r9; pop %r8; pop %rcx; pop %rdx; pop %rsi; pop %rdi
    add $8, %rsp
    jmp *%r11
"""


def quoted(names):
    return "".join(f'"{name}",' for name in names)


def assembly(library, functions):
    lines = [RESOLVE.replace("@LIB@", library)]
    for index, name in enumerate(functions):
        lines.append(
            f"    .globl {name}\n    .type {name},@function\n{name}:\n"
            f"    jmp *shim_{library}_slots+{8 * index}(%rip)\n"
            f".Lfirst{index}:\n    push ${index}\n    jmp .Lresolve\n    .size {name},.-{name}\n"
        )
    slots = f"shim_{library}_slots"
    lines.append(f"    .data\n    .p2align 3\n    .globl {slots}\n    .hidden {slots}\n{slots}:\n")
    lines.extend(f"    .quad .Lfirst{index}\n" for index in range(len(functions)))
    return "".join(lines)


def archive(library, sources, out):
    module, soname, error, before = LIBRARIES[library]
    text = (sources / module / "sys" / "mod.rs").read_text()
    functions = sorted(set(re.findall(r"^ {12}fn (\w+)\(", text, re.MULTILINE)))
    if not functions:
        sys.exit(f"shims.py: no function found in {sources / module}: has cudarc changed its layout?")
    marks = {
        "@LIB@": library,
        "@SONAME@": soname,
        "@ERROR@": str(error),
        "@NAMES@": quoted(functions),
        "@BEFORE@": quoted(before),
    }
    code = C
    for mark, value in marks.items():
        code = code.replace(mark, value)
    objects = []
    for suffix, content in (("S", assembly(library, functions)), ("c", code)):
        source = out / f"{library}.{suffix}"
        source.write_text(content)
        objects.append(f"{library}_{suffix}.o")
        subprocess.run(["gcc", "-O2", "-fPIC", "-c", source.name, "-o", objects[-1]], cwd=out, check=True)
        source.unlink()
    (out / f"lib{library}.a").unlink(missing_ok=True)
    subprocess.run(["ar", "rcs", f"lib{library}.a", *objects], cwd=out, check=True)
    for name in objects:
        (out / name).unlink()
    print(f"lib{library}.a: {len(functions)} functions")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sources, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    for library in LIBRARIES:
        archive(library, sources, out)


if __name__ == "__main__":
    main()

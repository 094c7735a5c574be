//! Compiles the kernels for GPUs (src/ops/gpu/kernels.cu) where the feature `cuda` asks for them.
//!
//! To PTX, which the driver compiles for the GPU that it finds: a program needs no CUDA compiler where it runs.
#![expect(
    clippy::disallowed_methods,
    reason = "cargo tells a build script so; nothing of it enters a result"
)]

use std::path::PathBuf;
use std::process::Command;
use std::{env, io};

/// The oldest GPUs that CUDA 13 knows; nothing in the kernels needs a later one.
const ARCHITECTURE: &str = "compute_75";
const FOLDER: &str = "src/ops/gpu";
const SOURCE: &str = "src/ops/gpu/kernels.cu";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={FOLDER}");
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return Ok(());
    }
    let home = env::var_os("CUDA_HOME").map(|home| PathBuf::from(home).join("bin/nvcc"));
    let nvcc = home.unwrap_or_else(|| PathBuf::from("nvcc"));
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let status = Command::new(&nvcc)
        .args(["-ptx", "-O3", "-arch", ARCHITECTURE, SOURCE, "-o"])
        .arg(out.join("kernels.ptx"))
        .status()
        .map_err(|error| io::Error::other(format!("cannot run {}: {error}", nvcc.display())))?;
    if status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{} did not compile {SOURCE}: {status}", nvcc.display())))
}

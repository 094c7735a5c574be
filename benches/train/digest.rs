//! The part of `just bench-train` that digests: reads the path of a file on each line and answers how long
//! its digest took, which is that of every file of a store.

use std::fs::File;
use std::io::{BufRead as _, Write as _};
use std::time::UNIX_EPOCH;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// Nanoseconds since 1970. The rule against clocks is for results; whether it is raised here depends on
/// where clippy starts, so no expectation of it could be right.
fn clock() -> u64 {
    UNIX_EPOCH.elapsed().map_or(0, |passed| passed.as_nanos() as u64)
}

/// Processor seconds of this process so far.
fn processor() -> std::io::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let microseconds =
        usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(microseconds as f64 / 1e6)
}

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let mut file = File::open(line?.trim())?;
        let (start, before) = (clock(), processor()?);
        let (digest, _) = cache::Digest::of_file(&mut file)?;
        let wall = clock().saturating_sub(start) as f64 / 1e9;
        let cpu = processor()? - before;
        writeln!(out, "{{\"wall\": {wall}, \"cpu\": {cpu}, \"digest\": \"{digest}\"}}")?;
        out.flush()?;
    }
    Ok(())
}

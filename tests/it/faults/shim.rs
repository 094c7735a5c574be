//! Calls of the operating system that fail on purpose.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::project::Project;

/// Compiles `shim.c`, once, with the compiler that Rust links with.
fn shim() -> &'static PathBuf {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/faults/shim.c");
        let library = format!("shim-{}.so", std::process::id());
        let library = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(library);
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", source, "-ldl", "-o"]).arg(&library);
        let made = compiler.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        library
    })
}

/// Which calls on files of the store fail, and how.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fault {
    /// As `shim.c` names it.
    pub(super) call: &'static str,
    /// The number of the error; with 0, a write takes half.
    pub(super) errno: i32,
    /// Which of the calls of a process, from 1; with 0, all.
    pub(super) at: u64,
    /// Seconds that the clock is ahead.
    pub(super) clock: i64,
}

/// Prepares a command whose calls on the store, and those of what it starts, go through the shim.
pub(super) fn watched(project: &Project, arguments: &[&str]) -> Command {
    let mut command = project.command(arguments);
    command.env("LD_PRELOAD", shim()).env("FAULT_BELOW", "/.pipe/");
    command
}

impl Fault {
    /// Prepares a command whose calls fail, and those of what it starts.
    pub(super) fn command(self, project: &Project, arguments: &[&str]) -> Command {
        let mut command = watched(project, arguments);
        command
            .env("FAULT_CALL", self.call)
            .env("FAULT_ERRNO", self.errno.to_string())
            .env("FAULT_AT", self.at.to_string())
            .env("FAULT_HITS", project.path("hits"))
            .env("FAULT_CLOCK", self.clock.to_string());
        command
    }

    /// Returns how many calls of this project have failed, and forgets them.
    pub(super) fn hits(project: &Project) -> u64 {
        let hits = std::fs::read(project.path("hits")).unwrap_or_default().len() as u64;
        std::fs::remove_file(project.path("hits")).ok();
        hits
    }
}

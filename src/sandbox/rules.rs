//! What a confined process may read and write, and the kernel's Landlock that holds it to that.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stages::kinds::program_file;

/// Where programs, their libraries and their settings lie; every program may read these.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/opt",
    "/nix/store",
    "/gnu/store",
    "/run/current-system",
    "/run/systemd/resolve",
    "/var/cache/fontconfig",
    "/proc",
    "/sys",
];

/// Devices: terminals, random numbers, GPUs, shared memory. The user's own rights still hold.
const DEVICES: &str = "/dev";

/// What a process may touch; everything else is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rules {
    /// Files and directories it may read and execute, with all below them.
    pub read: Vec<PathBuf>,
    /// Directories it may also write to.
    pub write: Vec<PathBuf>,
    /// Its private directory for temporary files; one of `write`.
    pub temporary: PathBuf,
}

impl Rules {
    /// Returns the rules of a program that may read `read` and the system, and write to `write`.
    pub(crate) fn new(read: Vec<PathBuf>, mut write: Vec<PathBuf>, temporary: PathBuf) -> Self {
        write.extend([temporary.clone(), DEVICES.into()]);
        let system = SYSTEM.iter().map(PathBuf::from);
        Self { read: read.into_iter().chain(system).collect(), write, temporary }
    }

    /// Lets it read where programs are installed: `program` and the directories of `search`.
    ///
    /// What lies in a directory `bin` belongs to the installation around it (a virtual environment, a
    /// tool in the home directory), unless that holds the project itself or is the home directory.
    pub(crate) fn allow_programs(&mut self, program: Option<&str>, search: &OsStr, root: &Path) {
        let home = std::env::home_dir();
        let mut found: Vec<PathBuf> = std::env::split_paths(search).collect();
        if let Some(program) = program {
            let path = match program.contains('/') {
                true => Some(root.join(program)),
                false => program_file(OsStr::new(program), search),
            };
            let real = path.as_ref().and_then(|path| path.canonicalize().ok());
            for file in path.into_iter().chain(real) {
                // A directory of the project may hold more than the program.
                found.extend(file.parent().filter(|part| is_bin(part)).map(Path::to_owned));
                self.read.push(file);
            }
        }
        for directory in found.into_iter().filter(|directory| directory.is_absolute()) {
            let around = directory.parent().filter(|_| is_bin(&directory));
            let private = |path: &Path| {
                root.starts_with(path) || home.as_ref().is_some_and(|home| home.starts_with(path))
            };
            if let Some(around) = around.filter(|around| !private(around)) {
                self.read.push(around.to_owned());
            } else if !private(&directory) && !directory.starts_with(root) {
                self.read.push(directory);
            }
        }
    }

    /// Returns whether a file may be read.
    pub(crate) fn may_read(&self, path: &Path) -> bool {
        covers(&self.read, path) || self.may_write(path)
    }

    /// Returns whether a file may be written.
    pub(crate) fn may_write(&self, path: &Path) -> bool {
        covers(&self.write, path)
    }

    /// Confines this process and all it starts, for ever.
    ///
    /// # Errors
    ///
    /// When the kernel cannot.
    #[cfg(target_os = "linux")]
    pub(crate) fn enforce(&self) -> anyhow::Result<()> {
        use anyhow::Context as _;
        use landlock::{
            ABI, Access, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
            RulesetStatus,
        };
        let all = AccessFs::from_all(ABI::V3);
        let mut ruleset = Ruleset::default().handle_access(all)?.create()?;
        let read = self.read.iter().map(|path| (path, AccessFs::from_read(ABI::V3)));
        for (path, access) in read.chain(self.write.iter().map(|path| (path, all))) {
            // Not every system has every directory; what is declared was found to be there before.
            let Ok(opened) = PathFd::new(path) else { continue };
            let access = if path.is_dir() { access } else { access & AccessFs::from_file(ABI::V3) };
            ruleset = ruleset
                .add_rule(PathBeneath::new(opened, access))
                .with_context(|| format!("cannot let the sandbox see {}", path.display()))?;
        }
        let status = ruleset.restrict_self().context("cannot enter the sandbox")?;
        anyhow::ensure!(status.ruleset != RulesetStatus::NotEnforced, "the kernel has no Landlock");
        Ok(())
    }

    /// Elsewhere nothing can be confined.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn enforce(&self) -> anyhow::Result<()> {
        anyhow::bail!("only Linux has Landlock")
    }
}

fn is_bin(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "bin")
}

/// Returns whether a path lies in one of some places, links followed as the kernel does.
fn covers(places: &[PathBuf], path: &Path) -> bool {
    places.iter().any(|place| {
        path.starts_with(place) || place.canonicalize().is_ok_and(|real| path.starts_with(real))
    })
}

/// Returns whether the kernel can confine a process.
#[cfg(target_os = "linux")]
pub(crate) fn is_supported() -> bool {
    use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr};
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    ruleset.handle_access(AccessFs::from_all(ABI::V1)).and_then(Ruleset::create).is_ok()
}

/// Elsewhere it cannot.
#[cfg(not(target_os = "linux"))]
pub(crate) fn is_supported() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(program: Option<&str>, search: &str, root: &str) -> Vec<PathBuf> {
        let mut rules = Rules::default();
        rules.allow_programs(program, OsStr::new(search), Path::new(root));
        rules.read
    }

    #[test]
    fn an_installation_is_read_whole_and_the_project_is_not() {
        let seen = allowed(Some("env/bin/tool"), "/opt/x/bin:/y/tools:rel", "/p");
        let expected = ["/p/env/bin/tool", "/opt/x", "/y/tools", "/p/env"];
        assert_eq!(seen, expected.map(PathBuf::from));
        assert_eq!(allowed(Some("bin/tool"), "/p/bin", "/p"), [PathBuf::from("/p/bin/tool")]);
    }

    #[test]
    fn reading_and_writing_are_told_apart() {
        let rules = Rules::new(vec!["/p/in".into()], vec!["/p/out".into()], "/p/tmp".into());
        let check =
            |path: &str| (rules.may_read(Path::new(path)), rules.may_write(Path::new(path)));
        assert_eq!(check("/p/in/a"), (true, false));
        assert_eq!(check("/p/inside"), (false, false));
        assert_eq!(check("/p/out/a"), (true, true));
        assert_eq!(check("/p/tmp/a"), (true, true));
        assert_eq!(check("/usr/lib/x"), (true, false));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_kernel_refuses_what_the_rules_do() {
        use std::fs;
        use std::io::ErrorKind::PermissionDenied;
        if !is_supported() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("out")).unwrap();
        fs::write(at("in"), "x").unwrap();
        fs::write(at("secret"), "x").unwrap();
        let rules = Rules::new(vec![at("in"), at("absent")], vec![at("out")], at("out"));
        // It holds for a thread and what that starts.
        std::thread::scope(|scope| {
            let confined = scope.spawn(|| {
                rules.enforce().unwrap();
                assert_eq!(fs::read(at("in")).unwrap(), b"x");
                fs::write(at("out/new"), "x").unwrap();
                assert_eq!(fs::read(at("secret")).unwrap_err().kind(), PermissionDenied);
                assert_eq!(fs::write(at("in"), "y").unwrap_err().kind(), PermissionDenied);
                assert_eq!(fs::write(at("stray"), "y").unwrap_err().kind(), PermissionDenied);
            });
            confined.join().unwrap();
        });
    }
}

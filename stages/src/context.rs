//! What a running stage may touch: its inputs, its output, the device, and the way to report.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::kind::Source;

/// Everything a stage is given. The working directory of its process is the project root.
pub struct Context {
    /// Input name → the directories wired to it, in the order of the pipeline file.
    pub inputs: BTreeMap<String, Vec<PathBuf>>,
    /// Step name → directory, for every step that a [`Source`] of this stage mentions.
    pub steps: BTreeMap<String, PathBuf>,
    /// The empty directory to fill.
    pub out: PathBuf,
    /// Where [`Context::scratch`] is; it may not be there yet.
    pub scratch: PathBuf,
    /// What may be taken over, for a stage that says it can ([`crate::Stage::TAKES_OVER`]).
    pub earlier: Option<Earlier>,
    /// Where to compute.
    pub device: DeviceChoice,
    /// How many threads to use; the rayon pool already has as many.
    pub threads: usize,
    /// Set when the run is cancelled: save what is worth keeping in scratch and return an error.
    pub cancelled: Arc<AtomicBool>,
    /// The most memory, in bytes, that was resident at once in a program that the stage ran; for the
    /// stage to note.
    pub program_memory: Arc<AtomicU64>,
    /// Receives progress and measures.
    pub report: Box<dyn Fn(Report) + Send + Sync>,
}

/// An earlier output of the same stage: same kind, version, parameters and inputs, other files read.
///
/// A stage that takes parts of it over must give the very bytes it would have made without.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Earlier {
    /// Where it lies, read-only. A symbolic link to a file of it stands for that file.
    pub out: PathBuf,
    /// Parameter that names what is read → relative paths of the files that were added, changed or
    /// removed since. What is not named here is byte for byte as it was.
    pub changed: BTreeMap<String, BTreeSet<String>>,
}

/// What a stage tells while it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// How far it is.
    Progress {
        /// Units done.
        done: u64,
        /// Units in all; 0 when not known.
        total: u64,
        /// What is counted, e.g. `images`.
        unit: String,
        /// What it is doing, e.g. `epoch 3/20, loss 1.234, dev 56.7 %`.
        note: String,
    },
    /// A figure worth keeping beside the result, e.g. `dev-accuracy` 0.71. Never part of a digest.
    Measure {
        /// Kebab-case name.
        name: String,
        /// The figure.
        value: f64,
    },
}

/// Where a stage computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceChoice {
    /// The first GPU where there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of this number; an error where there is none.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| format!("no device `{text}`: use auto, cpu, cuda or cuda:N")),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl Context {
    /// Returns the directory wired to a required input.
    ///
    /// # Errors
    ///
    /// When nothing is wired to it, which the engine rules out for [`crate::Arity::One`].
    pub fn input(&self, name: &str) -> anyhow::Result<&Path> {
        self.optional_input(name).with_context(|| format!("input `{name}` is not wired"))
    }

    /// Returns the directory wired to an optional input.
    #[must_use]
    pub fn optional_input(&self, name: &str) -> Option<&Path> {
        Some(self.inputs.get(name)?.first()?.as_path())
    }

    /// Returns every directory wired to an input.
    #[must_use]
    pub fn input_list(&self, name: &str) -> &[PathBuf] {
        self.inputs.get(name).map_or(&[], Vec::as_slice)
    }

    /// Returns where a source lies on this machine.
    ///
    /// # Errors
    ///
    /// When it mentions a step that the engine did not provide.
    pub fn path(&self, source: &Source) -> anyhow::Result<PathBuf> {
        match source.step() {
            None => Ok(source.as_path()),
            Some((step, rest)) => {
                let tree = self
                    .steps
                    .get(step)
                    .with_context(|| format!("step `{step}` in `{}` has no result", source.0))?;
                Ok(if rest.is_empty() { tree.clone() } else { tree.join(rest) })
            }
        }
    }

    /// Returns the directory to fill.
    #[must_use]
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// Returns the directory that survives a failed or killed try of the same work, made when first asked for.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn scratch(&self) -> anyhow::Result<&Path> {
        std::fs::create_dir_all(&self.scratch)
            .with_context(|| format!("cannot make the directory {}", self.scratch.display()))?;
        Ok(&self.scratch)
    }

    /// Fails when the run was cancelled; long stages call this once per item or batch.
    ///
    /// # Errors
    ///
    /// When the run was cancelled.
    pub fn check_cancelled(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.cancelled.load(Ordering::Relaxed), "cancelled");
        Ok(())
    }

    /// Tells how far the stage is.
    pub fn progress(&self, done: u64, total: u64, unit: &str, note: impl Into<String>) {
        (self.report)(Report::Progress { done, total, unit: unit.to_owned(), note: note.into() });
    }

    /// Records a figure beside the result.
    pub fn measure(&self, name: &str, value: f64) {
        (self.report)(Report::Measure { name: name.to_owned(), value });
    }
}

/// A context over a temporary directory, for the tests of stages.
#[cfg(test)]
pub(crate) struct Trial {
    /// Removed when the trial is dropped.
    pub(crate) directory: tempfile::TempDir,
    /// What the stage is given; its device is the CPU.
    pub(crate) context: Context,
    /// What the stage told.
    pub(crate) reports: Arc<std::sync::Mutex<Vec<Report>>>,
}

#[cfg(test)]
impl Trial {
    /// Makes empty `out` and `scratch` directories.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let [out, scratch] = ["out", "scratch"].map(|name| directory.path().join(name));
        std::fs::create_dir(&out).unwrap();
        std::fs::create_dir(&scratch).unwrap();
        let reports = Arc::new(std::sync::Mutex::new(Vec::new()));
        let heard = reports.clone();
        let context = Context {
            inputs: BTreeMap::new(),
            steps: BTreeMap::new(),
            out,
            scratch,
            earlier: None,
            device: DeviceChoice::Cpu,
            threads: rayon::current_num_threads(),
            cancelled: Arc::default(),
            program_memory: Arc::default(),
            report: Box::new(move |report| heard.lock().unwrap().push(report)),
        };
        Self { directory, context, reports }
    }

    /// Writes a file below the directory and returns where it lies.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Wires a directory below this one to an input.
    pub(crate) fn wire(&mut self, input: &str, path: &str) {
        let path = self.directory.path().join(path);
        self.context.inputs.entry(input.to_owned()).or_default().push(path);
    }

    /// Returns the last figure that was recorded under a name.
    pub(crate) fn measure(&self, wanted: &str) -> Option<f64> {
        self.reports.lock().unwrap().iter().rev().find_map(|report| match report {
            Report::Measure { name, value } if name == wanted => Some(*value),
            _ => None,
        })
    }
}

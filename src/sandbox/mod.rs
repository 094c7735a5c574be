//! Holding the program of a step to what the step declares: when, and what is told.

mod refused;
mod rules;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

pub(crate) use refused::explain;
pub use rules::Rules;
pub(crate) use rules::is_supported;

use crate::pipeline::Step;
use crate::plan::{Plan, StepId};

/// The kind of stage whose programs are foreign; the built-in ones read what they are given.
pub(crate) const CONFINED: &str = "command";

/// Whether programs are held to what their step declares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// They may touch whatever the user may.
    #[default]
    Off,
    /// They are held to it where the kernel can do that; where it cannot, the run says so once.
    Warn,
    /// They are held to it; where the kernel cannot do that, nothing runs.
    Strict,
}

impl Mode {
    /// Every mode, by name.
    pub const NAMES: [&str; 3] = ["off", "warn", "strict"];
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "warn" => Ok(Self::Warn),
            "strict" => Ok(Self::Strict),
            _ => Err(format!("write one of {}", Self::NAMES.join(", "))),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize])
    }
}

/// What a step says about its sandbox; no part of the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// The mode where the command line names none.
    pub mode: Option<Mode>,
    /// What its program may read besides what the step declares, absolute.
    pub read: Vec<PathBuf>,
}

impl Sandbox {
    /// Returns the mode that holds for it when the command line asks for `chosen`.
    pub(crate) fn mode(&self, chosen: Option<Mode>) -> Mode {
        chosen.or(self.mode).unwrap_or_default()
    }
}

/// Makes sure that the kernel can do what the steps ask for; returns what the user should know.
///
/// # Errors
///
/// When a step must be confined and the kernel cannot.
pub(crate) fn require(
    plan: &Plan,
    selected: &BTreeSet<StepId>,
    chosen: Option<Mode>,
) -> Result<Option<String>, String> {
    let steps = selected.iter().map(|&id| plan.step(id));
    let (here, elsewhere): (Vec<_>, Vec<_>) = steps
        .filter(|step| step.kind.name == CONFINED && step.sandbox.mode(chosen) != Mode::Off)
        .partition(|step| step.placement.is_here());
    let is_strict = |step: &&&Step| step.sandbox.mode(chosen) == Mode::Strict;
    let on_slurm = elsewhere.iter().find(is_strict).or(elsewhere.first()).map(|step| {
        let name = &step.name;
        format!(
            "step {name} runs on Slurm, where programs are not held to what their steps declare"
        )
    });
    if let Some(message) = &on_slurm
        && elsewhere.iter().any(|step| is_strict(&step))
    {
        return Err(format!("{message}; --sandbox off runs it without"));
    }
    if here.is_empty() || is_supported() {
        return Ok(on_slurm);
    }
    if let Some(Step { name, .. }) = here.iter().find(is_strict) {
        return Err(format!(
            "step {name} must run in a sandbox, and this system has no Landlock (Linux 5.13 or later, \
             with `landlock` among its security modules); --sandbox off runs it without"
        ));
    }
    Ok(Some(
        "this system has no Landlock: programs are not held to what their steps declare".into(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_have_names() {
        for name in Mode::NAMES {
            assert_eq!(name.parse::<Mode>().unwrap().to_string(), name);
        }
        assert_eq!("on".parse::<Mode>().unwrap_err(), "write one of off, warn, strict");
    }

    #[test]
    fn the_command_line_comes_before_the_step() {
        let strict = Sandbox { mode: Some(Mode::Strict), read: Vec::new() };
        assert_eq!(strict.mode(None), Mode::Strict);
        assert_eq!(strict.mode(Some(Mode::Off)), Mode::Off);
        assert_eq!(Sandbox::default().mode(None), Mode::Off);
    }
}

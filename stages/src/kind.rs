//! The trait of a stage, and the row that makes one known to the engine.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, schema_for};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::context::Context;

/// A kind of work; the implementing struct is its parameters.
///
/// Numbers in parameters are integers or `f64`, never `f32`, so that their text in a fingerprint is
/// the text the user wrote.
pub trait Stage: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The name in pipeline files.
    const KIND: &'static str;
    /// Raised when the same inputs and parameters would give other outputs.
    const VERSION: u32;
    /// The inputs that may be wired to other steps.
    const INPUTS: &'static [Input] = &[];
    /// What the output directory holds, in the words that [`Input::accepts`] uses.
    const OUTPUT: &'static str;
    /// What limits how many run at once.
    const POOL: Pool = Pool::Cpu;
    /// Parameters, by dotted name, that cannot change a result and so are not part of its key.
    const FREE: &'static [&'static str] = &[];
    /// Whether it can make use of [`Context::earlier`].
    const TAKES_OVER: bool = false;

    /// Returns the files and directories read besides the inputs.
    fn reads(&self) -> Vec<Read> {
        Vec::new()
    }

    /// Returns what is wrong with the parameters beyond what their types say.
    fn check(&self) -> Vec<Complaint> {
        Vec::new()
    }

    /// Returns what is wrong with the parameters where so many results are wired to each input.
    fn check_wiring(&self, _wired: &BTreeMap<String, usize>) -> Vec<Complaint> {
        Vec::new()
    }

    /// Does the work: reads through `cx`, writes into [`Context::out`].
    ///
    /// # Errors
    ///
    /// Whatever a reader of the message can act on; paths are always in the message.
    fn run(&self, cx: &Context) -> anyhow::Result<()>;
}

/// A slot for the output of another step.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    /// The name under `inputs` in a pipeline file.
    pub name: &'static str,
    /// The outputs it can use ([`Stage::OUTPUT`]); `"files"` is accepted everywhere besides.
    pub accepts: &'static [&'static str],
    /// How many steps may be wired to it.
    pub arity: Arity,
    /// One sentence for `pipe kinds`.
    pub about: &'static str,
}

/// How many steps an [`Input`] takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Exactly one.
    One,
    /// None or one.
    Optional,
    /// Any number, as an array of step names (or a table of names for kind `command`).
    Many,
}

/// The resource that limits how many stages of a kind run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Limited by `-j`.
    Cpu,
    /// One at a time on each GPU; as `Cpu` where the device is the CPU.
    Gpu,
}

/// A path in a pipeline file: relative to the project root, or inside the result of another step
/// when it starts with `${stage.NAME}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Source(pub String);

impl Source {
    /// Splits `${stage.NAME}/rest` into the step and the path inside its result.
    #[must_use]
    pub fn step(&self) -> Option<(&str, &str)> {
        let (step, rest) = self.0.strip_prefix("${stage.")?.split_once('}')?;
        Some((step, rest.trim_start_matches('/')))
    }
}

/// Something a stage reads besides its inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The dotted name of the parameter that names it, e.g. `images` or `files.0`.
    pub parameter: String,
    /// What is read: a file, or a directory with everything below it.
    pub source: Source,
    /// Whether the text of the path itself matters to the result (it does to a command's arguments);
    /// otherwise only content is in the key, and the data may move.
    pub path_matters: bool,
}

/// Something wrong with the parameters of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The dotted name of the parameter at fault; empty for the step as a whole.
    pub parameter: String,
    /// What is wrong: a lower-case fragment without a full stop.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

/// A [`Stage`] without its type.
pub trait DynStage: Send + Sync {
    /// The parameters with every default filled in.
    fn parameters(&self) -> serde_json::Value;
    /// See [`Stage::reads`].
    fn reads(&self) -> Vec<Read>;
    /// See [`Stage::check`].
    fn check(&self) -> Vec<Complaint>;
    /// See [`Stage::check_wiring`].
    fn check_wiring(&self, wired: &BTreeMap<String, usize>) -> Vec<Complaint>;
    /// See [`Stage::run`].
    ///
    /// # Errors
    ///
    /// As [`Stage::run`].
    fn run(&self, cx: &Context) -> anyhow::Result<()>;
}

impl<S: Stage> DynStage for S {
    fn parameters(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("parameters are plain data")
    }
    fn reads(&self) -> Vec<Read> {
        Stage::reads(self)
    }
    fn check(&self) -> Vec<Complaint> {
        Stage::check(self)
    }
    fn check_wiring(&self, wired: &BTreeMap<String, usize>) -> Vec<Complaint> {
        Stage::check_wiring(self, wired)
    }
    fn run(&self, cx: &Context) -> anyhow::Result<()> {
        Stage::run(self, cx)
    }
}

/// A row of [`crate::kinds::KINDS`].
pub struct Kind {
    /// See [`Stage::KIND`].
    pub name: &'static str,
    /// See [`Stage::VERSION`].
    pub version: u32,
    /// See [`Stage::INPUTS`].
    pub inputs: &'static [Input],
    /// See [`Stage::OUTPUT`].
    pub output: &'static str,
    /// See [`Stage::POOL`].
    pub pool: Pool,
    /// See [`Stage::FREE`].
    pub free: &'static [&'static str],
    /// See [`Stage::TAKES_OVER`].
    pub takes_over: bool,
    /// The JSON Schema of the parameters; its descriptions are the documentation users see.
    pub schema: fn() -> Schema,
    /// Reads the parameters of a pipeline file; errors carry the place of the bad key.
    pub parse: fn(toml::de::Deserializer<'_>) -> Result<Box<dyn DynStage>, toml::de::Error>,
    /// Reads the parameters that [`DynStage::parameters`] gave.
    pub restore: fn(serde_json::Value) -> Result<Box<dyn DynStage>, serde_json::Error>,
}

impl Kind {
    /// Makes the row of a stage.
    #[must_use]
    pub const fn of<S: Stage>() -> Self {
        Self {
            name: S::KIND,
            version: S::VERSION,
            inputs: S::INPUTS,
            output: S::OUTPUT,
            pool: S::POOL,
            free: S::FREE,
            takes_over: S::TAKES_OVER,
            schema: || schema_for!(S),
            parse: |from| Ok(Box::new(S::deserialize(from)?)),
            restore: |from| Ok(Box::new(S::deserialize(from)?)),
        }
    }
}

impl Source {
    /// The path as written; use [`Context::path`] inside a running stage.
    #[must_use]
    pub fn as_path(&self) -> PathBuf {
        PathBuf::from(&self.0)
    }
}

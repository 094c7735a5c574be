//! Where a step's process runs, and what is heard of it there.

use serde_json::{Value, json};
use stages::{DeviceChoice, Report};

use crate::slurm::Order;
use crate::worker::{Message, Usage};

/// Where a step's process runs; no part of the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// On this machine.
    #[default]
    Here,
    /// On a node of a cluster, as a Slurm job.
    Slurm(Order),
}

impl Placement {
    /// Whether it runs on this machine, and so counts among its jobs and cores.
    pub(crate) fn is_here(&self) -> bool {
        matches!(self, Self::Here)
    }

    /// What is asked of Slurm.
    pub(crate) fn slurm(&self) -> Option<&Order> {
        match self {
            Self::Here => None,
            Self::Slurm(order) => Some(order),
        }
    }
}

/// What is heard of a step while it runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Heard {
    /// From the stage itself.
    Report(Report),
    /// Its Slurm job waits.
    Queued {
        /// The number of the job.
        job: String,
        /// Slurm's word for how it is, e.g. `PENDING`.
        state: String,
        /// Slurm's word for why, e.g. `Resources`; empty when there is none.
        reason: String,
    },
    /// Its Slurm job has begun on a node.
    Begun {
        /// The node.
        node: String,
        /// Where on it the stage computes.
        device: DeviceChoice,
    },
    /// What the user must know.
    Notice(String),
}

/// What a stage said at its end: why it failed, if it did, and what it used.
pub(crate) type Returned = (Option<String>, Usage);

/// Hears one line of what a step's process says, and returns its end if that is what it says.
pub(crate) fn hear_line(line: &[u8], hear: &mut impl FnMut(Heard)) -> Option<Returned> {
    match serde_json::from_slice(line) {
        Ok(Message::Report(report)) => hear(Heard::Report(report)),
        Ok(Message::Notice(message)) => hear(Heard::Notice(message)),
        Ok(Message::Begun { node, device }) => hear(Heard::Begun { node, device }),
        Ok(Message::End { error, usage }) => return Some((error, usage)),
        // The last line of a process that was killed while it wrote.
        Err(error) => tracing::debug!("a message of a step is not understood: {error}"),
    }
    None
}

/// The JSON Schema of the key `executor`.
pub(crate) fn schema() -> Value {
    let text = json!({"type": "string"});
    let count = json!({"type": ["integer", "string"], "minimum": 0, "maximum": 4096});
    let about = |mut value: Value, about: &str| {
        value["description"] = json!(about);
        value
    };
    let slurm = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "partition": about(text.clone(), "The partition."),
            "time": about(text.clone(), "The longest it may take, such as 1h 30min."),
            "cpus": about(count.clone(), "How many processors, and threads; 1 when not said."),
            "memory": about(text.clone(), "How much memory, such as 8GiB."),
            "gpus": about(count.clone(), "How many GPUs."),
            "account": about(text.clone(), "The account that pays."),
            "qos": about(text.clone(), "The quality of service."),
            "array": about(json!({"type": ["boolean", "string"]}), "Whether instances of one table may be tasks of one job array; true when not said."),
            "at-once": about(count, "How many tasks of an array may run at once."),
            "extra": about(json!({"type": "array", "items": text}), "More options of sbatch."),
        },
    });
    let table =
        json!({"type": "object", "additionalProperties": false, "properties": {"slurm": slurm}});
    json!({"anyOf": [{"enum": ["local", "slurm"]}, table]})
}

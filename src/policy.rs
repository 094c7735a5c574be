//! How a step is run: how often it is tried, how long it may take, what it uses, and when its turn is.
//!
//! None of it can change a result, so none of it is part of the key.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::problem::Place;
use crate::slurm::Order;

/// The longest pause between two tries.
const LONGEST_DELAY: Duration = Duration::from_secs(3600);

/// How a step is run; no part of the key.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// What follows a try that failed.
    pub retry: Retry,
    /// How long one try may take.
    pub timeout: Option<Duration>,
    /// What it takes out of pools while it runs, by name.
    pub resources: BTreeMap<String, Resource>,
    /// How urgent it is; of steps that could run now, the most urgent goes first.
    pub priority: i64,
}

/// What a step takes out of a pool.
#[derive(Clone, Debug)]
pub struct Resource {
    /// So much: of memory, bytes.
    pub amount: u64,
    /// Where that is written.
    pub place: Place,
}

/// How often a step that failed is tried again, and after how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// How often, at most.
    pub times: u32,
    /// The pause before the second try.
    pub delay: Duration,
    /// How many times as long each further pause is.
    pub factor: f64,
}

impl Default for Retry {
    fn default() -> Self {
        Self { times: 0, delay: Duration::from_secs(1), factor: 2.0 }
    }
}

impl Retry {
    /// Returns the pause after so many failed tries; none when there is to be no other try.
    pub(crate) fn pause(&self, failed: u32) -> Option<Duration> {
        if failed == 0 || failed > self.times {
            return None;
        }
        let times = self.factor.powf(f64::from(failed - 1));
        let pause = Duration::try_from_secs_f64(self.delay.as_secs_f64() * times);
        Some(pause.unwrap_or(LONGEST_DELAY).min(LONGEST_DELAY.max(self.delay)))
    }
}

impl Policy {
    /// Returns how much it takes out of a pool, when it says so.
    pub(crate) fn amount(&self, pool: &str) -> Option<u64> {
        self.resources.get(pool).map(|resource| resource.amount)
    }

    /// Asks a cluster for the same.
    pub(crate) fn order(&self, order: &mut Order) {
        use crate::pools::{CPU, GPU, MEMORY};
        if let Some(cpus) = self.amount(CPU) {
            order.cpus = Some(cpus.max(1));
        }
        if let Some(memory) = self.amount(MEMORY) {
            order.memory_mib = Some(memory.div_ceil(1 << 20));
        }
        if let Some(gpus) = self.amount(GPU) {
            order.gpus = Some(gpus);
        }
        if let Some(timeout) = self.timeout {
            // Slurm counts in minutes.
            order.minutes = Some(timeout.as_secs().div_ceil(60).max(1));
        }
    }
}

/// The JSON Schema of the key `retry`.
pub(crate) fn retry_schema() -> Value {
    let times = json!({"type": ["integer", "string"], "minimum": 0, "maximum": 1000});
    let table = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "times": times,
            "delay": {"type": "string", "description": "The first pause, such as 2s."},
            "factor": {
                "type": ["number", "string"], "minimum": 1, "maximum": 100,
                "description": "How many times as long each further pause is.",
            },
        },
    });
    json!({"anyOf": [times, table]})
}

/// The JSON Schema of the key `timeout`.
pub(crate) fn timeout_schema() -> Value {
    json!({"type": "string"})
}

/// The JSON Schema of the key `priority`.
pub(crate) fn priority_schema() -> Value {
    json!({"type": ["integer", "string"]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let seconds = Duration::from_secs;
        let retry = Retry { times: 3, delay: seconds(2), factor: 3.0 };
        let pauses: Vec<_> = (0..6).map(|failed| retry.pause(failed)).collect();
        let expected = [None, Some(seconds(2)), Some(seconds(6)), Some(seconds(18)), None, None];
        assert_eq!(pauses, expected);
        let far = Retry { times: 1000, delay: seconds(2), factor: 100.0 };
        assert_eq!(far.pause(1000), Some(LONGEST_DELAY));
        let slow = Retry { times: 2, delay: seconds(7200), factor: 2.0 };
        assert_eq!(slow.pause(2), Some(seconds(7200)));
        assert_eq!(Retry::default().pause(1), None);
    }
}

//! What a step asks of Slurm, as options of sbatch.

use stages::DeviceChoice;

/// What a step asks of Slurm; what is not said is left to the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// The partition.
    pub partition: Option<String>,
    /// The longest it may take, in minutes.
    pub minutes: Option<u64>,
    /// How many processors; 1 when not said.
    pub cpus: Option<u64>,
    /// How much memory, in MiB.
    pub memory_mib: Option<u64>,
    /// How many GPUs.
    pub gpus: Option<u64>,
    /// The account that pays.
    pub account: Option<String>,
    /// The quality of service.
    pub qos: Option<String>,
    /// More options of sbatch, as they are.
    pub extra: Vec<String>,
    /// Whether instances of one table may be tasks of one array; they are when it is not said.
    pub array: Option<bool>,
    /// How many tasks of an array may run at once.
    pub at_once: Option<u64>,
}

impl Order {
    /// Where the step computes when `asked` is what the command line says; the node finds out what
    /// [`DeviceChoice::Auto`] means there.
    pub(crate) fn device(&self, asked: DeviceChoice) -> DeviceChoice {
        match self.gpus {
            // A GPU that is there all the same belongs to another job.
            Some(0) if asked == DeviceChoice::Auto => DeviceChoice::Cpu,
            _ => asked,
        }
    }

    /// How many threads the step may use.
    pub(crate) fn threads(&self) -> usize {
        self.cpus.and_then(|cpus| usize::try_from(cpus).ok()).unwrap_or(1)
    }

    /// The options of sbatch.
    pub(super) fn options(&self) -> Vec<String> {
        let words =
            [("partition", &self.partition), ("account", &self.account), ("qos", &self.qos)];
        let words = words
            .into_iter()
            .filter_map(|(name, word)| Some(format!("--{name}={}", word.as_ref()?)));
        let numbers = [
            self.minutes.map(|minutes| format!("--time={minutes}")),
            Some(format!("--cpus-per-task={}", self.threads())),
            self.memory_mib.map(|memory| format!("--mem={memory}M")),
            self.gpus.map(|gpus| format!("--gres=gpu:{gpus}")),
        ];
        words.chain(numbers.into_iter().flatten()).chain(self.extra.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_becomes_options() {
        let order = Order {
            partition: Some("gpu".to_owned()),
            minutes: Some(90),
            memory_mib: Some(8192),
            gpus: Some(2),
            extra: vec!["--nice=10".to_owned()],
            ..Order::default()
        };
        let options = order.options().join(" ");
        let expected =
            "--partition=gpu --time=90 --cpus-per-task=1 --mem=8192M --gres=gpu:2 --nice=10";
        assert_eq!(options, expected);
    }
}

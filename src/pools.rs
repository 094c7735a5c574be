//! What the steps of a run share: processors, memory, GPUs, and whatever else a file names.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use stages::{DeviceChoice, Pool};

use crate::plan::{Plan, StepId};
use crate::problem::{Problem, Problems};
use crate::scheduler::Use;
use crate::suggest::quoted;

/// The pool of processors; a step takes one of it that does not say how many.
pub const CPU: &str = "cpu";
/// The pool of memory, in bytes.
pub const MEMORY: &str = "memory";
/// The pool of GPUs.
pub const GPU: &str = "gpu";

/// The pools that are there without being declared.
pub const OF_MACHINE: [&str; 3] = [CPU, GPU, MEMORY];

/// The index of the pool of places: so many steps run at once.
const JOBS: usize = 0;
/// That of the GPU that built-in stages compute on.
pub(crate) const DEVICE: usize = 1;
/// That of jobs on a cluster.
const ELSEWHERE: usize = 2;

/// How many Slurm jobs there may be at once: the controller says which of them run, but each is
/// followed by a thread and through files.
const MOST_ELSEWHERE: u64 = 500;

/// What this machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Processors.
    pub cpu: u64,
    /// Memory in bytes, where the system tells.
    pub memory: Option<u64>,
    /// GPUs.
    pub gpu: u64,
}

impl Machine {
    /// Looks at this machine, where so many processors may be used.
    #[must_use]
    pub fn look(cpu: usize) -> Self {
        Self { cpu: cpu as u64, memory: memory(), gpu: gpus() }
    }

    fn amount(&self, pool: &str) -> Option<u64> {
        match pool {
            CPU => Some(self.cpu),
            GPU => Some(self.gpu),
            MEMORY => self.memory,
            _ => None,
        }
    }
}

/// The memory of this machine, or of the container that this process is in.
fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let machine = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10;
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    // Without a limit it holds the word `max`.
    let limit = limit.and_then(|text| text.trim().parse().ok());
    Some(limit.map_or(machine, |limit: u64| limit.min(machine)))
}

/// The number of NVIDIA GPUs that this process may open.
fn gpus() -> u64 {
    let Ok(entries) = std::fs::read_dir("/dev") else { return 0 };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let numbered = names.filter(|name| {
        name.strip_prefix("nvidia")
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    });
    numbered.count() as u64
}

/// The pools of a run, and what each step takes out of them.
#[derive(Debug)]
pub(crate) struct Shares {
    /// How much there is of each, by index.
    pub(crate) capacities: Vec<u64>,
    /// What each step uses.
    pub(crate) uses: Vec<Vec<Use>>,
}

/// Makes sure that each selected step can run at all on this machine, as the file and the machine say.
///
/// # Errors
///
/// Every resource of which a step wants more than there is.
pub fn check(
    plan: &Plan,
    selected: &BTreeSet<StepId>,
    machine: Machine,
    jobs: usize,
) -> Result<(), Problems> {
    let available = available(plan, machine, jobs);
    let mut problems = Vec::new();
    for &id in selected {
        let step = plan.step(id);
        for (name, resource) in &step.policy.resources {
            let Some(&most) = available.get(name.as_str()) else { continue };
            // What the file itself does not hold was told when it was read.
            let of_machine = !plan.pipeline.pools.contains_key(name);
            if counts(name, step.placement.is_here()) && of_machine && resource.amount > most {
                let message = format!(
                    "step {} wants {} of {}, and this machine has {}",
                    quoted(&step.name),
                    shown(name, resource.amount),
                    quoted(name),
                    shown(name, most)
                );
                let help = format!("`pools.{name}` says how much there is, if it is more");
                problems.push(Problem::new(message).help(help).at(resource.place.clone()));
            }
        }
    }
    // The instances of a step stand at one place.
    problems.dedup();
    Problems::check(problems)
}

/// Whether a step that runs here, or elsewhere, takes from a pool.
fn counts(pool: &str, here: bool) -> bool {
    here || !OF_MACHINE.contains(&pool)
}

/// An amount as people read it.
pub(crate) fn shown(pool: &str, amount: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    if pool != MEMORY {
        return amount.to_string();
    }
    match UNITS.iter().find(|(_, unit)| amount >= *unit) {
        Some((name, unit)) if amount.is_multiple_of(*unit) => format!("{} {name}", amount / unit),
        Some((name, unit)) => format!("{:.1} {name}", amount as f64 / *unit as f64),
        None => format!("{amount} B"),
    }
}

/// Every pool and how much there is: as the file says, else as the machine has it.
fn available(plan: &Plan, machine: Machine, jobs: usize) -> BTreeMap<&str, u64> {
    let machine = Machine { cpu: machine.cpu.max(jobs as u64), ..machine };
    let mut available: BTreeMap<&str, u64> = BTreeMap::new();
    for name in OF_MACHINE {
        available.extend(machine.amount(name).map(|amount| (name, amount)));
    }
    available.extend(plan.pipeline.pools.iter().map(|(name, amount)| (name.as_str(), *amount)));
    available
}

/// Returns the pools of a run and what each step takes.
pub(crate) fn shares(plan: &Plan, machine: Machine, jobs: usize, device: DeviceChoice) -> Shares {
    let available = available(plan, machine, jobs);
    let mut capacities = vec![jobs.max(1) as u64, jobs.max(1) as u64, MOST_ELSEWHERE];
    let mut index: BTreeMap<&str, usize> = BTreeMap::new();
    for (&name, &amount) in &available {
        index.insert(name, capacities.len());
        capacities.push(amount);
    }
    let gpu_here = machine.gpu > 0 && device != DeviceChoice::Cpu && cfg!(feature = "cuda");
    let steps = plan.pipeline.steps.iter();
    let uses = steps.map(|step| {
        let here = step.placement.is_here();
        let mut uses = vec![(if here { JOBS } else { ELSEWHERE }, 1)];
        let on_device = here && step.kind.pool == Pool::Gpu;
        if on_device {
            uses.push((DEVICE, 1));
        }
        for (&name, &pool) in &index {
            let said = step.policy.amount(name);
            let amount = said.unwrap_or(match name {
                CPU => 1,
                GPU => u64::from(on_device && gpu_here),
                _ => 0,
            });
            if counts(name, here) {
                uses.push((pool, amount.min(capacities[pool])));
            }
        }
        uses
    });
    let uses = uses.collect();
    Shares { capacities, uses }
}

/// The JSON Schema of the table `pools`.
pub(crate) fn pools_schema() -> Value {
    amounts_schema("How much there is of each pool: cpu, memory, gpu, and names of your own.")
}

/// The JSON Schema of the key `resources`.
pub(crate) fn resources_schema() -> Value {
    amounts_schema("So much of each pool.")
}

fn amounts_schema(about: &str) -> Value {
    let count = json!({"type": ["integer", "string"], "minimum": 0});
    json!({
        "description": about,
        "type": "object",
        "properties": {CPU: count, GPU: count, MEMORY: {"type": "string"}},
        "additionalProperties": count,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_in_its_unit() {
        assert_eq!(shown(MEMORY, 4 << 30), "4 GiB");
        assert_eq!(shown(MEMORY, (4 << 30) + (1 << 29)), "4.5 GiB");
        assert_eq!(shown(MEMORY, 100), "100 B");
        assert_eq!(shown(CPU, 4 << 30), (4_u64 << 30).to_string());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_machine_has_memory() {
        assert!(Machine::look(2).memory.is_some_and(|memory| memory > 1 << 20));
    }
}

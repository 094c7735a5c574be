//! Where a step runs: the key `executor`, of the pipeline or of one step.

use super::findings::Findings;
use super::tree::{Entry, Node, Table, Value, in_order};
use crate::placement::Placement;
use crate::policy::Policy;
use crate::problem::Problem;
use crate::sandbox::{Mode, Sandbox};
use crate::slurm::Order;
use crate::suggest::{did_you_mean, quoted};

const LOCAL: &str = "local";
const SLURM: &str = "slurm";
const HELP: &str = "`executor = \"local\"`, `executor = \"slurm\"` or `executor.slurm = { … }`";
const KEYS: [&str; 10] =
    ["partition", "time", "cpus", "memory", "gpus", "account", "qos", "extra", "array", "at-once"];
/// Options of sbatch that would take the job out of our hands.
const OURS: [&str; 15] = [
    "array",
    "output",
    "error",
    "input",
    "chdir",
    "wrap",
    "job-name",
    "parsable",
    "wait",
    "test-only",
    "clusters",
    "export",
    "export-file",
    "quiet",
    "cpus-per-task",
];

/// Reads an `executor`. `default` is that of the pipeline; what it asks of Slurm holds wherever a
/// step asks nothing else, with its `policy` or here.
pub(super) fn read_placement(
    entry: Option<&Entry>,
    default: &Placement,
    policy: &Policy,
    findings: &mut Findings,
) -> Placement {
    let mut order = default.slurm().cloned().unwrap_or_default();
    policy.order(&mut order);
    let Some(entry) = entry else {
        return if default.is_here() { Placement::Here } else { Placement::Slurm(order) };
    };
    match &entry.node.value {
        Value::Faulty => Placement::Here,
        Value::String(word) if word == SLURM => Placement::Slurm(order),
        Value::String(word) if word == LOCAL => Placement::Here,
        Value::String(word) => {
            findings.add(&entry.node.span, unknown(word));
            Placement::Here
        }
        Value::Table(table) if table.len() == 1 => {
            for (word, choice) in table {
                match (word.as_str(), choice.node.as_table()) {
                    (SLURM, Some(table)) => {
                        return Placement::Slurm(read_order(table, order, findings));
                    }
                    (SLURM, None) if choice.node.is_faulty() => {}
                    (SLURM, None) => {
                        let what = choice.node.describe();
                        let message = format!("`executor.slurm` must be a table, not {what}");
                        findings.add(&choice.node.span, Problem::new(message).help(HELP));
                    }
                    (LOCAL, _) => {
                        let message = "`executor.local` has no options";
                        findings.add(&choice.key, Problem::new(message).help(HELP));
                    }
                    _ => findings.add(&choice.key, unknown(word)),
                }
            }
            Placement::Here
        }
        Value::Table(table) if !table.is_empty() => {
            let message = "`executor` must be one choice, not several".to_owned();
            findings.add(&entry.key, Problem::new(message).help(HELP));
            Placement::Here
        }
        _ => {
            let message = format!("`executor` must be one choice, not {}", entry.node.describe());
            findings.add(&entry.node.span, Problem::new(message).help(HELP));
            Placement::Here
        }
    }
}

fn unknown(word: &str) -> Problem {
    let near = did_you_mean(word, [LOCAL, SLURM]);
    Problem::new(format!("unknown executor {}{near}", quoted(word))).help(HELP)
}

/// A sandbox is made where the step runs, which must not be another machine.
pub(super) fn check_sandbox(
    placement: &Placement,
    sandbox: &Sandbox,
    entry: &Entry,
    findings: &mut Findings,
) {
    if placement.is_here() || sandbox.mode.unwrap_or_default() == Mode::Off {
        return;
    }
    let problem = Problem::new("a step that runs on Slurm cannot be held in a sandbox");
    let mode = entry.node.child("mode").map_or(&entry.key, |mode| &mode.span);
    findings.add(mode, problem.help("`executor = \"local\"` runs the step on this machine"));
}

fn read_order(table: &Table, mut order: Order, findings: &mut Findings) -> Order {
    for (name, entry) in in_order(table) {
        let node = &entry.node;
        if node.is_faulty() {
            continue;
        }
        let read = match name.as_str() {
            "partition" => word(node).map(|word| order.partition = Some(word)),
            "account" => word(node).map(|word| order.account = Some(word)),
            "qos" => word(node).map(|word| order.qos = Some(word)),
            "cpus" => count(node, 1).map(|count| order.cpus = Some(count)),
            "gpus" => count(node, 0).map(|count| order.gpus = Some(count)),
            "time" => minutes(node).map(|minutes| order.minutes = Some(minutes)),
            "memory" => mebibytes(node).map(|memory| order.memory_mib = Some(memory)),
            "array" => flag(node).map(|array| order.array = Some(array)),
            "at-once" => count(node, 1).map(|count| order.at_once = Some(count)),
            "extra" => options(node).map(|extra| order.extra = extra),
            _ => {
                let near = did_you_mean(name, KEYS);
                let name = format!("executor.slurm.{name}");
                let message = format!("unknown key {}{near}", quoted(&name));
                let help = format!("keys of `executor.slurm`: {}", KEYS.join(", "));
                findings.add(&entry.key, Problem::new(message).help(help));
                continue;
            }
        };
        if let Err(wanted) = read {
            let message = format!("`executor.slurm.{name}` must be {wanted}");
            findings.add(&node.span, Problem::new(message));
        }
    }
    order
}

type Wanted = &'static str;

fn word(node: &Node) -> Result<String, Wanted> {
    let plain = |word: &&str| {
        !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c.is_control())
    };
    node.as_str().filter(plain).map(str::to_owned).ok_or("a name without spaces")
}

fn flag(node: &Node) -> Result<bool, Wanted> {
    let Value::Boolean(value) = node.value else { return Err("true or false") };
    Ok(value)
}

fn count(node: &Node, least: u64) -> Result<u64, Wanted> {
    let wanted = if least == 0 { "a number from 0 to 4096" } else { "a number from 1 to 4096" };
    let Value::Integer(_, Some(value)) = node.value else { return Err(wanted) };
    u64::try_from(value).ok().filter(|value| (least..=4096).contains(value)).ok_or(wanted)
}

fn minutes(node: &Node) -> Result<u64, Wanted> {
    const WANTED: Wanted = "a time such as \"90s\", \"30min\" or \"1h 30min\"";
    let time: jiff::SignedDuration = node.as_str().ok_or(WANTED)?.parse().map_err(|_| WANTED)?;
    let seconds = u64::try_from(time.as_secs()).map_err(|_| WANTED)?;
    Some(seconds.div_ceil(60)).filter(|minutes| *minutes > 0).ok_or(WANTED)
}

fn mebibytes(node: &Node) -> Result<u64, Wanted> {
    const WANTED: Wanted = "an amount such as \"512MiB\" or \"8GiB\"";
    let text = node.as_str().ok_or(WANTED)?;
    let units = [("MiB", 1), ("GiB", 1 << 10), ("TiB", 1 << 20)];
    let (number, unit) = units
        .into_iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))
        .ok_or(WANTED)?;
    let number: u64 = number.trim_end().parse().map_err(|_| WANTED)?;
    number.checked_mul(unit).filter(|memory| *memory > 0).ok_or(WANTED)
}

fn options(node: &Node) -> Result<Vec<String>, Wanted> {
    const WANTED: Wanted =
        "an array of long options of sbatch such as \"--nice=10\", none of those that pipe sets";
    let Value::Array(items) = &node.value else { return Err(WANTED) };
    let option = |item: &Node| {
        let text = item.as_str()?;
        let name = text.strip_prefix("--")?.split('=').next()?;
        (!name.is_empty() && !OURS.contains(&name)).then(|| text.to_owned())
    };
    items.iter().map(option).collect::<Option<_>>().ok_or(WANTED)
}

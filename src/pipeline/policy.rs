//! The keys `retry`, `timeout`, `resources` and `priority` of a step, and the table `pools`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::findings::Findings;
use super::tree::{Entry, Node, Table, Value, in_order};
use crate::policy::{Policy, Resource, Retry};
use crate::pools::{CPU, MEMORY, OF_MACHINE, shown};
use crate::problem::Problem;
use crate::suggest::{did_you_mean, list, quoted};

/// The keys, which a step of any kind may have.
pub(super) const KEYS: [&str; 4] = ["retry", "timeout", "resources", "priority"];

/// The longest time that may be said; the clock of a machine can be asked about it.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

const RETRY: &str = "for example `retry = { times = 3, delay = \"2s\", factor = 2.0 }`";
const RESOURCES: &str = "for example `resources = { cpu = 2, memory = \"4GiB\", license = 1 }`";
const POOLS: &str = "for example `[pools]` with `license = 2` below it";

/// How a key should be, when it is not.
type Wanted = &'static str;

/// How much there is of each pool that a file declares.
pub(super) type Pools = BTreeMap<String, u64>;

/// Reads the table `pools`.
pub(super) fn read_pools(pipeline: &Table, findings: &mut Findings) -> Pools {
    let Some(entry) = pipeline.get("pools") else { return Pools::new() };
    let Some(table) = table("pools", &entry.node, POOLS, findings) else { return Pools::new() };
    let mut pools = Pools::new();
    for (name, entry) in in_order(table) {
        if !is_name(name) {
            let message = format!(
                "the name of a pool is lower-case words joined by `-`, not {}",
                quoted(name)
            );
            findings.add(&entry.key, Problem::new(message));
            continue;
        }
        let amount =
            read(&format!("pools.{name}"), &entry.node, findings, |node| amount(name, node));
        if name == CPU && amount == Some(0) {
            let problem = Problem::new("`pools.cpu` must be at least 1, or nothing could run");
            findings.add(&entry.node.span, problem);
            continue;
        }
        pools.extend(amount.map(|amount| (name.clone(), amount)));
    }
    pools
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.split('-').all(|word| !word.is_empty() && word.chars().all(plain))
}

/// Takes the keys out of a step.
pub(super) fn take_policy(own: &mut Table, pools: &Pools, findings: &mut Findings) -> Policy {
    let mut policy = Policy::default();
    if let Some(entry) = own.remove("retry") {
        policy.retry = read_retry(&entry.node, findings);
    }
    if let Some(entry) = own.remove("timeout") {
        policy.timeout = read("timeout", &entry.node, findings, |node| duration(node, true));
    }
    if let Some(entry) = own.remove("resources") {
        policy.resources = read_resources(&entry, pools, findings);
    }
    if let Some(entry) = own.remove("priority") {
        policy.priority = read("priority", &entry.node, findings, priority).unwrap_or_default();
    }
    policy
}

fn read_retry(node: &Node, findings: &mut Findings) -> Retry {
    let mut retry = Retry::default();
    if let Value::Integer(..) = node.value {
        retry.times = read("retry", node, findings, times).unwrap_or_default();
        return retry;
    }
    let Some(table) = table("retry", node, RETRY, findings) else { return retry };
    let mut said = false;
    for (name, entry) in in_order(table) {
        let node = &entry.node;
        match name.as_str() {
            "times" => {
                said = true;
                retry.times = read("retry.times", node, findings, times).unwrap_or_default();
            }
            "delay" => {
                let delay = read("retry.delay", node, findings, |node| duration(node, false));
                retry.delay = delay.unwrap_or_default();
            }
            "factor" => {
                retry.factor = read("retry.factor", node, findings, factor).unwrap_or(1.0);
            }
            _ => {
                let near = did_you_mean(name, ["times", "delay", "factor"]);
                said |= near.contains("times");
                let message = format!("unknown key {}{near}", quoted(&format!("retry.{name}")));
                findings.add(&entry.key, Problem::new(message).help(RETRY));
            }
        }
    }
    if !said {
        let problem = Problem::new("`retry` does not say how many `times`").help(RETRY);
        findings.add_absence(&node.span, problem);
    }
    retry
}

fn read_resources(
    entry: &Entry,
    pools: &Pools,
    findings: &mut Findings,
) -> BTreeMap<String, Resource> {
    let mut resources = BTreeMap::new();
    let Some(table) = table("resources", &entry.node, RESOURCES, findings) else {
        return resources;
    };
    let known = || pools.keys().map(String::as_str).chain(OF_MACHINE);
    for (name, entry) in in_order(table) {
        if !known().any(|pool| pool == name) {
            let near = did_you_mean(name, known());
            let message = format!("there is no pool {}{near}", quoted(name));
            let mut names: Vec<&str> = known().collect();
            names.sort_unstable();
            names.dedup();
            let help = format!("pools: {}; `[pools]` names others", list(names));
            findings.add(&entry.key, Problem::new(message).help(help));
            continue;
        }
        let what = format!("resources.{name}");
        let Some(amount) = read(&what, &entry.node, findings, |node| amount(name, node)) else {
            continue;
        };
        if let Some(&most) = pools.get(name).filter(|most| amount > **most) {
            let message = format!(
                "`{what}` is {}, more than the {} of `pools.{name}`: the step could never run",
                shown(name, amount),
                shown(name, most)
            );
            findings.add(&entry.node.span, Problem::new(message));
            continue;
        }
        let place = findings.place(&entry.node.span);
        resources.insert(name.clone(), Resource { amount, place });
    }
    resources
}

fn table<'n>(what: &str, node: &'n Node, help: &str, findings: &mut Findings) -> Option<&'n Table> {
    if node.as_table().is_none() && !node.is_faulty() {
        let message = format!("`{what}` must be a table, not {}", node.describe());
        findings.add(&node.span, Problem::new(message).help(help));
    }
    node.as_table()
}

/// Reads one value; what it should have been is told.
fn read<T>(
    what: &str,
    node: &Node,
    findings: &mut Findings,
    value: impl FnOnce(&Node) -> Result<T, Wanted>,
) -> Option<T> {
    if node.is_faulty() {
        return None;
    }
    match value(node) {
        Ok(value) => Some(value),
        Err(wanted) => {
            let message = format!("`{what}` must be {wanted}, not {}", node.describe());
            findings.add(&node.span, Problem::new(message));
            None
        }
    }
}

fn times(node: &Node) -> Result<u32, Wanted> {
    const WANTED: Wanted = "a number of times, from 0 to 1000";
    let Value::Integer(_, Some(value)) = node.value else { return Err(WANTED) };
    u32::try_from(value).ok().filter(|times| *times <= 1000).ok_or(WANTED)
}

fn factor(node: &Node) -> Result<f64, Wanted> {
    const WANTED: Wanted = "a number from 1 to 100";
    let (Value::Integer(text, _) | Value::Float(text)) = &node.value else { return Err(WANTED) };
    let factor: f64 = text.replace('_', "").parse().map_err(|_| WANTED)?;
    if (1.0..=100.0).contains(&factor) { Ok(factor) } else { Err(WANTED) }
}

fn priority(node: &Node) -> Result<i64, Wanted> {
    const WANTED: Wanted = "a whole number from -2^63 to 2^63 - 1; the larger, the earlier";
    let Value::Integer(_, Some(value)) = node.value else { return Err(WANTED) };
    i64::try_from(value).map_err(|_| WANTED)
}

fn duration(node: &Node, some: bool) -> Result<Duration, Wanted> {
    const WANTED: Wanted = "a time such as \"90s\", \"10m\" or \"1h 30m\"";
    let time: jiff::SignedDuration = node.as_str().ok_or(WANTED)?.parse().map_err(|_| WANTED)?;
    let time = Duration::try_from(time).map_err(|_| WANTED)?;
    if time > LONGEST {
        return Err("a time of at most ten years");
    }
    if some && time.is_zero() { Err("a time longer than none") } else { Ok(time) }
}

/// An amount of a pool: of memory in bytes.
fn amount(pool: &str, node: &Node) -> Result<u64, Wanted> {
    if pool == MEMORY {
        return bytes(node);
    }
    const WANTED: Wanted = "a whole number from 0 to 2^48";
    let Value::Integer(_, Some(value)) = node.value else { return Err(WANTED) };
    u64::try_from(value).ok().filter(|amount| *amount <= 1 << 48).ok_or(WANTED)
}

fn bytes(node: &Node) -> Result<u64, Wanted> {
    const WANTED: Wanted = "an amount such as \"512MiB\", \"4GiB\" or \"4GB\"";
    const UNITS: [(&str, u64); 9] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let text = node.as_str().ok_or(WANTED)?;
    let unit = UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)));
    let (number, unit) = unit.ok_or(WANTED)?;
    let number: f64 = number.trim_end().parse().map_err(|_| WANTED)?;
    let bytes = number * *unit as f64;
    // No machine has more, and every whole number below is exact.
    let fits = (0.0..=(1_u64 << 52) as f64).contains(&bytes);
    if fits { Ok(bytes as u64) } else { Err(WANTED) }
}

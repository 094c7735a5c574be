//! One `[stage.NAME]` table to one [`Step`].

use std::collections::BTreeMap;

use stages::Kind;

use super::findings::{Alike, Findings};
use super::instances::{self, Family, Made, Room};
use super::merge::Schemas;
use super::template::is_plain;
use super::tree::{Entry, Node, Table, Value, in_order};
use super::validate::validate;
use super::wiring::Steps;
use super::{
    Need, Step, Surroundings, confinement, environment, inputs, parameters, placement, policy,
};
use crate::environment::Environment;
use crate::placement::Placement;
use crate::policy::Policy;
use crate::problem::Problem;
use crate::sandbox::{CONFINED, Sandbox};
use crate::suggest::{did_you_mean, quoted};

/// Reads every step of a merged pipeline, in file order; those at fault are left out.
pub(super) fn read_steps(
    mut pipeline: Table,
    pools: &policy::Pools,
    around: &Surroundings<'_>,
    schemas: &mut Schemas,
    findings: &mut Findings,
) -> Vec<Step> {
    check_top(&pipeline, findings);
    let mut room = Room::new(stage_entries(&pipeline).len());
    let made = read_instances(&mut pipeline, &mut room, findings);
    let steps = Steps::of(&pipeline, &made, around.kinds);
    let executor = pipeline.get("executor");
    let placement =
        placement::read_placement(executor, &Placement::Here, &Policy::default(), findings);
    let mut reading = Reading { steps: &steps, around, placement, pools, schemas, room };
    let mut read = Vec::new();
    for (name, entry) in stage_entries(&pipeline) {
        if findings.is_full() {
            break;
        }
        if let Some(problem) = name_problem(name) {
            findings.add(&entry.key, problem);
        }
        match (&entry.node.value, made.get(name)) {
            (Value::Table(table), None | Some(Made::One)) => {
                let table = instances::alone(name, table, &mut reading.room, findings);
                read.extend(reading.step(name, name, entry, table, findings));
            }
            (Value::Table(table), Some(Made::Many(family))) => {
                reading.family(name, entry, table, family, &mut read, findings);
            }
            (Value::Faulty, _) | (_, Some(Made::Unknown)) => {}
            _ => findings.add(
                &entry.node.span,
                Problem::new(format!(
                    "step {} must be a table, not {}",
                    quoted(name),
                    entry.node.describe()
                ))
                .help(format!("write `[stage.{name}]` and its parameters below it")),
            ),
        }
    }
    read
}

/// Takes `matrix` and `foreach` out of every step.
fn read_instances(
    pipeline: &mut Table,
    room: &mut Room,
    findings: &mut Findings,
) -> BTreeMap<String, Made> {
    let steps = pipeline.get_mut("stage").and_then(|entry| entry.node.as_table_mut());
    let steps = steps.into_iter().flatten();
    steps
        .map(|(name, entry)| (name.clone(), instances::read(name, entry, room, findings)))
        .collect()
}

/// Checks the keys at the top of a pipeline; those that have been used up are not there any more.
fn check_top(pipeline: &Table, findings: &mut Findings) {
    let read = |name: &str| matches!(name, "stage" | "executor" | "pools");
    for (name, entry) in in_order(pipeline).into_iter().filter(|(name, _)| !read(name)) {
        const KEYS: [&str; 8] = [
            "stage",
            "params",
            "pools",
            "remote",
            "executor",
            "extends",
            "include",
            "params-files",
        ];
        if findings.is_full() {
            break;
        }
        let near = did_you_mean(name, KEYS);
        let message = format!("unknown key {}{near}", quoted(name));
        let help = "a pipeline has `[stage.NAME]` tables, `[params]`, `[pools]`, `[remote]`, `executor`, \
                    `extends`, `include` and `params-files`";
        findings.add(&entry.key, Problem::new(message).help(help));
    }
    match pipeline.get("stage").map(|entry| (&entry.node.value, entry)) {
        Some((Value::Table(table), _)) if !table.is_empty() => {}
        Some((Value::Faulty, _)) => {}
        Some((Value::Table(_), entry)) => {
            findings.add_absence(&entry.key, Problem::new("the pipeline has no steps"));
        }
        Some((_, entry)) => {
            let message = format!("`stage` must be a table, not {}", entry.node.describe());
            let help = "write `[stage.NAME]` for each step";
            findings.add(&entry.node.span, Problem::new(message).help(help));
        }
        None => {
            let problem = Problem::new("the pipeline has no steps");
            findings
                .add_absence(&findings.file(), problem.help("write `[stage.NAME]` for each step"));
        }
    }
}

/// The entries of the table `stage`, in file order.
pub(super) fn stage_entries(pipeline: &Table) -> Vec<(&String, &Entry)> {
    pipeline.get("stage").and_then(|entry| entry.node.as_table()).map(in_order).unwrap_or_default()
}

/// Step names are names of directories and words of the command line.
fn name_problem(name: &str) -> Option<Problem> {
    const LONGEST: usize = 100;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let kebab = name.split('-').all(|word| !word.is_empty() && word.chars().all(plain));
    if kebab && name.len() <= LONGEST {
        return None;
    }
    let words: String =
        name.to_lowercase().chars().map(|c| if plain(c) { c } else { '-' }).take(LONGEST).collect();
    let words: Vec<_> = words.split('-').filter(|word| !word.is_empty()).collect();
    let problem = Problem::new(if kebab {
        format!("step name {} is longer than {LONGEST} characters", quoted(name))
    } else {
        format!(
            "step name {} must be lower-case words joined by `-` (a to z, 0 to 9)",
            quoted(name)
        )
    });
    Some(if words.is_empty() { problem } else { problem.help(format!("`{}`", words.join("-"))) })
}

/// What the steps of a pipeline are read against.
struct Reading<'a> {
    steps: &'a Steps<'a>,
    around: &'a Surroundings<'a>,
    /// Where a step runs that does not say it.
    placement: Placement,
    /// The pools that the file names.
    pools: &'a policy::Pools,
    schemas: &'a mut Schemas,
    room: Room,
}

impl Reading<'_> {
    /// Reads every instance of a step; a mistake that several have is told once.
    fn family(
        &mut self,
        name: &str,
        entry: &Entry,
        written: &Table,
        family: &Family,
        read: &mut Vec<Step>,
        findings: &mut Findings,
    ) {
        let mut alike = Alike::default();
        for instance in &family.instances {
            let mark = findings.mark();
            let full = format!("{name}@{}", instance.label);
            let table = family.instance(name, written, instance, &mut self.room, findings);
            if let Some(table) = table {
                read.extend(self.step(name, &full, entry, table, findings));
            }
            if !findings.hold(mark, &full, &mut alike) {
                break;
            }
        }
        findings.release(alike, &entry.key, family.instances.len());
    }

    /// Reads one step. In messages it goes by `name`; `full` tells its instances apart.
    fn step(
        &mut self,
        name: &str,
        full: &str,
        entry: &Entry,
        mut own: Table,
        findings: &mut Findings,
    ) -> Option<Step> {
        let before = findings.count();
        let (steps, around) = (self.steps, self.around);
        let kind = read_kind(name, entry, &own, steps, around.kinds, findings)?;
        let wired = inputs::read_inputs(name, entry, kind, own.get("inputs"), steps, findings);
        own.remove("kind");
        own.remove("inputs");
        // Of another kind it is an unknown key.
        let sandbox = match kind.name == CONFINED {
            true => own.remove("sandbox"),
            false => None,
        };
        let policy = policy::take_policy(&mut own, self.pools, findings);
        let executor = own.remove("executor");
        let placement =
            placement::read_placement(executor.as_ref(), &self.placement, &policy, findings);
        let sandbox = sandbox.map_or_else(Sandbox::default, |entry| {
            let sandbox = confinement::read_sandbox(&entry.node, around.root, findings);
            placement::check_sandbox(&placement, &sandbox, &entry, findings);
            sandbox
        });
        let environment = match kind.name == CONFINED {
            true => environment::read_environment(&mut own, findings),
            false => Environment::default(),
        };
        let mut own = Entry {
            key: entry.key.clone(),
            order: entry.order,
            node: Node { span: entry.node.span.clone(), value: Value::Table(own) },
        };
        let ahead = findings.count();
        let was_whole = !parameters::has_faulty(&own.node);
        let written = validate(name, &mut own, self.schemas.of(kind), findings).sources;
        let is_whole = was_whole && findings.count() == ahead;
        let mut needs = wired.needs;
        let Some(stage) = parameters::read_parameters(name, kind, &mut own, is_whole, findings)
        else {
            parameters::check_sources(&own, &written, &written, steps, around, findings);
            return None;
        };
        let reads = stage.reads();
        let places = parameters::places_of_reads(&own, &reads);
        needs.extend(parameters::check_sources(&own, &places, &places, steps, around, findings));
        parameters::complain(name, &own, stage.check(), findings);
        if findings.count() == before {
            let inputs = wired.inputs.iter();
            let counts = inputs.map(|(input, steps)| (input.clone(), steps.len())).collect();
            parameters::complain(name, &own, stage.check_wiring(&counts), findings);
        }
        (findings.count() == before).then(|| Step {
            name: full.to_owned(),
            kind,
            stage,
            inputs: wired.inputs,
            reads,
            sandbox,
            environment,
            placement,
            policy,
            needs,
        })
    }
}

fn read_kind(
    name: &str,
    entry: &Entry,
    table: &Table,
    steps: &Steps<'_>,
    kinds: &'static [Kind],
    findings: &mut Findings,
) -> Option<&'static Kind> {
    let names = || kinds.iter().map(|kind| kind.name);
    let list = format!("kinds: {}", names().collect::<Vec<_>>().join(", "));
    let Some(written) = table.get("kind") else {
        let near = table.keys().find(|key| crate::suggest::nearest(key, ["kind"]).is_some());
        let near = near.map(|key| format!(", but {}", quoted(key))).unwrap_or_default();
        let message = format!("step {} has no `kind`{near}", quoted(name));
        let mut problem = Problem::new(message);
        if let Some(other) = steps.near(name, findings.room()) {
            problem = problem.help(format!("there is a step `{other}`"));
        }
        findings.add_absence(&entry.key, problem.help(list));
        return None;
    };
    match &written.node.value {
        Value::String(text) if !is_plain(text) => {
            let message = "`kind` is the same for every instance of a step";
            findings.add(&written.node.span, Problem::new(message).help(list));
            None
        }
        Value::String(text) => {
            let kind = kinds.iter().find(|kind| kind.name == text);
            if kind.is_none() {
                let message =
                    format!("unknown kind {}{}", quoted(text), did_you_mean(text, names()));
                findings.add(&written.node.span, Problem::new(message).help(list));
            }
            kind
        }
        Value::Faulty => None,
        _ => {
            let message = format!("`kind` must be a string, not {}", written.node.describe());
            findings.add(&written.node.span, Problem::new(message).help(list));
            None
        }
    }
}

/// What is wired to the inputs of a step.
#[derive(Default)]
pub(super) struct Wired {
    pub(super) inputs: BTreeMap<String, Vec<String>>,
    pub(super) needs: Vec<Need>,
}

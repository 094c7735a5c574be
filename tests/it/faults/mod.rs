//! Whatever fails, no wrong result is called fresh and none is lost.
//!
//! `PIPE_FAULTS` is how often something is made to fail, `PIPE_CRASH_SEED` repeats what.

mod calls;
mod damage;
mod power;
mod shim;
mod surroundings;
mod together;

use std::collections::BTreeMap;

use crate::chance::setting;
use crate::crash::content;
use crate::project::Project;

const PIPELINE: &str = r#"
[stage.sorted]
kind = "command"
files = ["in"]
run = ["sh", "-c", "set -e; sort {files.0}/a.txt > {out}/sorted; cat {files.0}/* > {out}/below; echo said"]
outputs = ["sorted", "below"]

[stage.large]
kind = "command"
inputs = { sorted = "sorted" }
run = ["sh", "-c", "set -e; head -c 300000 /dev/zero > {out}/zero; cat {input.sorted}/* > {out}/all"]
outputs = ["zero", "all"]

[stage.program]
kind = "command"
inputs = { large = "large" }
run = ["sh", "-c", "set -e; cp {input.large}/all {out}/run; chmod 755 {out}/run; cp {out}/run {scratch}/x"]
outputs = ["run"]
"#;

const STEPS: [&str; 3] = ["sorted", "large", "program"];

/// The content of every result.
type Content = BTreeMap<String, Vec<u8>>;

/// What `in/a.txt` may hold.
const INPUTS: [&str; 2] = ["pear\napple\n", "quince\nfig\ndate\n"];

/// How often something is made to fail.
fn trials() -> u64 {
    setting("PIPE_FAULTS").unwrap_or(16)
}

fn project() -> Project {
    let project = Project::new();
    project.write("in/a.txt", INPUTS[0]);
    project.write("in/b.txt", "b\n");
    project.write("p.toml", PIPELINE);
    project
}

fn results(project: &Project) -> Content {
    content(&project.path(".pipe/latest/p"))
}

/// Returns what a run that nothing disturbs makes of each input.
fn expected() -> [Content; 2] {
    INPUTS.map(|input| {
        let project = project();
        project.write("in/a.txt", input);
        assert_eq!(project.ran(), STEPS);
        let results = results(&project);
        assert_eq!(results.len(), 5);
        results
    })
}

//! Instances of one table as the tasks of one job array.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::signal;
use super::stand_in::Cluster;
use crate::project::wait_for;

/// Four instances that each run `script`.
fn four(script: &str, slurm: &str) -> String {
    format!(
        "[stage.net]\nkind = \"command\"\nforeach = [\"a\", \"b\", \"c\", \"d\"]\n\
         executor.slurm = {{ {slurm} }}\noutputs = [\"x\"]\n\
         run = [\"sh\", \"-c\", {script:?}, \"${{each.value}}\"]\n"
    )
}

/// Saves when it is asked to stop, and then needs no time.
const LONG: &str = "trap 'echo saved > {scratch}/saved; exit 1' TERM; touch {scratch}/began; \
                    [ -e {scratch}/saved ] || { sleep 60 & wait; }; cp {scratch}/saved {out}/x";

fn result(cluster: &Cluster, label: &str) -> String {
    cluster.project.read(&format!(".pipe/latest/p/net@{label}/x"))
}

fn all_began(cluster: &Cluster) -> bool {
    let began = |job: &std::path::PathBuf| job.join("scratch.0/began").exists();
    cluster.records().iter().filter(|job| began(job)).count() == 4
}

#[test]
fn instances_that_are_ready_together_are_one_array() {
    let cluster = Cluster::new(&four("echo $0 > {out}/x", "at-once = 2"));
    let shown = cluster.pipe(&["run", "p.toml"]);
    assert_eq!(shown.code, Some(0), "{shown}");
    let options = cluster.of_job(1, "options");
    assert!(options.contains("--array=0-3%2 "), "{options}");
    assert_eq!(cluster.of_job(2, "options"), "");
    for label in ["a", "b", "c", "d"] {
        assert_eq!(result(&cluster, label), format!("{label}\n"));
    }
    assert_eq!(cluster.of_job(1, "turns").lines().count(), 4);
    assert!(cluster.records().is_empty());
    // One alone is a job like others.
    let text = cluster.project.read("p.toml").replace("\"d\"]", "\"e\"]");
    cluster.project.write("p.toml", &text);
    let shown = cluster.pipe(&["run", "p.toml"]);
    assert_eq!(shown.code, Some(0), "{shown}");
    let options = cluster.of_job(2, "options");
    assert!(!options.contains("--array") && !options.is_empty(), "{options}");
    assert_eq!(result(&cluster, "e"), "e\n");
}

#[test]
fn without_arrays_each_is_a_job() {
    let cluster = Cluster::new(&four("echo $0 > {out}/x", "array = false"));
    let shown = cluster.pipe(&["run", "p.toml"]);
    assert_eq!(shown.code, Some(0), "{shown}");
    for number in 1..=4 {
        assert!(!cluster.of_job(number, "options").contains("--array"), "{shown}");
        assert_eq!(cluster.of_job(number, "state"), "COMPLETED|None");
    }
}

#[test]
fn a_task_that_fails_is_tried_again_and_the_others_stand() {
    let script = "[ $0 != c ] || [ -e {scratch}/tried ] || { touch {scratch}/tried; echo no luck >&2; exit 3; }; echo $0 > {out}/x";
    let text = four(script, "") + "retry = { times = 1, delay = \"10ms\" }\n";
    let cluster = Cluster::new(&text);
    let shown = cluster.pipe(&["run", "p.toml"]);
    assert_eq!(shown.code, Some(0), "{shown}");
    assert!(shown.stderr.contains("try 1 of 2") && shown.stderr.contains("no luck"), "{shown}");
    assert!(shown.stderr.contains("  4 ran in"), "{shown}");
    assert_eq!(result(&cluster, "c"), "c\n");
    let states = (0..4).map(|task| cluster.of_job(format!("1_{task}"), "state"));
    assert_eq!(states.filter(|state| state == "FAILED|NonZeroExitCode").count(), 1, "{shown}");
    assert!(!cluster.of_job(2, "options").contains("--array"));
    assert!(cluster.records().is_empty());
}

#[test]
fn a_task_cancelled_or_requeued_is_that_one_alone() {
    let cluster = Cluster::new(&four(LONG, ""));
    let child = cluster.start(&["run", "p.toml", "--keep-going"]);
    assert!(wait_for(|| all_began(&cluster)));
    cluster.call("scancel", "1_1");
    for task in ["1_0", "1_2", "1_3"] {
        cluster.call("requeue", task);
    }
    let shown = cluster.project.shown(&child.wait_with_output().unwrap());
    assert_eq!(shown.code, Some(1), "{shown}");
    assert_eq!(shown.stderr.matches("was cancelled from outside").count(), 1, "{shown}");
    assert!(shown.stderr.contains("its Slurm job 1_1 was cancelled"), "{shown}");
    let made = |label: &&str| {
        let path = cluster.project.path(&format!(".pipe/latest/p/net@{label}/x"));
        std::fs::read_to_string(path).is_ok_and(|text| text == "saved\n")
    };
    assert_eq!(["a", "b", "c", "d"].iter().filter(|label| made(label)).count(), 3, "{shown}");
    assert!(cluster.records().is_empty());
    cluster.project.wait_until_quiet();
}

#[test]
fn ctrl_c_lets_every_task_save() {
    let cluster = Cluster::new(&four(LONG, ""));
    let child = cluster.start(&["run", "p.toml"]);
    assert!(wait_for(|| all_began(&cluster)));
    signal(&child, Signal::SIGINT);
    let shown = cluster.project.shown(&child.wait_with_output().unwrap());
    assert_eq!(shown.code, Some(130), "{shown}");
    cluster.project.wait_until_quiet();
    assert!(cluster.records().is_empty());
    let again = cluster.pipe(&["run", "p.toml"]);
    assert_eq!(again.stderr.matches("going on where it stopped").count(), 4, "{again}");
    assert_eq!(result(&cluster, "d"), "saved\n");
}

#[test]
fn a_killed_run_takes_its_array_with_it_those_in_the_queue_included() {
    let cluster = Cluster::new(&four(LONG, "at-once = 1"));
    let mut child = cluster.start(&["run", "p.toml"]);
    assert!(wait_for(|| cluster.of_job(1, "turns").lines().count() == 1));
    assert!(wait_for(|| cluster.records().len() == 4));
    std::thread::sleep(Duration::from_millis(100));
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    cluster.project.wait_until_quiet();
    for task in 0..4 {
        // One whose turn comes before the order reaches it finds that nothing is left to do.
        let state = || cluster.of_job(format!("1_{task}"), "state");
        let over = || ["CANCELLED|None", "COMPLETED|None"].contains(&state().as_str());
        assert!(wait_for(over), "{}", state());
    }
    assert!(wait_for(|| cluster.records().is_empty()));
}

#[test]
fn the_next_run_ends_what_is_left_of_an_array_task_by_task() {
    let cluster = Cluster::new(&four(LONG, ""));
    let mut child = cluster.start(&["run", "p.toml"]);
    assert!(wait_for(|| all_began(&cluster)));
    cluster.mark("away", true);
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    let guard = || cluster.project.processes().iter().any(|line| line.ends_with(" guard "));
    assert!(wait_for(|| !guard()));
    assert_eq!(cluster.records().len(), 4);
    cluster.mark("away", false);
    cluster
        .project
        .write("q.toml", &cluster.project.read("p.toml").replace(LONG, "echo $0 > {out}/x"));
    let shown = cluster.pipe(&["run", "q.toml"]);
    assert_eq!(shown.code, Some(0), "{shown}");
    for task in 0..4 {
        assert_eq!(cluster.of_job(format!("1_{task}"), "state"), "CANCELLED|None");
    }
    assert!(cluster.records().is_empty());
    cluster.project.wait_until_quiet();
}

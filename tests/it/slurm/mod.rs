//! Steps as Slurm jobs, on stand-ins for Slurm's commands.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

mod arrays;
mod stand_in;

use std::process::Child;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::project::{Project, wait_for};
use stand_in::Cluster;

/// A step that goes on where it was stopped, when asked politely.
const LONG: &str = r#"
[stage.long]
kind = "command"
executor = "slurm"
run = ["sh", "-c", "trap 'echo saved > {scratch}/saved; exit 1' TERM; touch {scratch}/began; [ -e {scratch}/saved ] || { sleep 60 & wait; }; cp {scratch}/saved {out}/x"]
outputs = ["x"]
"#;

/// A step that takes `run` as its program.
fn step(script: &str, more: &str) -> String {
    format!(
        "[stage.step]\nkind = \"command\"\nexecutor = \"slurm\"\noutputs = [\"x\"]\n\
         run = [\"sh\", \"-c\", {script:?}]\n{more}\n"
    )
}

fn started() -> (Cluster, Child) {
    let cluster = Cluster::new(LONG);
    let child = cluster.start(&["run", "p.toml"]);
    assert!(wait_for(|| {
        let jobs = cluster.records();
        jobs.iter().any(|job| job.join("scratch.0/began").exists())
    }));
    (cluster, child)
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

#[test]
fn a_step_gives_on_slurm_what_it_gives_here_under_the_same_key() {
    let project = Project::small();
    let local = project.read("p.toml");
    let count = "[stage.count]\nexecutor.slurm = { cpus = 2, memory = \"64MiB\", time = \"90s\" }";
    project.write("p.toml", &local.replace("[stage.count]", count));
    let cluster = Cluster::of(project);
    let shown = cluster.pipe(&["run", "p.toml", "--json"]);
    assert_eq!(shown.code, Some(0), "{shown}");
    let begun: Vec<_> = shown.stdout.lines().filter(|line| line.contains("\"begun\"")).collect();
    let expected = r#"{"event":"begun","step":"count","node":"stand-in","device":"cpu"}"#;
    assert_eq!(begun, [expected]);
    let options = cluster.of_job(1, "options");
    for option in ["--time=2", "--cpus-per-task=2", "--mem=64M", "--requeue"] {
        assert!(options.contains(option), "{options}");
    }
    let facts = cluster.pipe(&["show", "p.toml", "count"]);
    assert!(facts.stdout.contains("stand-in"), "{facts}");
    assert!(cluster.records().is_empty());
    cluster.project.write("p.toml", &local);
    assert_eq!(cluster.project.ran(), [""; 0]);
    assert_eq!(cluster.project.read(".pipe/latest/p/count/count.txt").trim(), "2");
}

#[test]
fn a_failing_step_says_what_it_says_here() {
    let cluster = Cluster::new(&step("echo no such luck >&2; exit 3", ""));
    let there = cluster.pipe(&["run", "p.toml"]);
    assert_eq!(there.code, Some(1), "{there}");
    let text = cluster.project.read("p.toml");
    cluster.project.write("p.toml", &text.replace("\"slurm\"", "\"local\""));
    let here = cluster.pipe(&["run", "p.toml"]).stderr;
    let of_slurm = |line: &str| line.contains("stand-in") || line.contains("Slurm job 1 waits");
    let there: Vec<_> = there.stderr.lines().filter(|line| !of_slurm(line)).collect();
    assert_eq!(there, here.lines().collect::<Vec<_>>());
    assert!(cluster.records().is_empty());
}

#[test]
fn what_sbatch_refuses_is_told() {
    let text = step("touch {out}/x", "").replace("= \"slurm\"", ".slurm.partition = \"nowhere\"");
    let cluster = Cluster::new(&text);
    let shown = cluster.pipe(&["run", "p.toml"]);
    assert_eq!(shown.code, Some(1), "{shown}");
    assert!(shown.stderr.contains("invalid partition specified: nowhere"), "{shown}");
    assert!(cluster.records().is_empty());
}

#[test]
fn without_slurm_a_step_that_must_run_says_so() {
    let cluster = Cluster::new(&step("touch {out}/x", ""));
    let mut command = cluster.project.command(&["run", "p.toml"]);
    let shown = cluster.project.shown(&command.env("PATH", "/nowhere").output().unwrap());
    assert_eq!(shown.code, Some(1), "{shown}");
    assert!(shown.stderr.contains("is Slurm installed here"), "{shown}");
    assert!(cluster.records().is_empty());
}

#[test]
fn a_job_in_the_queue_says_so_and_why_and_ctrl_c_takes_it_out() {
    let cluster = Cluster::new(&step("touch {out}/x", ""));
    cluster.mark("hold", true);
    let child = cluster.start(&["run", "p.toml"]);
    assert!(wait_for(|| cluster.of_job(1, "state").starts_with("PENDING")));
    // Until the queue was looked at.
    std::thread::sleep(std::time::Duration::from_millis(700));
    signal(&child, Signal::SIGINT);
    let shown = cluster.project.shown(&child.wait_with_output().unwrap());
    assert_eq!(shown.code, Some(130), "{shown}");
    assert!(shown.stderr.contains("Slurm job 1 waits in the queue (Resources)"), "{shown}");
    assert_eq!(cluster.of_job(1, "state"), "CANCELLED|None");
    assert!(cluster.records().is_empty());
}

#[test]
fn ctrl_c_lets_the_job_save_and_the_next_run_goes_on() {
    let (cluster, child) = started();
    signal(&child, Signal::SIGINT);
    let shown = cluster.project.shown(&child.wait_with_output().unwrap());
    assert_eq!(shown.code, Some(130), "{shown}");
    assert_eq!(cluster.of_job(1, "state"), "CANCELLED|None");
    cluster.project.wait_until_quiet();
    assert!(cluster.records().is_empty());
    let again = cluster.pipe(&["run", "p.toml"]);
    assert!(again.stderr.contains("going on where it stopped"), "{again}");
    assert_eq!(cluster.project.read(".pipe/latest/p/long/x"), "saved\n");
}

#[test]
fn a_job_cancelled_from_outside_fails_its_step_whatever_the_worker_said() {
    let (cluster, child) = started();
    cluster.call("scancel", &format!("--name={}", cluster.of_job(1, "name")));
    let shown = cluster.project.shown(&child.wait_with_output().unwrap());
    assert_eq!(shown.code, Some(1), "{shown}");
    assert!(shown.stderr.contains("its Slurm job 1 was cancelled from outside"), "{shown}");
    assert!(cluster.records().is_empty());
}

#[test]
fn a_requeued_job_goes_on_with_its_scratch_directory() {
    let (cluster, child) = started();
    cluster.call("requeue", "1");
    let shown = cluster.project.shown(&child.wait_with_output().unwrap());
    assert_eq!(shown.code, Some(0), "{shown}");
    assert_eq!(cluster.project.read(".pipe/latest/p/long/x"), "saved\n");
    assert!(cluster.records().is_empty());
}

#[test]
fn what_an_earlier_start_said_last_is_not_taken_for_the_end_of_a_later_one() {
    let (cluster, child) = started();
    cluster.mark("late", true);
    cluster.call("requeue", "1");
    let shown = cluster.project.shown(&child.wait_with_output().unwrap());
    assert_eq!(shown.code, Some(0), "{shown}");
    assert_eq!(cluster.project.read(".pipe/latest/p/long/x"), "saved\n");
}

#[test]
fn a_job_that_reaches_its_time_limit_is_tried_again_with_what_it_saved() {
    let more = "timeout = \"90s\"\nretry = { times = 1, delay = \"10ms\" }\n";
    let cluster = Cluster::new(&format!("{LONG}{more}"));
    let child = cluster.start(&["run", "p.toml"]);
    let began = |job: &std::path::PathBuf| job.join("scratch.0/began").exists();
    assert!(wait_for(|| cluster.records().iter().any(began)));
    cluster.call("overdue", "1");
    let shown = cluster.project.shown(&child.wait_with_output().unwrap());
    assert_eq!(shown.code, Some(0), "{shown}");
    assert!(shown.stderr.contains("its Slurm job 1 reached its time limit"), "{shown}");
    assert!(shown.stderr.contains("try 2, going on where it stopped"), "{shown}");
    for number in [1, 2] {
        assert!(cluster.of_job(number, "options").contains("--time=2"), "{shown}");
    }
    assert_eq!(cluster.project.read(".pipe/latest/p/long/x"), "saved\n");
    assert!(cluster.records().is_empty());
}

#[test]
fn variables_and_secrets_reach_the_node_and_no_file_holds_a_secret() {
    // The directory of the job holds its description while it runs.
    let script = "[ $(printf %s \"$PIPE_TOKEN\" | wc -c) = 9 ] || exit 4; echo it is $PIPE_TOKEN; \
                  cp {scratch}/../job.json {scratch}/kept; echo $PIPE_GIVEN > {out}/x; \
                  exit ${params.code}";
    let text = step(
        script,
        "inherit = [\"PIPE_GIVEN\"]\nsecrets = [\"PIPE_TOKEN\"]\n[params]\ncode = \"3\"",
    );
    let cluster = Cluster::new(&text);
    let run = |arguments: &[&str]| {
        let mut command = cluster.command(arguments);
        command.env("PIPE_TOKEN", "hush-hush").env("PIPE_GIVEN", "present");
        cluster.project.shown(&command.output().unwrap())
    };
    let failed = run(&["run", "p.toml"]);
    assert_eq!(failed.code, Some(1), "{failed}");
    assert!(failed.stderr.contains("exit status 3"), "{failed}");
    let shown = run(&["run", "p.toml", "--set", "params.code=\"0\""]);
    assert_eq!(shown.code, Some(0), "{shown}");
    assert_eq!(cluster.project.read(".pipe/latest/p/step/x"), "present\n");
    // The store, with the description of the job that the program kept, and what sbatch was given.
    let searched = std::process::Command::new("grep")
        .args(["-rlF", "hush-hush", "."])
        .current_dir(cluster.project.path(""))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&searched.stdout), "");
    let kept = std::process::Command::new("grep")
        .args(["-rlF", "PIPE_TOKEN", ".pipe"])
        .current_dir(cluster.project.path(""))
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&kept.stdout).contains("kept"), "the description was kept");
}

#[test]
fn a_killed_run_takes_its_job_with_it() {
    let (cluster, mut child) = started();
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    cluster.project.wait_until_quiet();
    assert_eq!(cluster.of_job(1, "state"), "CANCELLED|None");
    assert!(wait_for(|| cluster.records().is_empty()));
}

#[test]
fn the_next_run_ends_the_job_of_a_run_that_was_killed_while_slurm_was_away() {
    let (cluster, mut child) = started();
    cluster.mark("away", true);
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    let guard = || cluster.project.processes().iter().any(|line| line.ends_with(" guard "));
    assert!(wait_for(|| !guard()), "{:?}", cluster.project.processes());
    assert_eq!(cluster.of_job(1, "state"), "RUNNING|None");
    assert_eq!(cluster.records().len(), 1);
    cluster.mark("away", false);
    // Of another key, so that the first is nothing that this run would make.
    let text = step("touch {out}/x", "").replace("executor = \"slurm\"", "");
    cluster.project.write("p.toml", &text);
    let shown = cluster.pipe(&["run", "p.toml"]);
    assert_eq!(shown.code, Some(0), "{shown}");
    assert_eq!(cluster.of_job(1, "state"), "CANCELLED|None");
    assert!(cluster.records().is_empty());
    cluster.project.wait_until_quiet();
}

#[test]
fn a_sandbox_is_refused_before_anything_runs() {
    let cluster = Cluster::new(&step("touch {out}/x", "sandbox.mode = \"warn\""));
    let shown = cluster.pipe(&["check", "p.toml"]);
    assert_eq!(shown.code, Some(2), "{shown}");
    let told = shown.stdout + &shown.stderr;
    assert!(told.contains("p.toml:6:16: a step that runs on Slurm cannot be held"), "{told}");
    let cluster = Cluster::new(&step("touch {out}/x", ""));
    let shown = cluster.pipe(&["run", "p.toml", "--sandbox=strict"]);
    assert_eq!(shown.code, Some(2), "{shown}");
    let shown = cluster.pipe(&["run", "p.toml", "--sandbox=warn"]);
    assert_eq!(shown.code, Some(0), "{shown}");
    assert!(shown.stderr.contains("step runs on Slurm, where programs are not held"), "{shown}");
}

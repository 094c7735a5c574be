//! The processes in which steps run, one after the other in the same where that can be.

use serde_json::Value;

use crate::project::Project;

/// Steps in a chain; each writes the number of the worker that runs its program.
const CHAIN: &str = r#"
[stage.a]
kind = "command"
run = ["sh", "-c", "echo $PPID > {out}/worker"]
outputs = ["worker"]

[stage.b]
kind = "command"
inputs = { before = "a" }
run = ["sh", "-c", "echo $PPID > {out}/worker"]
outputs = ["worker"]

[stage.c]
kind = "command"
inputs = { before = "b" }
secrets = ["PIPE_TEST_SECRET"]
run = ["sh", "-c", "kill -9 $(cat {input.before}/worker) && echo $PPID > {out}/worker"]
outputs = ["worker"]

[stage.d]
kind = "command"
inputs = { before = "c" }
run = ["sh", "-c", "echo $PPID > {out}/worker"]
outputs = ["worker"]
"#;

#[test]
fn a_worker_runs_one_program_after_the_other_but_keeps_no_secret() {
    let project = Project::new();
    project.write("p.toml", CHAIN);
    let run = project.command(&["run", "p.toml", "-j1"]).env("PIPE_TEST_SECRET", "s3cr3t").output();
    let run = run.unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let worker = |step: &str| project.read(&format!(".pipe/latest/p/{step}/worker"));
    let [a, b, c, d] = ["a", "b", "c", "d"].map(worker);
    assert_eq!(a, b, "b runs where a ran");
    assert_ne!(b, c, "what learns a secret is a process of its own");
    // c killed the worker that waited; d is none the worse for it.
    assert!(d != b && d != c, "{a} {b} {c} {d}");
    project.wait_until_quiet();
}

#[test]
fn a_worker_that_failed_runs_nothing_more() {
    let project = Project::new();
    let failing = CHAIN.replacen("echo $PPID > {out}/worker", "echo $PPID > failed; exit 1", 1);
    let text: String =
        failing.split("[stage.c]").next().unwrap().replace(r#"inputs = { before = "a" }"#, "");
    project.write("p.toml", &text);
    let run = project.command(&["run", "p.toml", "-j1", "--keep-going"]).output().unwrap();
    assert_eq!(run.status.code(), Some(1));
    assert_ne!(project.read("failed"), project.read(".pipe/latest/p/b/worker"));
}

#[test]
fn each_step_is_told_its_own_memory_and_time() {
    let project = Project::new();
    let text = CHAIN.split("[stage.c]").next().unwrap();
    let large = "dd if=/dev/zero of=/dev/null bs=200M count=2 && echo > {out}/worker";
    project.write("p.toml", &text.replacen("echo $PPID > {out}/worker", large, 1));
    let run = project.command(&["run", "p.toml", "-j1", "--json"]).output().unwrap();
    let lines = String::from_utf8(run.stdout).unwrap();
    let ran = |name: &str| {
        let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut ran = events.filter(|event| event["event"] == "ran" && event["step"] == name);
        let ran = ran.next().unwrap_or_else(|| panic!("{name} ran: {lines}"));
        let number = |key: &str| ran[key].as_f64().unwrap_or_else(|| panic!("{key}: {ran}"));
        (number("peak-memory-bytes"), number("cpu-seconds"))
    };
    let ((memory_a, time_a), (memory_b, time_b)) = (ran("a"), ran("b"));
    assert!(memory_a > 190e6 && memory_b < 100e6, "{memory_a} {memory_b}");
    assert!(time_a > time_b && time_b >= 0.0, "{time_a} {time_b}");
}

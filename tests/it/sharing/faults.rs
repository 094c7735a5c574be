//! A server of objects that goes wrong, and secrets that must not get anywhere.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::fs;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::server::{Fault, Server};
use super::{events, steps, walk};
use crate::project::{Project, Shown, wait_for};

const ID: &str = "KEYIDENTIFIER";
const SECRET: &str = "hunter2hunter2hunter2";
const URL: &str = "s3://bucket/team";

/// Runs the command with the credentials of the server.
fn pipe(project: &Project, server: &Server, arguments: &[&str]) -> Shown {
    let mut command = project.command(arguments);
    server.environment(&mut command, ID, SECRET);
    if server.is_silent() {
        command.env("AWS_READ_TIMEOUT", "200ms");
    }
    project.shown(&command.output().unwrap())
}

/// A server with what a project has made.
fn pushed() -> (Project, Server) {
    let (project, server) = (Project::small(), Server::start());
    project.ran();
    let shown = pipe(&project, &server, &["push", "p.toml", "--remote", URL]);
    assert_eq!(shown.code, Some(0), "{shown}");
    (project, server)
}

#[test]
fn files_are_sent_once_and_manifests_last() {
    let (project, server) = pushed();
    let names = server.names();
    assert!(names.iter().all(|name| name.starts_with("bucket/team/v1/")), "{names:?}");
    assert_eq!(names.iter().filter(|name| name.contains("/results/")).count(), 3);
    assert_eq!(server.puts(), names.len());
    let shown = pipe(&project, &server, &["push", "p.toml", "--remote", URL, "--json"]);
    assert_eq!((steps(&shown, "present").len(), server.puts()), (3, 0), "{shown}");
    // Of a changed step only what is new goes.
    project.write("p.toml", &project.read("p.toml").replace("echo other", "echo another"));
    project.ran();
    let shown = pipe(&project, &server, &["push", "p.toml", "--remote", URL, "--json"]);
    assert_eq!((steps(&shown, "sent"), server.puts()), (vec!["other".to_owned()], 2), "{shown}");
    // A server that breaks down leaves no manifest without its files.
    let (other, server) = (Project::small(), Server::start());
    other.ran();
    server.fail("/objects/", Fault::HangUp);
    let shown = pipe(&other, &server, &["push", "p.toml", "--remote", URL]);
    assert_eq!((shown.code, server.names().len()), (Some(1), 0), "{shown}");
    server.recover();
    let shown = pipe(&other, &server, &["push", "p.toml", "--remote", URL]);
    assert_eq!((shown.code, server.names().len()), (Some(0), names.len()), "{shown}");
}

/// What a fresh machine shows of a server in this state: `pull`, and the one notice of `run`.
fn told(server: &Server) -> [String; 2] {
    let project = Project::small();
    let pulled = pipe(&project, server, &["pull", "p.toml", "--remote", URL]);
    assert_eq!(pulled.code, Some(1), "{pulled}");
    let ran = pipe(&project, server, &["run", "p.toml", "--remote", URL, "--json"]);
    assert_eq!((ran.code, steps(&ran, "ran").len()), (Some(0), 3), "{ran}");
    let events = events(&ran);
    let notices: Vec<_> = events.iter().filter(|event| event["event"] == "notice").collect();
    assert_eq!(notices.len(), 1, "told once: {ran}");
    [pulled.stderr, notices[0]["message"].as_str().unwrap().to_owned()]
}

#[test]
fn a_remote_that_cannot_be_used_is_told_once_and_the_run_goes_on() {
    let (_, server) = pushed();
    for (word, fault, expected) in [
        (
            "/",
            Fault::Status(403, "SignatureDoesNotMatch"),
            &["refuses the credentials (SignatureDoesNotMatch)", "AWS_SECRET_ACCESS_KEY"][..],
        ),
        ("/", Fault::Status(404, "NoSuchBucket"), &["there is no bucket `bucket`"]),
        ("/", Fault::Status(500, "InternalError"), &["500 Internal Server Error (InternalError)"]),
        ("/", Fault::HangUp, &["cannot reach s3://bucket/team: connection closed"]),
        ("/", Fault::Silence, &["cannot reach s3://bucket/team: operation timed out"]),
        ("/objects/", Fault::Truncate, &["cannot reach s3://bucket/team: "]),
    ] {
        server.fail(word, fault);
        let [pulled, noticed] = told(&server);
        for part in expected {
            assert!(pulled.contains(part) && noticed.contains(part), "{pulled}\n{noticed}");
        }
        assert!(noticed.ends_with("; the run goes on without the remote"), "{noticed}");
    }
    server.recover();
    assert_eq!(
        pipe(&Project::small(), &server, &["pull", "p.toml", "--remote", URL]).code,
        Some(0)
    );
}

#[test]
fn whoever_waits_can_be_stopped() {
    let (project, server) = pushed();
    server.fail("/", Fault::Silence);
    for arguments in [
        &["push", "p.toml", "--remote", URL][..],
        &["pull", "p.toml", "--remote", URL, "--store", "other"],
        &["run", "p.toml", "--remote", URL, "--store", "third"],
    ] {
        let before = server.heard().len();
        let mut command = project.command(arguments);
        server.environment(&mut command, ID, SECRET);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        assert!(wait_for(|| server.heard().len() > before));
        kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        let shown = project.shown(&child.wait_with_output().unwrap());
        assert_eq!(shown.code, Some(130), "{shown}");
        assert!(shown.stderr.contains("! stopping"), "{shown}");
    }
    project.wait_until_quiet();
}

#[test]
fn what_is_not_what_its_name_says_is_refused() {
    let (_, server) = pushed();
    server.damage("/objects/");
    let project = Project::small();
    let shown = pipe(&project, &server, &["run", "p.toml", "--remote", URL, "--json"]);
    assert_eq!((shown.code, steps(&shown, "ran").len()), (Some(0), 3), "{shown}");
    assert_eq!(shown.stdout.matches("does not hold the content").count(), 3, "{shown}");
    assert_eq!(project.pipe(&["store", "verify"]).code, Some(0));
}

#[test]
fn no_secret_gets_anywhere() {
    let (project, server) = pushed();
    let mut everything = Vec::new();
    for (word, fault) in [
        ("/", Fault::Status(403, "<Said>hunter2hunter2hunter2 token-hunter2hunter2hunter2")),
        ("/", Fault::Status(500, "hunter2hunter2hunter2")),
        ("/none", Fault::HangUp),
    ] {
        server.fail(word, fault);
        for arguments in [
            &["run", "p.toml", "--remote", URL, "--json", "--push", "--force"][..],
            &["push", "p.toml", "--remote", URL, "-vv", "--again"],
            &["pull", "p.toml", "--remote", URL],
        ] {
            let mut command = project.command(arguments);
            server.environment(&mut command, ID, SECRET);
            let output = command.env("PIPE_LOG", "trace").output().unwrap();
            everything.extend(output.stdout);
            everything.extend(output.stderr);
        }
    }
    assert!(!everything.is_empty());
    for path in walk(&project.path(".pipe")) {
        everything.extend(fs::read(path).unwrap_or_default());
    }
    let token = format!("token-{SECRET}");
    let sent = String::from_utf8_lossy(&server.heard()).replace(&token, "");
    assert!(sent.contains(ID), "requests are signed");
    assert!(!sent.contains(SECRET), "not even the server is told");
    let kept = String::from_utf8_lossy(&everything);
    for line in kept.lines() {
        assert!(!line.contains(SECRET) && !line.contains(ID), "{line}");
    }
}

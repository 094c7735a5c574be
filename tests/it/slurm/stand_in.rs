//! Stand-ins for `sbatch`, `squeue`, `scancel` and `scontrol requeue`: small shell scripts that run
//! jobs on this machine, so that tests need no Slurm. `scripts/check-slurm` does the same against a
//! real one.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::project::{Project, Shown};

/// A project whose `PATH` begins with the stand-ins.
pub(super) struct Cluster {
    pub(super) project: Project,
}

impl Cluster {
    /// A project with a pipeline.
    pub(super) fn new(pipeline: &str) -> Self {
        let project = Project::new();
        project.write("p.toml", pipeline);
        Self::of(project)
    }

    /// Puts the stand-ins beside a project.
    pub(super) fn of(project: Project) -> Self {
        fs::create_dir(project.path("jobs")).unwrap();
        let scripts = [("sbatch", SBATCH), ("squeue", SQUEUE), ("scancel", SCANCEL)];
        let more = [("requeue", REQUEUE), ("start", START), ("signal", SIGNAL)];
        for (name, text) in scripts.into_iter().chain(more) {
            project.write(&format!("bin/{name}"), text);
            let path = project.path(&format!("bin/{name}"));
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { project }
    }

    fn around(&self, mut command: Command) -> Command {
        let mut path = self.project.path("bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        command.env("PATH", path).env("STAND_IN", self.project.path("jobs"));
        command
    }

    /// Runs `pipe` to its end.
    pub(super) fn pipe(&self, arguments: &[&str]) -> Shown {
        let output = self.around(self.project.command(arguments)).output().unwrap();
        self.project.shown(&output)
    }

    /// Starts `pipe`, its output kept.
    pub(super) fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.around(self.project.command(arguments));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs one of the stand-ins.
    pub(super) fn call(&self, program: &str, argument: &str) {
        let path = self.project.path(&format!("bin/{program}"));
        let mut command = self.around(Command::new(path));
        assert!(command.arg(argument).stdin(Stdio::null()).status().unwrap().success());
    }

    /// Makes a mark that the stand-ins look for: `hold`, and jobs stay in the queue; `away`, and no
    /// stand-in answers.
    pub(super) fn mark(&self, name: &str, set: bool) {
        let path = self.project.path(&format!("jobs/{name}"));
        if set { fs::write(path, "").unwrap() } else { fs::remove_file(path).unwrap() }
    }

    /// What is kept of a job: `name`, `options`, `state`.
    pub(super) fn of_job(&self, number: usize, what: &str) -> String {
        let path = self.project.path(&format!("jobs/{number}/{what}"));
        fs::read_to_string(path).unwrap_or_default().trim_end().to_owned()
    }

    /// Every record of a job that is kept in the store.
    pub(super) fn records(&self) -> Vec<PathBuf> {
        let keys = fs::read_dir(self.project.path(".pipe/slurm")).into_iter().flatten().flatten();
        let jobs = keys.flat_map(|key| fs::read_dir(key.path()).into_iter().flatten().flatten());
        jobs.map(|job| job.path()).collect()
    }
}

const SBATCH: &str = r#"#!/bin/sh
# Stand-in for sbatch.
[ ! -e "$STAND_IN/away" ] || { echo "sbatch: error: Unable to contact slurm controller" >&2; exit 1; }
for option; do
    case $option in
    --job-name=*) name=${option#*=} ;;
    --chdir=*) directory=${option#*=} ;;
    --partition=nowhere) echo "sbatch: error: invalid partition specified: nowhere" >&2; exit 1 ;;
    esac
done
id=1
while ! mkdir "$STAND_IN/$id" 2>/dev/null; do id=$((id + 1)); done
job=$STAND_IN/$id
cat >"$job/script"
echo "$name" >"$job/name"
echo "$*" >"$job/options"
echo "PENDING|Resources" >"$job/state"
cd "$directory" || exit 1
"$(dirname "$0")/start" "$id" >/dev/null 2>&1 </dev/null &
echo "$id"
"#;

/// Runs a job and keeps its state; what `slurmctld` and `slurmd` do.
const START: &str = r#"#!/bin/sh
job=$STAND_IN/$1
while [ -e "$STAND_IN/hold" ]; do
    [ ! -e "$job/cancelled" ] || { echo "CANCELLED|None" >"$job/state"; exit; }
    sleep 0.05
done
rm -f "$job/requeued"
SLURM_JOB_ID=$1 SLURMD_NODENAME=stand-in SLURM_RESTART_COUNT=$2 setsid sh "$job/script" &
echo $! >"$job/session"
echo "RUNNING|None" >"$job/state"
wait $!
code=$?
if [ -e "$job/requeued" ]; then
    echo "PENDING|BeginTime" >"$job/state"
elif [ -e "$job/cancelled" ]; then
    echo "CANCELLED|None" >"$job/state"
elif [ "$code" = 0 ]; then
    echo "COMPLETED|None" >"$job/state"
else
    echo "FAILED|NonZeroExitCode" >"$job/state"
fi
"#;

/// Sends a signal to every process of a session.
const SIGNAL: &str = r#"#!/bin/sh
signal=$1 session=$2
for process in /proc/[0-9]*; do
    { read -r line <"$process/stat"; } 2>/dev/null || continue
    set -- ${line##*) }
    [ "$4" != "$session" ] || kill -s "$signal" "${process#/proc/}" 2>/dev/null
done
true
"#;

const SQUEUE: &str = r#"#!/bin/sh
# Stand-in for squeue.
[ ! -e "$STAND_IN/away" ] || { echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; }
name= all=
for option; do
    case $option in
    --name=*) name=${option#*=} ;;
    --states=all) all=yes ;;
    esac
done
for job in "$STAND_IN"/[0-9]*; do
    [ -e "$job/state" ] || continue
    [ -z "$name" ] || [ "$name" = "$(cat "$job/name")" ] || continue
    state=$(cat "$job/state")
    case $all$state in
    PENDING* | RUNNING* | yes*) echo "$(basename "$job")|$state" ;;
    esac
done
"#;

const SCANCEL: &str = r#"#!/bin/sh
# Stand-in for scancel.
[ ! -e "$STAND_IN/away" ] || { echo "scancel: error: Unable to contact slurm controller" >&2; exit 1; }
name= signal=TERM
for option; do
    case $option in
    --name=*) name=${option#*=} ;;
    --signal=*) signal=${option#*=} ;;
    esac
done
for job in "$STAND_IN"/[0-9]*; do
    [ "$name" = "$(cat "$job/name")" ] || continue
    case $(cat "$job/state") in
    PENDING*) touch "$job/cancelled" ;;
    RUNNING*) touch "$job/cancelled"; "$(dirname "$0")/signal" "$signal" "$(cat "$job/session")" ;;
    esac
done
"#;

const REQUEUE: &str = r#"#!/bin/sh
# Stand-in for scontrol requeue.
touch "$STAND_IN/$1/requeued"
"$(dirname "$0")/signal" TERM "$(cat "$STAND_IN/$1/session")"
while [ "$(cat "$STAND_IN/$1/state")" != "PENDING|BeginTime" ]; do sleep 0.05; done
"$(dirname "$0")/start" "$1" 1 >/dev/null 2>&1 </dev/null &
"#;

//! Stand-ins for `sbatch`, `squeue`, `scancel` and `scontrol requeue`: small shell scripts that run
//! jobs on this machine, so that tests need no Slurm. `scripts/check-slurm` does the same against a
//! real one.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::fmt::Display;
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
        let more =
            [("requeue", REQUEUE), ("start", START), ("signal", SIGNAL), ("overdue", OVERDUE)];
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

    /// The command `pipe`.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        self.around(self.project.command(arguments))
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
    pub(super) fn of_job(&self, number: impl Display, what: &str) -> String {
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
    --array=*) array=${option#*=} ;;
    --partition=nowhere) echo "sbatch: error: invalid partition specified: nowhere" >&2; exit 1 ;;
    esac
done
id=1
while ! mkdir "$STAND_IN/$id" 2>/dev/null; do id=$((id + 1)); done
cat >"$STAND_IN/$id/script"
echo "$*" >"$STAND_IN/$id/options"
jobs=$id
case $array in
*%*) echo "${array#*%}" >"$STAND_IN/$id/limit" ;;
esac
[ -z "$array" ] || jobs=
for range in $(echo "${array%\%*}" | tr , ' '); do
    for task in $(seq "${range%-*}" "${range#*-}"); do jobs="$jobs ${id}_$task"; done
done
cd "$directory" || exit 1
for job in $jobs; do
    mkdir -p "$STAND_IN/$job"
    cp -n "$STAND_IN/$id/script" "$STAND_IN/$job/script"
    echo "$name" >"$STAND_IN/$job/name"
    echo "PENDING|Resources" >"$STAND_IN/$job/state.new"
    mv "$STAND_IN/$job/state.new" "$STAND_IN/$job/state"
    "$(dirname "$0")/start" "$job" >/dev/null 2>&1 </dev/null &
done
echo "$id"
"#;

/// Runs a job and keeps its state; what `slurmctld` and `slurmd` do.
const START: &str = r#"#!/bin/sh
job=$STAND_IN/$1
become() { echo "$1" >"$job/state.new" && mv "$job/state.new" "$job/state"; }
while [ -e "$STAND_IN/hold" ]; do
    [ ! -e "$job/cancelled" ] || { become "CANCELLED|None"; exit; }
    sleep 0.05
done
rm -f "$job/requeued"
array=$STAND_IN/${1%_*} slot=
if [ -e "$array/limit" ]; then
    until mkdir "$array/slot.$slot" 2>/dev/null; do
        [ ! -e "$job/cancelled" ] || { become "CANCELLED|None"; exit; }
        slot=$((slot % $(cat "$array/limit") + 1))
        sleep 0.02
    done
    echo "$1" >>"$array/turns"
fi
case $1 in
*_*) export SLURM_ARRAY_TASK_ID="${1#*_}" ;;
esac
SLURM_JOB_ID=$1 SLURMD_NODENAME=stand-in SLURM_RESTART_COUNT=$2 setsid sh "$job/script" &
echo $! >"$job/session"
become "RUNNING|None"
wait $!
code=$?
[ -z "$slot" ] || rmdir "$array/slot.$slot"
if [ -e "$job/requeued" ]; then
    become "PENDING|BeginTime"
elif [ -e "$job/overdue" ]; then
    become "TIMEOUT|TimeLimit"
elif [ -e "$job/cancelled" ]; then
    become "CANCELLED|None"
elif [ "$code" = 0 ]; then
    become "COMPLETED|None"
else
    become "FAILED|NonZeroExitCode"
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
[ ! -e "$STAND_IN/slow" ] || sleep 1.5
name= all= short=
for option; do
    case $option in
    --name=*) name=${option#*=} ;;
    --states=all) all=yes ;;
    --format=%i) short=yes ;;
    esac
done
for job in "$STAND_IN"/[0-9]*; do
    [ -e "$job/state" ] || continue
    [ -z "$name" ] || [ "$name" = "$(cat "$job/name")" ] || continue
    state=$(cat "$job/state")
    case $all$state in
    PENDING* | RUNNING* | yes*)
        [ -z "$short" ] || state=
        echo "$(basename "$job")${state:+"|$state"}"
        ;;
    esac
done
"#;

const SCANCEL: &str = r#"#!/bin/sh
# Stand-in for scancel.
[ ! -e "$STAND_IN/away" ] || { echo "scancel: error: Unable to contact slurm controller" >&2; exit 1; }
name= signal=TERM which=
for option; do
    case $option in
    --name=*) name=${option#*=} ;;
    --signal=*) signal=${option#*=} ;;
    [0-9]*) which="$which $option " ;;
    esac
done
for job in "$STAND_IN"/[0-9]*; do
    [ -e "$job/state" ] || continue
    [ -z "$name" ] || [ "$name" = "$(cat "$job/name")" ] || continue
    case $which in
    '') ;;
    *" $(basename "$job") "*) ;;
    *) continue ;;
    esac
    case $(cat "$job/state") in
    PENDING*) touch "$job/cancelled" ;;
    RUNNING*) touch "$job/cancelled"; "$(dirname "$0")/signal" "$signal" "$(cat "$job/session")" ;;
    esac
done
"#;

/// What a controller does with a job that has reached its time limit.
const OVERDUE: &str = r#"#!/bin/sh
touch "$STAND_IN/$1/overdue"
"$(dirname "$0")/signal" TERM "$(cat "$STAND_IN/$1/session")"
"#;

const REQUEUE: &str = r#"#!/bin/sh
# Stand-in for scontrol requeue; where there is `late`, squeue tells how the job is once it has run again.
touch "$STAND_IN/$1/requeued"
[ ! -e "$STAND_IN/late" ] || touch "$STAND_IN/slow"
"$(dirname "$0")/signal" TERM "$(cat "$STAND_IN/$1/session")"
while [ "$(cat "$STAND_IN/$1/state")" != "PENDING|BeginTime" ]; do sleep 0.05; done
[ ! -e "$STAND_IN/late" ] || sleep 0.8
"$(dirname "$0")/start" "$1" 1 >/dev/null 2>&1 </dev/null &
"#;

//! One job, or an array of them, handed to Slurm.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::array::{Task, range};
use super::controller;
use super::follow::Submission;
use super::start;
use crate::process::Workers;
use crate::worker;

/// How long to wait before another try, when Slurm did not take an order.
const AGAIN: Duration = Duration::from_secs(1);
/// How long to go on trying to submit while the controller is away.
const SUBMIT: Duration = Duration::from_secs(120);

/// Submits `tasks`, again and again while the controller is away; `None` when the run was stopped
/// meanwhile.
pub(super) fn submit(
    workers: &Workers,
    submission: &Submission<'_>,
    name: &str,
    tasks: &[Task],
) -> io::Result<Option<String>> {
    let mut options = Vec::from([
        "--parsable".to_owned(),
        "--requeue".to_owned(),
        "--export=ALL".to_owned(),
        "--output=/dev/null".to_owned(),
        format!("--job-name={name}"),
        format!("--chdir={}", plain(submission.root)?),
    ]);
    if tasks.len() > 1 {
        options.push(format!("--array={}", range(tasks, submission.order.at_once)));
    }
    options.extend(submission.order.options());
    let script = script(submission, tasks)?;
    let begin = Instant::now();
    let mut again = false;
    loop {
        if workers.is_stopping() {
            return Ok(None);
        }
        // What seemed to fail may have been taken.
        if again && let Ok(Some(id)) = controller::find(name) {
            return Ok(Some(id));
        }
        match controller::submit(&options, &script) {
            Err(error) if controller::is_passing(&error) && begin.elapsed() < SUBMIT => {
                tracing::warn!("{error}");
                again = true;
                std::thread::sleep(AGAIN);
            }
            Err(error) if tasks.len() > 1 && error.to_string().contains("array") => {
                let message = format!("{error} (`executor.slurm.array = false` makes single jobs)");
                return Err(io::Error::other(message));
            }
            other => return other.map(Some),
        }
    }
}

/// A name for a job, of which there is no other.
pub(super) fn name(step: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let step: String = step.chars().take(40).map(plain).collect();
    let now = jiff::Timestamp::now().as_nanosecond();
    format!("pipe-{step}-{}-{now:x}", std::process::id())
}

/// What the node runs: the very program that runs here, which must lie where the node sees it.
fn script(submission: &Submission<'_>, tasks: &[Task]) -> io::Result<String> {
    let program = std::env::current_exe()?;
    if !program.exists() {
        let message = format!("{} was replaced while it ran: run it again", program.display());
        return Err(io::Error::other(message));
    }
    let mut choices = String::new();
    for task in tasks {
        // A job that is alone has no number.
        let number = if tasks.len() > 1 { task.index.to_string() } else { "*".to_owned() };
        let (directory, log) = (quote(&task.directory)?, quote(&task.log)?);
        choices += &format!("{number}) directory={directory} log={log} ;;\n");
    }
    Ok(format!(
        "#!/bin/sh\n\
         case \"$SLURM_ARRAY_TASK_ID\" in\n\
         {choices}esac\n\
         [ -e \"$directory\"/{description} ] || exit 0\n\
         exec 2>>\"$log\"\n\
         cd {root} || exit 1\n\
         export RAYON_NUM_THREADS={threads}\n\
         exec {program} {subcommand} --job \"$directory\"\n",
        description = start::DESCRIPTION,
        root = quote(submission.root)?,
        threads = submission.job.threads,
        program = quote(&program)?,
        subcommand = worker::SUBCOMMAND,
    ))
}

fn plain(path: &Path) -> io::Result<&str> {
    path.to_str().ok_or_else(|| {
        let message = format!("{} is not UTF-8, which Slurm needs", path.display());
        io::Error::other(message)
    })
}

fn quote(path: &Path) -> io::Result<String> {
    Ok(format!("'{}'", plain(path)?.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_never_the_same() {
        let (one, two) = (name("train@lr=0.1,k=2"), name("train@lr=0.1,k=2"));
        assert!(one.starts_with("pipe-train-lr-0-1-k-2-"), "{one}");
        assert_ne!(one, two);
    }

    #[test]
    fn a_path_is_quoted_for_the_shell() {
        let quoted = quote(Path::new("/a b/it's $HOME")).unwrap();
        let output =
            std::process::Command::new("sh").args(["-c", &format!("printf %s {quoted}")]).output();
        assert_eq!(output.unwrap().stdout, b"/a b/it's $HOME");
    }
}

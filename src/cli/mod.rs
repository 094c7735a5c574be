//! The command line: one file per command, and what they share.

mod check;
mod clean;
mod completions;
mod diff;
mod graph;
mod init;
mod kinds;
mod lock;
mod log;
mod man;
mod metrics;
mod paint;
mod plan;
mod problems;
mod pull;
mod push;
mod quantity;
mod remote;
mod report;
mod run;
mod runs;
mod schema;
mod show;
mod store;
mod target;
mod visible;
mod watch;
mod why;

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{ArgAction, Parser, Subcommand};
use pipe::Problems;
use pipe::environment::secret::Masked;
use pipe::lost_lines::NeverFailing;
use tracing_subscriber::EnvFilter;

/// Nothing is out of date, or everything that was has been made.
pub(crate) const SUCCESS: u8 = 0;
/// A step failed, or the store cannot be used.
pub(crate) const FAILED: u8 = 1;
/// The command line or the pipeline file is wrong.
pub(crate) const USAGE: u8 = 2;
/// Stopped by Ctrl-C or a signal.
pub(crate) const INTERRUPTED: u8 = 130;

/// A declarative, content-cached pipeline runner for face recognition.
#[derive(Parser)]
#[command(name = "pipe", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 everything is up to date, 1 a step failed, 2 wrong usage or pipeline file,
130 interrupted, 101 a bug in pipe.";

/// Options that every command takes.
#[derive(clap::Args)]
pub(crate) struct Global {
    /// Work in this directory, and take it as the project root
    ///
    /// Without it the root is the nearest directory upwards that holds `.pipe/`, else the working
    /// directory. Relative paths in a pipeline file start at the root.
    #[arg(short = 'C', value_name = "DIR", global = true)]
    directory: Option<PathBuf>,
    /// Where results are kept [default: .pipe in the project root]
    #[arg(long, value_name = "DIR", global = true)]
    store: Option<PathBuf>,
    /// Tell more; twice for the engine's own log (see also PIPE_LOG)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Tell only what went wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Run),
    Watch(watch::Watch),
    Plan(plan::Plan),
    Why(why::Why),
    Log(log::Log),
    Show(show::Show),
    Metrics(metrics::Metrics),
    Runs(runs::Runs),
    Diff(diff::Diff),
    Lock(lock::Lock),
    Push(push::Push),
    Pull(pull::Pull),
    Store(store::Store),
    /// Tell every problem of pipeline files; nothing runs
    Check(check::Arguments),
    /// Draw a pipeline
    Graph(graph::Arguments),
    /// Tell every kind of stage, its inputs and its parameters
    Kinds(kinds::Arguments),
    /// Make a project to start from; what is there is left as it is
    Init(init::Arguments),
    /// Print the JSON Schema of a pipeline file, for editors
    Schema,
    /// Print a script that lets a shell complete the command line
    Completions(completions::Arguments),
    /// Print the manual page, or write those of all commands
    Man(man::Arguments),
    /// Does the work of one step (started by `run`)
    #[command(name = pipe::worker::SUBCOMMAND, hide = true)]
    Worker {
        /// Where the job lies of which a node of a cluster does the work
        #[arg(long, value_name = "DIRECTORY")]
        job: Option<PathBuf>,
    },
    /// Ends what a killed run left behind (started by `run`)
    #[command(name = pipe::guard::SUBCOMMAND, hide = true)]
    Guard,
}

/// Why a command did not succeed.
pub(crate) enum Failure {
    /// The pipeline file is wrong, or names on the command line that it does not have.
    Problems(Problems),
    /// The command line asks for something that cannot be, with a hint at what can.
    Usage(String),
    /// Anything else; read by people only.
    Failed(anyhow::Error),
    /// Whoever read the output has gone; nobody is left to tell.
    Closed,
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Problems(problems)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(error.into()),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::BrokenPipe) => Self::Closed,
            _ => Self::Failed(error),
        }
    }
}

/// Where a project is and where its results are, as absolute paths.
pub(crate) struct Project {
    /// Relative paths of pipeline files start here.
    pub(crate) root: PathBuf,
    /// The store.
    pub(crate) store: PathBuf,
}

impl Global {
    /// Finds the project of the working directory; [`main`] has applied `-C` before.
    pub(crate) fn project(&self) -> Result<Project, Failure> {
        let here = std::env::current_dir().context("cannot find the working directory")?;
        let root = match self.directory {
            Some(_) => here.clone(),
            None => project_root(&here).to_owned(),
        };
        let store = self.store.as_ref().map_or_else(|| root.join(".pipe"), |at| here.join(at));
        Ok(Project { root, store })
    }
}

/// The nearest directory upwards that holds `.pipe/`, else the directory itself.
fn project_root(here: &Path) -> &Path {
    here.ancestors().find(|directory| directory.join(".pipe").is_dir()).unwrap_or(here)
}

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_log(&arguments);
    let result = arguments.global.enter().and_then(|()| arguments.command.run(&arguments.global));
    ExitCode::from(match result {
        Ok(code) => code,
        Err(Failure::Closed) => SUCCESS,
        Err(Failure::Problems(found)) => {
            // If the terminal is gone there is nobody left to tell.
            problems::show(&found).ok();
            USAGE
        }
        Err(Failure::Usage(message)) => {
            complain(&message);
            USAGE
        }
        Err(Failure::Failed(error)) => {
            complain(&format!("{error:#}"));
            FAILED
        }
    })
}

impl Global {
    fn enter(&self) -> Result<(), Failure> {
        let Some(directory) = &self.directory else { return Ok(()) };
        std::env::set_current_dir(directory)
            .map_err(|error| Failure::Usage(format!("-C {}: {error}", directory.display())))
    }
}

impl Command {
    fn run(&self, global: &Global) -> Result<u8, Failure> {
        match self {
            Self::Run(command) => command.run(global),
            Self::Watch(command) => command.run(global),
            Self::Plan(command) => command.run(global),
            Self::Why(command) => command.run(global),
            Self::Log(command) => command.run(global),
            Self::Show(command) => command.run(global),
            Self::Metrics(command) => command.run(global),
            Self::Runs(command) => command.run(global),
            Self::Diff(command) => command.run(global),
            Self::Lock(command) => command.run(global),
            Self::Push(command) => command.run(global),
            Self::Pull(command) => command.run(global),
            Self::Store(command) => command.run(global),
            Self::Check(arguments) => check::run(arguments, global),
            Self::Graph(arguments) => graph::run(arguments),
            Self::Kinds(arguments) => kinds::run(arguments),
            Self::Init(arguments) => init::run(arguments),
            Self::Schema => schema::run(),
            Self::Completions(arguments) => completions::run(arguments),
            Self::Man(arguments) => man::run(arguments),
            Self::Worker { job } => {
                let succeeded = match job {
                    Some(directory) => pipe::slurm::start::run(directory)?,
                    None => pipe::worker::run()?,
                };
                Ok(if succeeded { SUCCESS } else { FAILED })
            }
            Self::Guard => {
                pipe::guard::run(io::stdin().lock())?;
                Ok(SUCCESS)
            }
        }
    }
}

/// Writes an error to the terminal; if that is gone too there is nobody left to tell.
pub(crate) fn complain(message: &str) {
    writeln!(io::stderr(), "pipe: {}", visible::visible(message)).ok();
}

/// The crates that talk to remotes, whose own logs show what is sent; what went wrong, we say.
const TALKATIVE: [&str; 8] = [
    "h2",
    "hyper",
    "hyper_util",
    "object_store",
    "reqwest",
    "rustls",
    "rustls_platform_verifier",
    "tower",
];

/// Sends the log of the engine to the terminal: warnings, more with `-v`, or as PIPE_LOG says.
///
/// The log of a worker is kept as a file, so it has times and no colours.
fn start_log(arguments: &Arguments) {
    let worker = matches!(arguments.command, Command::Worker { .. });
    let default = match arguments.global.verbose {
        _ if worker => "info",
        0 | 1 => "warn",
        _ => "pipe=debug,cache=debug,info",
    };
    let filter = std::env::var("PIPE_LOG").unwrap_or_else(|_| default.to_owned());
    // Whoever asks for everything does not ask for what shows credentials: headers and keys.
    let silent = TALKATIVE.iter().map(|name| format!(",{name}=off")).collect::<String>();
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter + &silent))
        .with_writer(|| NeverFailing(Masked(io::stderr())))
        .with_target(!worker)
        .with_ansi(!worker && colour_wanted(&io::stderr()));
    if worker {
        log.with_timer(tracing_subscriber::fmt::time::uptime()).init();
    } else {
        log.without_time().init();
    }
}

/// Tells whether to write colours: to a terminal that can, unless NO_COLOR is set.
pub(crate) fn colour_wanted(stream: &impl io::IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == OsStr::new("dumb"));
    !set("NO_COLOR") && (set("CLICOLOR_FORCE") || stream.is_terminal() && !dumb)
}

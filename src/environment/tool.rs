//! Asks a program what it is: `python3 --version`.

use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::problem::{Place, Problem};
use crate::suggest::quoted;

/// How long a tool may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the end of what it said is waited for when it has ended.
const REST: Duration = Duration::from_secs(1);
/// How often it is looked whether a tool has ended.
const TICK: Duration = Duration::from_millis(2);
/// How much of an answer is read.
const LONGEST: u64 = 64 << 10;
/// How many tools are asked at once.
const AT_ONCE: usize = 16;

/// A program and its arguments, whose answer tells its version.
#[derive(Clone, Debug)]
pub struct Tool {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// Where the pipeline file names it.
    pub place: Place,
}

impl Tool {
    /// Its words in one line; two tools have the same name only if they are the same.
    #[must_use]
    pub fn name(&self) -> String {
        let plain = |word: &str| {
            !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c == '"')
        };
        let words = self.words.iter();
        let words = words.map(|word| if plain(word) { word.clone() } else { format!("{word:?}") });
        words.collect::<Vec<_>>().join(" ")
    }
}

/// Asks tools, several at once; the answers are in the order of the tools.
pub(super) fn ask_all<'a>(
    tools: impl Iterator<Item = &'a Tool>,
    root: &Path,
) -> Vec<Result<String, Problem>> {
    let tools: Vec<&Tool> = tools.collect();
    let mut answers = Vec::with_capacity(tools.len());
    for some in tools.chunks(AT_ONCE) {
        thread::scope(|scope| {
            let asked: Vec<_> =
                some.iter().map(|tool| scope.spawn(move || ask(tool, root))).collect();
            answers.extend(asked.into_iter().map(|asked| {
                asked.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }));
        });
    }
    answers
}

/// Runs a tool and returns what it says: on standard output, else on standard error.
fn ask(tool: &Tool, root: &Path) -> Result<String, Problem> {
    let name = quoted(&tool.name());
    let (program, arguments) =
        tool.words.split_first().ok_or_else(|| Problem::new("a tool without a name"))?;
    let kept =
        |name: &str| ["PATH", "HOME", "TMPDIR", "LANG"].contains(&name) || name.starts_with("LC_");
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| kept(&name.to_string_lossy())))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                let problem = Problem::new(format!("there is no program {}", quoted(program)));
                problem.help("`tools` asks it for its version; it is looked for in `PATH`")
            }
            _ => Problem::new(format!("cannot start {}: {error}", quoted(program))),
        })?;
    let (said, complained) = (listen(child.stdout.take()), listen(child.stderr.take()));
    let status =
        wait(&mut child).map_err(|error| Problem::new(format!("cannot ask {name}: {error}")))?;
    // What it left running outside its group may hold a stream open for ever.
    let [said, complained] =
        [said, complained].map(|stream| stream.recv_timeout(REST).unwrap_or_default());
    let (said, complained) = (text(&said), text(&complained));
    match status {
        None => {
            let message = format!("{name} did not end within {} s", PATIENCE.as_secs());
            Err(Problem::new(message).help("`tools` asks programs for their versions"))
        }
        Some(status) if !status.success() => {
            let problem = Problem::new(format!("{name} failed: {status}"));
            let last = said.lines().chain(complained.lines()).next_back().map(str::to_owned);
            Err(match last {
                Some(last) => problem.help(format!("it said: {last}")),
                None => problem.help("`tools` asks programs for their versions"),
            })
        }
        Some(_) if said.is_empty() && complained.is_empty() => {
            Err(Problem::new(format!("{name} said nothing"))
                .help("what it says is part of the key"))
        }
        Some(_) if said.is_empty() => Ok(complained),
        Some(_) => Ok(said),
    }
}

/// Reads a stream in a thread of its own, so that a full pipe stops nobody.
fn listen(stream: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What was read before an error still tells something.
            stream.by_ref().take(LONGEST).read_to_end(&mut bytes).ok();
            std::io::copy(&mut stream, &mut std::io::sink()).ok();
        }
        // Whoever asked may have stopped waiting.
        sender.send(bytes).ok();
    });
    receiver
}

/// Waits for the end of a program, then ends all that it started; `None` when it took too long.
fn wait(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    let group = Pid::from_raw(i32::try_from(child.id()).expect("the system's own process ids fit"));
    let begin = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if begin.elapsed() > PATIENCE => break None,
            None => thread::sleep(TICK),
        }
    };
    // There may be nothing left to end.
    killpg(group, Signal::SIGKILL).ok();
    if status.is_none() {
        child.wait()?;
    }
    Ok(status)
}

fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim().to_owned()
}

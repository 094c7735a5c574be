//! What a run, a push or a pull looks like: on a terminal, in a plain log, and as JSON lines.

mod json;
mod lines;
mod pace;
mod plain;
mod terminal;

use std::io::{self, IsTerminal as _};

use pipe::event::Observer;

use super::Global;
use super::paint::Paint;
use super::quantity;
use super::target::Target;
use json::Json;
use lines::Lines;
use plain::Plain;
use terminal::Terminal;

/// Chooses who shows what happens to a pipeline; `goals` are the steps whose results are told at the
/// end.
pub(crate) fn observer(
    json: bool,
    global: &Global,
    target: &Target,
    goals: Vec<String>,
) -> Box<dyn Observer> {
    if json {
        return Box::new(Json::new(io::BufWriter::new(io::stdout())));
    }
    let lines = Lines::new(Paint::of(&io::stderr()), target.shown(), goals)
        .volume(global.verbose > 0, global.quiet);
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    if io::stderr().is_terminal() && !dumb {
        Box::new(Terminal::new(lines))
    } else {
        Box::new(Plain::new(io::stderr(), lines))
    }
}

/// How much of something is done, of how much if that is known.
fn amount(done: u64, total: u64, unit: &str) -> String {
    match (unit, total) {
        ("bytes", 0) => quantity::bytes(done),
        ("bytes", _) => format!("{} of {}", quantity::bytes(done), quantity::bytes(total)),
        (_, 0) => format!("{done} {unit}"),
        _ => format!("{done}/{total} {unit}"),
    }
}

/// How much of something is done in a second.
fn speed(rate: f64, unit: &str) -> String {
    match unit {
        "bytes" => format!("{}/s", quantity::bytes(rate as u64)),
        _ => format!("{}/s", quantity::figure(rate)),
    }
}

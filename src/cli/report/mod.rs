//! What a run looks like: on a terminal, in a plain log, and as JSON lines.

mod json;
mod lines;
mod pace;
mod plain;
mod terminal;

pub(crate) use json::Json;
pub(crate) use lines::Lines;
pub(crate) use plain::Plain;
pub(crate) use terminal::Terminal;

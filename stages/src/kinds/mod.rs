//! Every kind of stage, one file each, and the table that makes them known.

mod classify;
mod command;
mod embed;
mod preprocess;
mod stats;
mod submit;
mod synthesize;
mod threshold;
pub(crate) mod train;
mod verify;

use crate::kind::Kind;

pub use command::{literal, program_file};

/// Every kind of stage, in the order in which a pipeline usually has them.
pub const KINDS: &[Kind] = &[
    Kind::of::<synthesize::Synthesize>(),
    Kind::of::<preprocess::Preprocess>(),
    Kind::of::<stats::Stats>(),
    Kind::of::<train::Train>(),
    Kind::of::<classify::Classify>(),
    Kind::of::<embed::Embed>(),
    Kind::of::<threshold::Threshold>(),
    Kind::of::<verify::Verify>(),
    Kind::of::<submit::Submit>(),
    Kind::of::<command::Command>(),
];

/// Finds a kind by its name in pipeline files.
#[must_use]
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

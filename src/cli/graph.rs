//! `pipe graph`: a pipeline as a picture.

use std::io::{self, Write as _};
use std::path::PathBuf;

use pipe::graph::{Graph, dot, mermaid, svg};
use pipe::{Pipeline, Plan};

use super::target::Overrides;
use super::{Failure, SUCCESS};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A pipeline file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The language of the picture
    #[arg(long, value_enum, default_value_t = Format::Svg)]
    format: Format,
    #[command(flatten)]
    changes: Overrides,
}

/// A language of pictures.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For Graphviz
    Dot,
    /// For Markdown pages that draw Mermaid
    Mermaid,
    /// For any browser
    Svg,
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let plan =
        Plan::new(Pipeline::load_without_data(&arguments.file, &arguments.changes.changes())?)?;
    let graph = Graph::of(&plan);
    let text = match arguments.format {
        Format::Dot => dot(&graph),
        Format::Mermaid => mermaid(&graph),
        Format::Svg => svg(&graph),
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(SUCCESS)
}

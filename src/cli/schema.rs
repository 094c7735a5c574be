//! `pipe schema`: the JSON Schema of a pipeline file, for editors.

use std::io::{self, Write as _};

use stages::kinds::KINDS;

use super::{Failure, SUCCESS};

pub(crate) fn run() -> Result<u8, Failure> {
    io::stdout().write_all(text().as_bytes())?;
    Ok(SUCCESS)
}

/// The schema as a file has it.
pub(crate) fn text() -> String {
    format!("{:#}\n", pipe::editor_schema::schema_of_file(KINDS))
}

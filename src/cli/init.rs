//! `pipe init`: a project to start from; what is there is left as it is.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::{Failure, SUCCESS, schema};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where [default: the working directory]
    #[arg(value_name = "DIR", default_value = ".", hide_default_value = true)]
    project: PathBuf,
}

/// How the pipelines of the repository call the program, and how who has it installed does.
const CALLS: [&str; 2] = ["cargo run --release -- ", "cargo run --release --features cuda -- "];

/// A file of the project, what it is, and what stands in it.
struct Starter {
    path: &'static str,
    about: &'static str,
    text: fn() -> String,
}

const STARTERS: &[Starter] = &[
    Starter {
        path: "pipelines/verify.toml",
        about: "the whole job on synthesized faces; needs no data",
        text: || as_installed(include_str!("../../pipelines/verify.toml")),
    },
    Starter {
        path: "pipelines/smoke.toml",
        about: "the same in a second, to try things out",
        text: || as_installed(include_str!("../../pipelines/smoke.toml")),
    },
    Starter {
        path: "pipelines/faces.toml",
        about: "the same on photographs of your own",
        text: || as_installed(include_str!("../../pipelines/faces.toml")),
    },
    Starter {
        path: "pipelines/hw2p2.toml",
        about: "the same on the data of the course, on a GPU",
        text: || as_installed(include_str!("../../pipelines/hw2p2.toml")),
    },
    Starter {
        path: "pipelines/pipe.schema.json",
        about: "what a pipeline may say, for editors (`pipe schema`)",
        text: schema::text,
    },
    Starter {
        path: ".taplo.toml",
        about: "tells editors with Even Better TOML of it",
        text: || TAPLO.to_owned(),
    },
    Starter {
        path: ".gitignore",
        about: "keeps results out of git",
        text: || "# Results of pipe\n/.pipe/\n".to_owned(),
    },
];

const TAPLO: &str = "\
[[rule]]
include = [\"pipelines/*.toml\"]

[rule.schema]
path = \"./pipelines/pipe.schema.json\"
";

fn as_installed(text: &str) -> String {
    CALLS.iter().fold(text.to_owned(), |text, call| text.replace(call, "pipe "))
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let directory = &arguments.project;
    let longest = STARTERS.iter().map(|starter| starter.path.len()).max().unwrap_or_default();
    let mut told = String::new();
    for Starter { path, about, text } in STARTERS {
        let wrote = write_new(&directory.join(path), &text())?;
        let word = if wrote { "wrote" } else { "kept" };
        told.push_str(&format!("  {word:5}  {path:longest$}  {about}\n"));
    }
    let enter = match directory.as_path() == Path::new(".") {
        true => String::new(),
        false => format!("cd {} && ", directory.display()),
    };
    told.push_str(&format!("\nnext: {enter}pipe run pipelines/verify.toml\n"));
    io::stdout().write_all(told.as_bytes())?;
    Ok(SUCCESS)
}

/// Writes a file unless there is one, or anything else of that name.
fn write_new(path: &Path, text: &str) -> anyhow::Result<bool> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    let failed = || format!("cannot write {}", path.display());
    let mut file = match File::create_new(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(error).with_context(failed),
    };
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a file would be kept by the next try.
        fs::remove_file(path).ok();
    }
    written.with_context(failed)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pipeline_of_the_repository_is_in_the_project() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
        for file in fs::read_dir(folder).unwrap() {
            let name = format!("pipelines/{}", file.unwrap().file_name().to_string_lossy());
            assert!(STARTERS.iter().any(|starter| starter.path == name), "{name}");
        }
    }

    #[test]
    fn nothing_tells_who_has_no_repository_to_call_cargo() {
        for starter in STARTERS {
            assert!(!(starter.text)().contains("cargo"), "{}", starter.path);
        }
    }
}

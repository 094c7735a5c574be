//! `pipe man`: manual pages out of the help texts.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_mangen::Man;

use super::{Failure, SUCCESS};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write a page for each command into this directory, instead of the main one to standard output
    #[arg(value_name = "DIR")]
    pages: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let Some(directory) = &arguments.pages else {
        Man::new(super::Arguments::command()).render(&mut io::stdout())?;
        return Ok(SUCCESS);
    };
    let failed = || format!("cannot write manual pages to {}", directory.display());
    std::fs::create_dir_all(directory).with_context(failed)?;
    clap_mangen::generate_to(super::Arguments::command(), directory).with_context(failed)?;
    writeln!(io::stdout(), "try: man {}", directory.join("pipe.1").display())?;
    Ok(SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_each_command() {
        let directory = tempfile::tempdir().unwrap();
        clap_mangen::generate_to(super::super::Arguments::command(), directory.path()).unwrap();
        for command in super::super::Arguments::command().get_subcommands() {
            let page = directory.path().join(format!("pipe-{}.1", command.get_name()));
            assert_eq!(page.exists(), !command.is_hide_set(), "{}", page.display());
        }
        let main = std::fs::read_to_string(directory.path().join("pipe.1")).unwrap();
        assert!(main.contains("Exit codes"), "{main}");
    }
}

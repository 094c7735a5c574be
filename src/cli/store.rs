//! `pipe store`: how large the store is, whether it is whole, and cleaning it up.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cache::{GcOptions, Sizes};
use clap::Subcommand;
use pipe::history::History;

use super::paint::Paint;
use super::{FAILED, Failure, Global, SUCCESS, clean, complain, quantity, visible};

/// After this long it is said that others are waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Looks after the store of results
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pipe store size
  pipe store verify
  pipe store gc --keep-days 7 --dry-run
  pipe store gc --remote s3://bucket/faces pipelines/*.toml   tells what of it nobody needs")]
pub(crate) struct Store {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Tells how large the store is, and what takes the space
    Size,
    /// Reads every stored file and tells which are not what was stored
    ///
    /// What is damaged is removed; the steps that made it run again.
    Verify,
    /// Removes results that no pipeline's last run used
    ///
    /// The last result of every step of every pipeline stays, whatever its age, and so does what runs that
    /// go on are making and have used. It need not wait for them.
    Gc {
        /// Keep results, logs and checkpoints that are younger than this
        #[arg(long, value_name = "DAYS", default_value_t = 14)]
        keep_days: u32,
        /// Only tell what would be removed
        #[arg(short = 'n', long)]
        dry_run: bool,
        /// Clean up this remote instead: what the pipelines FILE name stays; only tells, without --delete
        #[arg(long, value_name = "URL", conflicts_with = "dry_run")]
        remote: Option<String>,
        /// Remove it from the remote
        #[arg(long, requires = "remote")]
        delete: bool,
        /// With --remote: pipeline files whose lock files and last results here name what stays
        #[arg(value_name = "FILE", requires = "remote")]
        files: Vec<PathBuf>,
    },
}

impl Store {
    /// Runs the command.
    pub(crate) fn run(&self, global: &Global) -> Result<u8, Failure> {
        let root = global.project()?.store;
        if !root.is_dir() {
            return Err(Failure::Usage(format!("there is no store at {}", root.display())));
        }
        let store = cache::Store::open(&root)
            .with_context(|| format!("cannot use the store {}", root.display()))?;
        match &self.command {
            Command::Size => size(&store),
            Command::Verify => verify(&store),
            Command::Gc { keep_days, remote: Some(url), delete, files, .. } => {
                clean::clean(&store, url, files, *keep_days, *delete)
            }
            Command::Gc { keep_days, dry_run, .. } => gc(&store, *keep_days, *dry_run),
        }
    }
}

fn size(store: &cache::Store) -> Result<u8, Failure> {
    let sizes = store.size().context("cannot measure the store")?;
    let mut out = visible::stdout();
    list(&mut out, &sizes)?;
    let total = quantity::bytes(sizes.bytes());
    writeln!(out, "  {:>9}  in {}", total, quantity::path(store.root()))?;
    Ok(SUCCESS)
}

fn list(out: &mut impl Write, sizes: &Sizes) -> io::Result<()> {
    let rows = [
        (&sizes.objects, "stored file"),
        (&sizes.results, "result"),
        (&sizes.trees, "laid-out result"),
        (&sizes.scratch, "checkpoint or log of an unfinished step"),
        (&sizes.tables, "table of known files"),
        (&sizes.tmp, "temporary file"),
    ];
    for (class, what) in rows.iter().filter(|(class, _)| class.count > 0) {
        let count = usize::try_from(class.count).unwrap_or(usize::MAX);
        let what = match (*what, count) {
            ("checkpoint or log of an unfinished step", 2..) => {
                format!("{count} checkpoints or logs of unfinished steps")
            }
            ("table of known files", 2..) => format!("{count} tables of known files"),
            (what, _) => quantity::count(count, what),
        };
        writeln!(out, "  {:>9}  {what}", quantity::bytes(class.bytes))?;
    }
    Ok(())
}

fn verify(store: &cache::Store) -> Result<u8, Failure> {
    let read = std::sync::Mutex::new((0, 0));
    let damages = store
        .verify(&|so_far| {
            let mut read = read.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *read = (so_far.objects.max(read.0), so_far.bytes.max(read.1));
        })
        .context("cannot verify the store")?;
    let (files, bytes) = read.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut out = visible::stdout();
    let paint = Paint::of(&io::stdout());
    for damage in &damages {
        let path = quantity::path(&damage.path);
        writeln!(out, "  {} {path}: {}", paint.bad("✗"), damage.problem)?;
    }
    let files = quantity::count(usize::try_from(files).unwrap_or(usize::MAX), "file");
    let size = quantity::bytes(bytes);
    if damages.is_empty() {
        writeln!(out, "  {} {files} ({size}) are what was stored", paint.good("✓"))?;
        return Ok(SUCCESS);
    }
    let damaged = quantity::count(damages.len(), "problem");
    writeln!(
        out,
        "\n  {damaged} in {files} ({size}); what was damaged is removed, and the next run makes it again"
    )?;
    Ok(FAILED)
}

fn gc(store: &cache::Store, keep_days: u32, dry_run: bool) -> Result<u8, Failure> {
    // What is known of the results of the latest runs has to be remembered before they may go.
    if let Err(error) = History::open(store) {
        tracing::warn!("{error:#}");
    }
    let keep = Duration::from_secs(u64::from(keep_days) * 24 * 60 * 60);
    let report = store.gc(&GcOptions { keep, dry_run }, &mut wait()).context("cannot clean up")?;
    let mut out = visible::stdout();
    list(&mut out, &report.removed)?;
    let verb = if dry_run { "would be removed" } else { "removed" };
    let kept = quantity::count(report.kept, "result");
    writeln!(out, "  {:>9}  {verb}; {kept} kept", quantity::bytes(report.removed.bytes()))?;
    Ok(SUCCESS)
}

/// Waits for what others are doing with the store, and says so when it takes long.
fn wait() -> impl FnMut() -> ControlFlow<()> {
    let begin = Instant::now();
    let mut told = false;
    move || {
        if begin.elapsed() > PATIENCE && !std::mem::replace(&mut told, true) {
            complain(
                "another process is using the store just now; waiting for it (Ctrl-C gives up)",
            );
        }
        ControlFlow::Continue(())
    }
}

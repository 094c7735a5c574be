//! What a process holds of the store, so that garbage can be collected while it goes on.
//!
//! An operation holds `v1/lock`, shared. While nothing is being made it is held from one operation
//! to the next, since looking takes no time. While a process makes results or waits for one, which
//! may take days, it lets go between operations, after it has written down in its own directory
//! which results and objects it still relies on: its pins. Who collects has the lock alone, and so
//! sees no operation half done; pins of the living stay, as does what is being made.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::digest::Digest;
use crate::error::{At, StoreError};
use crate::lock::{self, try_lock};
use crate::session::{self, Session};
use crate::store::Store;

/// The file with the pins of a session, in its directory.
const PINS: &str = "pins";

/// The lock that operations hold, and what outlives them.
#[derive(Debug)]
pub(crate) struct InUse {
    file: File,
    state: Mutex<State>,
    /// How many results are being made or waited for.
    making: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct State {
    /// How many operations go on.
    operations: usize,
    /// Whether the lock is held.
    locked: bool,
    pins: HashSet<Digest>,
    /// The pins that are not written down yet.
    unwritten: Vec<Digest>,
}

/// An operation; what it relies on stays at least until it is dropped.
#[derive(Debug)]
pub(crate) struct Operation<'a>(&'a Store);

/// A result that is being made or waited for.
#[derive(Debug)]
pub(crate) struct Making(Arc<AtomicUsize>);

impl InUse {
    /// Waits as long as another process collects garbage.
    pub(crate) fn take(path: &Path) -> Result<Self, StoreError> {
        let file = lock::open(path)?;
        file.lock_shared().at("lock", path)?;
        let state = Mutex::new(State { locked: true, ..State::default() });
        Ok(Self { file, state, making: Arc::default() })
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        let mut state = self.0.held();
        state.operations -= 1;
        self.0.rest(&mut state);
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Store {
    /// Begins an operation; may be called within another.
    pub(crate) fn enter(&self) -> Result<Operation<'_>, StoreError> {
        let mut state = self.held();
        if !state.locked {
            self.in_use.file.lock_shared().at("lock", &self.lock_file())?;
            state.locked = true;
        }
        state.operations += 1;
        Ok(Operation(self))
    }

    /// Keeps a result or an object from being collected as long as this process lives; to be called
    /// within an operation.
    pub(crate) fn pin(&self, digest: Digest) {
        let mut state = self.held();
        if state.pins.insert(digest) {
            state.unwritten.push(digest);
        }
    }

    /// Says that a result is going to be made or waited for.
    pub(crate) fn making(&self) -> Making {
        self.in_use.making.fetch_add(1, Ordering::SeqCst);
        let making = Making(Arc::clone(&self.in_use.making));
        self.rest(&mut self.held());
        making
    }

    fn held(&self) -> std::sync::MutexGuard<'_, State> {
        self.in_use.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of the lock when nothing goes on but the making of results.
    fn rest(&self, state: &mut State) {
        let making = self.in_use.making.load(Ordering::SeqCst);
        if state.operations > 0 || making == 0 || !state.locked {
            return;
        }
        // Without its pins it has to keep the lock: who collects then waits.
        match self.write_pins(state) {
            Ok(()) if self.in_use.file.unlock().is_ok() => state.locked = false,
            Ok(()) => {}
            Err(error) => tracing::debug!("others cannot collect garbage meanwhile: {error}"),
        }
    }

    fn write_pins(&self, state: &mut State) -> Result<(), StoreError> {
        if state.unwritten.is_empty() {
            return Ok(());
        }
        let path = self.session()?.directory().join(PINS);
        let text: String = state.unwritten.iter().map(|digest| format!("{digest}\n")).collect();
        let file = OpenOptions::new().append(true).create(true).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes())).at("write", &path)?;
        state.unwritten.clear();
        Ok(())
    }

    /// Takes the lock alone; false when another process holds it.
    pub(crate) fn try_alone(&self) -> Result<bool, StoreError> {
        let mut state = self.held();
        let path = self.lock_file();
        if state.locked {
            self.in_use.file.unlock().at("unlock", &path)?;
            state.locked = false;
        }
        if !try_lock(&self.in_use.file).at("lock", &path)? {
            return Ok(false);
        }
        // Operations within do not lock it again.
        (state.locked, state.operations) = (true, state.operations + 1);
        Ok(true)
    }

    /// Shares the lock again after [`Store::try_alone`] was true.
    pub(crate) fn no_longer_alone(&self) -> Result<(), StoreError> {
        let mut state = self.held();
        state.operations -= 1;
        let path = self.lock_file();
        self.in_use.file.unlock().at("unlock", &path)?;
        state.locked = false;
        self.in_use.file.lock_shared().at("lock", &path)?;
        state.locked = true;
        Ok(())
    }

    /// Returns what other living processes have pinned; to be called alone.
    pub(crate) fn pins(&self) -> Result<HashSet<Digest>, StoreError> {
        let own = self.session_if_any();
        let mut pins = HashSet::new();
        for directory in Session::living(&self.tmp())? {
            if own.as_ref().is_some_and(|own| own.directory() == directory) {
                continue;
            }
            let path = directory.join(PINS);
            let text = match fs::read_to_string(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                text => text.at("read", &path)?,
            };
            pins.extend(text.lines().filter_map(|line| line.parse::<Digest>().ok()));
        }
        Ok(pins)
    }
}

/// Whether a process holds the lock at `path`; of what nobody holds, the file is removed unless it
/// is to be left.
pub(crate) fn is_held(path: &Path, leave: bool) -> Result<bool, StoreError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file.at("open", path)?,
    };
    if !try_lock(&file).at("lock", path)? {
        return Ok(true);
    }
    if !leave {
        // Still locked: whoever opened it meanwhile sees that it has lost its name.
        session::remove(path)?;
    }
    Ok(false)
}

//! Results shared between machines: a store of objects far away, with the layout of ours.
//!
//! `client` asks it and is the only place with futures; `carry` moves the files of many results at
//! once; `fetch` and `send` are the two directions. What a result consists of, and whether what came
//! is it, is for `cache` to say.

mod address;
mod carry;
mod clean;
mod client;
mod failure;
mod fetch;
mod hide;
mod open;
mod send;

use std::sync::atomic::{AtomicBool, Ordering};

pub use address::{Address, NotAnAddress};
pub use clean::{Cleaned, SHORTEST_GRACE};
pub use failure::Failure;
pub(crate) use fetch::Listener;

use client::Client;
use open::Purpose;

/// A place far away where results are, or can be put.
pub struct Remote {
    address: Address,
    client: Client,
    /// Whether a run has given it up.
    lost: AtomicBool,
}

/// What was carried of one result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// How many files were not there before.
    pub files: usize,
    /// Their size.
    pub bytes: u64,
}

impl Remote {
    /// Makes ready to fetch from a remote. Only a directory is looked at yet: others answer later.
    ///
    /// # Errors
    ///
    /// When the environment does not say all that is needed, or there is no such directory.
    pub fn open(address: &Address) -> Result<Self, Failure> {
        Self::open_for(address, Purpose::Fetch)
    }

    /// Makes ready to send to a remote; a directory is made if there is none.
    ///
    /// # Errors
    ///
    /// As [`Remote::open`], and when the directory cannot be made.
    pub fn open_to_send(address: &Address) -> Result<Self, Failure> {
        open::make(address)?;
        Self::open_for(address, Purpose::Send)
    }

    fn open_for(address: &Address, purpose: Purpose) -> Result<Self, Failure> {
        let client = Client::new(address, purpose)?;
        Ok(Self { address: address.clone(), client, lost: AtomicBool::new(false) })
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Ends what is being carried; what arrived whole stays.
    pub fn stop(&self) {
        self.client.stop();
    }

    /// Notes that it cannot be used any more; false when that is known already.
    pub(crate) fn give_up(&self) -> bool {
        !self.lost.swap(true, Ordering::SeqCst)
    }

    /// Whether it may still be asked.
    pub(crate) fn is_usable(&self) -> bool {
        !self.lost.load(Ordering::SeqCst)
    }
}

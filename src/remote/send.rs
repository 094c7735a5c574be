//! From the store to the remote: files first, the manifest last.

use std::sync::Mutex;

use cache::{Content, Parcel, Store};

use super::carry::{Carrier, THREADS, carry};
use super::clean::is_stale;
use super::client::PIECE;
use super::failure::Failure;
use super::fetch::Listener;
use super::{Load, Remote};

impl Remote {
    /// Whether the remote has each of these results.
    ///
    /// # Errors
    ///
    /// When it cannot be used.
    pub(crate) fn have(&self, parcels: &[&Parcel]) -> Result<Vec<bool>, Failure> {
        let has = |parcel: &&Parcel| {
            Ok(self.client.size(&Parcel::name(&parcel.manifest().key))?.is_some())
        };
        let share = parcels.len().div_ceil(THREADS).max(1);
        std::thread::scope(|scope| {
            let threads: Vec<_> = parcels
                .chunks(share)
                .map(|parcels| scope.spawn(|| parcels.iter().map(has).collect::<Vec<_>>()))
                .collect();
            let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
            joined
                .flat_map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        })
    }

    /// Sends results. Files that are there already are not sent again, unless `again`.
    ///
    /// # Errors
    ///
    /// When the remote or the store cannot be used, or it was stopped; what arrived whole stays.
    pub(crate) fn send(
        &self,
        parcels: &[Parcel],
        store: &Store,
        again: bool,
        listener: &dyn Listener,
    ) -> Result<(), Failure> {
        let loads = Mutex::new(vec![Load::default(); parcels.len()]);
        carry(parcels, &Sending { remote: self, parcels, store, again, listener, loads })
    }
}

struct Sending<'a> {
    remote: &'a Remote,
    parcels: &'a [Parcel],
    store: &'a Store,
    again: bool,
    listener: &'a dyn Listener,
    loads: Mutex<Vec<Load>>,
}

impl Carrier for Sending<'_> {
    type Moved = ();

    fn file(&self, content: &Content, parcel: usize) -> Result<(), Failure> {
        let name = content.name();
        let client = &self.remote.client;
        let Some(mut outgoing) = self.store.send(&content.digest)? else {
            return match content.needed {
                true => Err(Failure::Refused(format!("{name} has gone from the store"))),
                false => Ok(()),
            };
        };
        let size = outgoing.size();
        let there = if self.again { None } else { client.look(&name)? };
        // One that was there for long is sent again, so that who cleans up takes it for new.
        if there.is_some_and(|object| object.size == size && !is_stale(&object)) {
            self.listener.bytes(parcel, size);
            return Ok(());
        }
        if size <= PIECE {
            let mut bytes = outgoing.next(size as usize + 1)?;
            // Reading on to its end is what proves that it is what was stored.
            while !bytes.is_empty() {
                let rest = outgoing.next(PIECE as usize)?;
                if rest.is_empty() {
                    break;
                }
                bytes.extend(rest);
            }
            client.put(&name, bytes, true)?;
            self.listener.bytes(parcel, size);
        } else {
            client.upload(&name, size, &mut |length| {
                let piece = outgoing.next(length)?;
                self.listener.bytes(parcel, piece.len() as u64);
                Ok(piece)
            })?;
        }
        let mut loads = self.loads.lock().expect("counting does not panic");
        loads[parcel].files += 1;
        loads[parcel].bytes += size;
        Ok(())
    }

    fn whole(&self, parcel: usize, _: Vec<()>) -> Result<(), Failure> {
        let parcel = &self.parcels[parcel];
        let name = Parcel::name(&parcel.manifest().key);
        // Whoever was faster has said the same, or made other files of the same key that are as good.
        self.remote.client.put(&name, parcel.bytes().to_vec(), self.again)?;
        Ok(())
    }

    fn told(&self, parcel: usize, outcome: Result<(), Failure>) {
        let load = self.loads.lock().expect("counting does not panic")[parcel];
        self.listener.ended(parcel, outcome.map(|()| load));
    }
}

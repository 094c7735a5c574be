//! From the remote into the store: nothing is believed that was not found right.

use std::sync::Mutex;

use cache::{Content, Held, Key, NotReceived, Parcel, Store};

use super::carry::{Carrier, carry};
use super::client::PIECE;
use super::failure::Failure;
use super::{Load, Remote};

/// The longest manifest: of some million files.
const LONGEST_MANIFEST: u64 = 512 << 20;
/// The longest file that is fetched of which the manifest does not say how long it is: logs and
/// listings.
const LONGEST_UNKNOWN: u64 = 1 << 30;

/// Hears how it gets on.
pub(crate) trait Listener: Sync {
    /// So many bytes more of the result of this index were moved.
    fn bytes(&self, parcel: usize, bytes: u64);

    /// A result has been carried, or not.
    fn ended(&self, parcel: usize, outcome: Result<Load, Failure>);
}

impl Remote {
    /// Looks for the result of a key.
    ///
    /// # Errors
    ///
    /// [`Failure::Refused`] when what is there is not its manifest; otherwise when the remote cannot
    /// be used.
    pub(crate) fn find(&self, key: &Key) -> Result<Option<Parcel>, Failure> {
        let name = Parcel::name(key);
        match self.client.get(&name, LONGEST_MANIFEST)? {
            None => Ok(None),
            Some(Ok(bytes)) => match Parcel::open(bytes, key) {
                Ok(parcel) => Ok(Some(parcel)),
                Err(broken) => Err(self.refuse(&name, &broken.to_string())),
            },
            Some(Err(size)) => Err(self.refuse(&name, &format!("has {size} bytes, too many"))),
        }
    }

    /// Fetches results into the store, where each is visible once it is whole.
    ///
    /// # Errors
    ///
    /// When the remote or the store cannot be used, or it was stopped; what arrived whole stays.
    pub(crate) fn fetch(
        &self,
        parcels: &[Parcel],
        store: &Store,
        listener: &dyn Listener,
    ) -> Result<(), Failure> {
        let loads = Mutex::new(vec![Load::default(); parcels.len()]);
        carry(parcels, &Fetching { remote: self, parcels, store, listener, loads })
    }

    pub(super) fn refuse(&self, name: &str, problem: &str) -> Failure {
        Failure::Refused(format!("{name} in {} {problem}", self.address))
    }
}

struct Fetching<'a> {
    remote: &'a Remote,
    parcels: &'a [Parcel],
    store: &'a Store,
    listener: &'a dyn Listener,
    loads: Mutex<Vec<Load>>,
}

impl Fetching<'_> {
    /// Makes a problem of a file that came into one of the remote.
    fn not_received(&self, name: &str, problem: NotReceived) -> Failure {
        match problem {
            NotReceived::Store(error) => error.into(),
            other => self.remote.refuse(name, &other.to_string()),
        }
    }

    fn receive(&self, content: &Content, parcel: usize) -> Result<Option<Held>, Failure> {
        let name = content.name();
        let client = &self.remote.client;
        let mut incoming = self.store.receive(content)?;
        let mut size = content.size;
        if size.is_none_or(|size| size <= PIECE) {
            match client.get(&name, PIECE)? {
                Some(Ok(bytes)) => {
                    incoming.write(&bytes).map_err(|problem| self.not_received(&name, problem))?;
                    self.listener.bytes(parcel, bytes.len() as u64);
                    let held = incoming.finish();
                    return held.map(Some).map_err(|problem| self.not_received(&name, problem));
                }
                None => return self.absent(content, &name),
                Some(Err(longer)) if size.is_none() => size = Some(longer),
                Some(Err(longer)) => {
                    return Err(self
                        .remote
                        .refuse(&name, &format!("has {longer} bytes, too many")));
                }
            }
        } else {
            match client.size(&name)? {
                None => return self.absent(content, &name),
                Some(found) if Some(found) == size => {}
                Some(found) => {
                    let expected = size.unwrap_or_default();
                    let problem = format!("has {found} bytes, not {expected}");
                    return Err(self.remote.refuse(&name, &problem));
                }
            }
        }
        let size = size.unwrap_or_default();
        if content.size.is_none() && size > LONGEST_UNKNOWN {
            return Err(self.remote.refuse(&name, &format!("has {size} bytes, too many")));
        }
        client.read(&name, size, &mut |piece| {
            incoming.write(piece).map_err(|problem| self.not_received(&name, problem))?;
            self.listener.bytes(parcel, piece.len() as u64);
            Ok(())
        })?;
        incoming.finish().map(Some).map_err(|problem| self.not_received(&name, problem))
    }

    fn absent(&self, content: &Content, name: &str) -> Result<Option<Held>, Failure> {
        match content.needed {
            true => Err(self.remote.refuse(name, "is missing")),
            false => Ok(None),
        }
    }
}

impl Carrier for Fetching<'_> {
    type Moved = Option<Held>;

    fn file(&self, content: &Content, parcel: usize) -> Result<Option<Held>, Failure> {
        if let Some(held) = self.store.hold(content)? {
            self.listener.bytes(parcel, content.size.unwrap_or_default());
            return Ok(Some(held));
        }
        let held = self.receive(content, parcel)?;
        if let Some(held) = &held {
            let mut loads = self.loads.lock().expect("counting does not panic");
            loads[parcel].files += 1;
            loads[parcel].bytes += held.size();
        }
        Ok(held)
    }

    fn whole(&self, parcel: usize, moved: Vec<Option<Held>>) -> Result<(), Failure> {
        let held: Vec<Held> = moved.into_iter().flatten().collect();
        self.store.admit(&self.parcels[parcel], &held)?;
        Ok(())
    }

    fn told(&self, parcel: usize, outcome: Result<(), Failure>) {
        let load = self.loads.lock().expect("counting does not panic")[parcel];
        self.listener.ended(parcel, outcome.map(|()| load));
    }
}

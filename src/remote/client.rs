//! Asks the object store of a remote; the only place with a runtime and with futures.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use object_store::path::Path;
use object_store::{
    MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload,
};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::address::Address;
use super::failure::{Failure, Refusal};
use super::open::{self, Purpose};

/// How often a wait looks whether it was asked to stop.
const TICK: Duration = Duration::from_millis(50);
/// A longer object is fetched in pieces of this size and sent in parts of at least this size.
pub(super) const PIECE: u64 = 8 << 20;
/// How many pieces of one object are on their way at once.
const AHEAD: usize = 2;
/// The most parts that an upload may have everywhere.
const MOST_PARTS: u64 = 9_000;
/// How long the server is given to forget the parts of an upload that is not finished.
const FAREWELL: Duration = Duration::from_secs(5);

/// A connection to the object store of a remote. May be used by many threads.
pub(super) struct Client {
    address: Address,
    store: Arc<dyn ObjectStore>,
    /// There until the client is dropped.
    runtime: Option<Runtime>,
    stopped: AtomicBool,
}

/// An object, as a listing has it.
#[derive(Clone, Debug)]
pub(super) struct Object {
    /// Its name, without the prefix of the remote.
    pub(super) name: String,
    pub(super) size: u64,
    /// When it was written, since 1970, by the clock of the server.
    pub(super) written: Duration,
}

impl Object {
    fn of(meta: &ObjectMeta, prefix: &str) -> Self {
        let seconds = u64::try_from(meta.last_modified.timestamp()).unwrap_or_default();
        Self {
            name: below(&meta.location, prefix),
            size: meta.size,
            written: Duration::from_secs(seconds),
        }
    }
}

/// The name of an object without the prefix of its remote.
fn below(path: &Path, prefix: &str) -> String {
    let path = path.as_ref();
    let rest = path.strip_prefix(prefix.trim_matches('/')).unwrap_or(path);
    rest.trim_start_matches('/').to_owned()
}

impl Client {
    pub(super) fn new(address: &Address, purpose: Purpose) -> Result<Self, Failure> {
        let store = open::open(address, purpose)?;
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Unusable {
            message: format!("cannot start the threads that would talk to {address}: {error}"),
            help: "allow more threads".to_owned(),
        })?;
        let stopped = AtomicBool::new(false);
        Ok(Self { address: address.clone(), store, runtime: Some(runtime), stopped })
    }

    /// Ends every wait.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Returns how long an object is; none when there is none.
    pub(super) fn size(&self, name: &str) -> Result<Option<u64>, Failure> {
        Ok(self.look(name)?.map(|object| object.size))
    }

    /// Returns what is known of an object; none when there is none.
    pub(super) fn look(&self, name: &str) -> Result<Option<Object>, Failure> {
        let (store, path) = (Arc::clone(&self.store), self.path(name));
        let head = self.wait(async move { store.head(&path).await });
        let prefix = self.prefix();
        self.unless_absent(head.map(|meta| Object::of(&meta, prefix)))
    }

    /// Lists the objects that lie in a folder, and the folders in it.
    pub(super) fn list(&self, folder: &str) -> Result<(Vec<Object>, Vec<String>), Failure> {
        let (store, path) = (Arc::clone(&self.store), self.path(folder));
        let listed = self.wait(async move { store.list_with_delimiter(Some(&path)).await });
        let Some(listed) = self.unless_absent(listed)? else { return Ok((Vec::new(), Vec::new())) };
        let prefix = self.prefix();
        let objects = listed.objects.iter().map(|meta| Object::of(meta, prefix));
        let folders = listed.common_prefixes.iter().map(|path| below(path, prefix));
        Ok((objects.collect(), folders.collect()))
    }

    /// Removes an object; one that has gone is what was wanted.
    pub(super) fn delete(&self, name: &str) -> Result<(), Failure> {
        let (store, path) = (Arc::clone(&self.store), self.path(name));
        let gone = self.wait(async move { store.delete(&path).await });
        self.unless_absent(gone).map(drop)
    }

    /// Returns an object no longer than `most`; none when there is none. The error of one that is
    /// longer says how long it is.
    pub(super) fn get(
        &self,
        name: &str,
        most: u64,
    ) -> Result<Option<Result<Vec<u8>, u64>>, Failure> {
        let (store, path) = (Arc::clone(&self.store), self.path(name));
        let got = self.wait(async move {
            let got = store.get(&path).await?;
            if got.meta.size > most {
                return Ok(Err(got.meta.size));
            }
            Ok(Ok(got.bytes().await?.to_vec()))
        });
        self.unless_absent(got)
    }

    /// Hands the pieces of an object of a known size to `take`, in order.
    pub(super) fn read(
        &self,
        name: &str,
        size: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut coming = VecDeque::new();
        let mut next = 0;
        loop {
            while next < size && coming.len() < AHEAD {
                let range = next..size.min(next + PIECE);
                next = range.end;
                let (store, path) = (Arc::clone(&self.store), self.path(name));
                let piece = async move { store.get_range(&path, range).await };
                coming.push_back(self.runtime().spawn(piece));
            }
            let Some(mut piece) = coming.pop_front() else { return Ok(()) };
            let piece = self.join(&mut piece).map_err(|refusal| self.failure(refusal))?;
            take(&piece)?;
        }
    }

    /// Writes an object; false when there is one and it shall not be replaced.
    pub(super) fn put(&self, name: &str, bytes: Vec<u8>, replace: bool) -> Result<bool, Failure> {
        let payload = PutPayload::from(bytes);
        let put = |mode: PutMode| {
            let (store, path, payload) =
                (Arc::clone(&self.store), self.path(name), payload.clone());
            self.wait(async move { store.put_opts(&path, payload, mode.into()).await })
        };
        if !replace {
            match put(PutMode::Create) {
                Ok(_) => return Ok(true),
                Err(Refusal::Exists) => return Ok(false),
                // Without conditions the last of two writers wins, and what either wrote is whole.
                Err(Refusal::Unsupported) if self.size(name)?.is_some() => return Ok(false),
                Err(Refusal::Unsupported) => {}
                Err(refusal) => return Err(self.failure(refusal)),
            }
        }
        put(PutMode::Overwrite).map(|_| true).map_err(|refusal| self.failure(refusal))
    }

    /// Writes a long object of which `next` gives so many bytes more, and none at its end. It is
    /// visible only when `next` came to the end.
    pub(super) fn upload(
        &self,
        name: &str,
        size: u64,
        next: &mut dyn FnMut(usize) -> Result<Vec<u8>, Failure>,
    ) -> Result<(), Failure> {
        let part = PIECE.max(size.div_ceil(MOST_PARTS)) as usize;
        let (store, path) = (Arc::clone(&self.store), self.path(name));
        let begun = self.wait(async move { store.put_multipart(&path).await });
        let mut upload = begun.map_err(|refusal| self.failure(refusal))?;
        let sent = self.send_parts(&mut *upload, part, next);
        let (mut upload, done) = match sent {
            Err(failure) => (upload, Err(failure)),
            Ok(()) => {
                let mut task = self.runtime().spawn(async move {
                    let done = upload.complete().await;
                    Ok((upload, done))
                });
                let (upload, done) =
                    self.join(&mut task).map_err(|refusal| self.failure(refusal))?;
                let refusal = |error| self.failure(Refusal::of(&error, &self.address));
                (upload, done.map(|_| ()).map_err(refusal))
            }
        };
        if done.is_err() {
            // What cannot be taken back is for the rules of the bucket to clear.
            let abort = async move { tokio::time::timeout(FAREWELL, upload.abort()).await };
            if !matches!(self.runtime().block_on(abort), Ok(Ok(()))) {
                tracing::debug!("the parts of {name} could not be taken back");
            }
        }
        done
    }

    fn send_parts(
        &self,
        upload: &mut dyn MultipartUpload,
        part: usize,
        next: &mut dyn FnMut(usize) -> Result<Vec<u8>, Failure>,
    ) -> Result<(), Failure> {
        let mut going = VecDeque::new();
        loop {
            let piece = next(part)?;
            if piece.is_empty() {
                break;
            }
            going.push_back(self.runtime().spawn(upload.put_part(piece.into())));
            if going.len() >= AHEAD {
                self.join_first(&mut going)?;
            }
        }
        while !going.is_empty() {
            self.join_first(&mut going)?;
        }
        Ok(())
    }

    fn join_first(
        &self,
        going: &mut VecDeque<JoinHandle<object_store::Result<()>>>,
    ) -> Result<(), Failure> {
        let Some(mut first) = going.pop_front() else { return Ok(()) };
        self.join(&mut first).map_err(|refusal| self.failure(refusal))
    }

    fn path(&self, name: &str) -> Path {
        let prefix = self.prefix();
        let path = Path::from_url_path(format!("{prefix}/{name}"));
        path.expect("an address has a prefix of plain names")
    }

    /// What the names of all objects of this remote begin with.
    fn prefix(&self) -> &str {
        match self.address.directory() {
            Some(_) => "",
            None => self.address.prefix(),
        }
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is there until the client is dropped")
    }

    fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T, Refusal> {
        self.join(&mut self.runtime().spawn(work))
    }

    fn join<T>(&self, task: &mut JoinHandle<object_store::Result<T>>) -> Result<T, Refusal> {
        self.runtime().block_on(async {
            loop {
                if self.stopped.load(Ordering::SeqCst) {
                    task.abort();
                    return Err(Refusal::Failed(Failure::Stopped));
                }
                match tokio::time::timeout(TICK, &mut *task).await {
                    Ok(Ok(answer)) => {
                        return answer.map_err(|error| Refusal::of(&error, &self.address));
                    }
                    Ok(Err(error)) if error.is_panic() => {
                        std::panic::resume_unwind(error.into_panic())
                    }
                    Ok(Err(_)) => return Err(Refusal::Failed(Failure::Stopped)),
                    Err(_) => {}
                }
            }
        })
    }

    fn unless_absent<T>(&self, answer: Result<T, Refusal>) -> Result<Option<T>, Failure> {
        match answer {
            Ok(value) => Ok(Some(value)),
            Err(Refusal::Absent) => Ok(None),
            Err(refusal) => Err(self.failure(refusal)),
        }
    }

    fn failure(&self, refusal: Refusal) -> Failure {
        let address = &self.address;
        match refusal {
            Refusal::Failed(failure) => failure,
            Refusal::Absent => Failure::Refused(format!("an object of {address} has gone")),
            Refusal::Exists | Refusal::Unsupported => Failure::Unusable {
                message: format!("{address} cannot keep what was sent"),
                help: "see that its server can do what S3 can".to_owned(),
            },
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // What still waits for an answer need not get it.
            runtime.shutdown_background();
        }
    }
}

//! TensorBoard event files, written without TensorFlow.

mod event;
mod record;

/// The name of the one event file in a `tensorboard` folder; TensorBoard looks for `tfevents`.
pub(crate) const FILE_NAME: &str = "events.out.tfevents.0.pipe";

/// An event file in the making, of scalars alone.
///
/// The wall time of an event is its step in seconds, so that the bytes depend on the figures alone.
#[derive(Clone, Debug)]
pub(crate) struct EventFile(Vec<u8>);

impl EventFile {
    /// Starts a file with the version event that TensorBoard requires first.
    pub(crate) fn new() -> Self {
        let mut bytes = Vec::new();
        record::append(&mut bytes, &event::version());
        Self(bytes)
    }

    /// Goes on with the bytes of an unfinished file.
    pub(crate) fn resume(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Adds one event that holds these scalars, by tag.
    pub(crate) fn scalars(&mut self, step: u64, scalars: &[(&str, f64)]) {
        record::append(&mut self.0, &event::scalars(step, scalars));
    }

    /// Returns the file so far, which is whole after every event.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::EventFile;

    #[test]
    fn bytes_are_those_of_tensorboards_own_writer() {
        let mut file = EventFile::new();
        file.scalars(0, &[("loss/train", 4.5)]);
        file.scalars(10, &[("loss/train", 2.25), ("learning-rate", 0.1)]);
        file.scalars(300, &[("accuracy/dev", 0.0), ("retrieval/dev", 1.0 / 3.0)]);
        file.scalars(5_000_000_000, &[("accuracy/dev", -1e-30)]);
        let golden = include_bytes!("../../golden/tensorboard.tfevents");
        assert_eq!(file.bytes(), golden);
        let mut resumed = EventFile::resume(EventFile::new().bytes().to_vec());
        resumed.scalars(0, &[("loss/train", 4.5)]);
        assert!(golden.starts_with(resumed.bytes()));
    }
}

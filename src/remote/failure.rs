//! Why a remote could not be used, in words that say what to do.

use std::error::Error;

use cache::StoreError;

use super::address::{Address, Service};
use super::hide::hide;
use crate::problem::visible;

/// The longest answer of a server that is repeated.
const LONGEST: usize = 200;

/// Why a result was not fetched or sent.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The remote cannot be used: no credentials, no bucket, no connection.
    #[error("{message}; {help}")]
    Unusable {
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
    },
    /// What the remote has is not what its name says.
    #[error("{0}")]
    Refused(String),
    /// The store on this machine cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It was asked to stop.
    #[error("stopped")]
    Stopped,
}

/// How a request failed.
pub(super) enum Refusal {
    /// There is no object of that name.
    Absent,
    /// There is one already.
    Exists,
    /// It cannot do that.
    Unsupported,
    /// Anything else.
    Failed(Failure),
}

impl Failure {
    /// Whether it concerns one result alone, and others may still be carried.
    pub(crate) const fn is_of_one_result(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Store(StoreError::Damaged { .. }))
    }
}

impl Failure {
    /// Says that nothing in the environment tells who asks.
    pub(super) fn no_credentials(address: &Address) -> Self {
        let service = address.service();
        Self::Unusable {
            message: format!("there are no credentials for {address}"),
            help: format!(
                "set {}, or {} for a public bucket",
                service.credentials(),
                service.public()
            ),
        }
    }
}

impl Refusal {
    /// Says what an object store said.
    pub(super) fn of(error: &object_store::Error, address: &Address) -> Self {
        use object_store::Error as Answer;
        let text = whole(error);
        let bucket = address.bucket();
        let unusable = |message: String, help: String| {
            let [message, help] = [message, help].map(|text| visible(hide(text)));
            Self::Failed(Failure::Unusable { message, help })
        };
        match error {
            Answer::NotFound { .. } if names_no_bucket(&text) => unusable(
                format!("there is no bucket `{bucket}` for {address}"),
                "make it, or mend the URL".to_owned(),
            ),
            Answer::NotFound { .. } => Self::Absent,
            Answer::AlreadyExists { .. } | Answer::Precondition { .. } => Self::Exists,
            Answer::NotImplemented { .. } | Answer::NotSupported { .. } => Self::Unsupported,
            Answer::PermissionDenied { .. } | Answer::Unauthenticated { .. } => unusable(
                format!("{address} refuses the credentials{}", code(&text)),
                format!("they come from {}", address.service().credentials()),
            ),
            _ if asked_the_machine(&text) => Self::Failed(Failure::no_credentials(address)),
            _ if address.directory().is_some_and(|path| !path.exists()) => unusable(
                format!("there is no directory for {address}"),
                "`pipe push` makes it".to_owned(),
            ),
            _ if address.service() == Service::Directory => unusable(
                format!("cannot use {address}: {}", innermost(error)),
                "see that it is there and may be written to".to_owned(),
            ),
            _ => unusable(
                format!("cannot reach {address}: {}", innermost(error)),
                "see the connection and the server".to_owned(),
            ),
        }
    }
}

/// Everything an error says.
fn whole(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// The first cause of an error, on one line.
fn innermost(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    let text = error.to_string();
    let text = text.trim_start_matches("Server returned non-2xx status code: ");
    // What a server says of itself may be a whole page.
    let (status, page) = text.split_once(": <").unwrap_or((text, ""));
    let line = status.lines().next().unwrap_or_default().trim_end_matches([':', ' ']);
    line.chars().take(LONGEST).chain(code(page).chars()).collect()
}

/// Whether a 404 is about the bucket and not about an object in it.
fn names_no_bucket(text: &str) -> bool {
    ["NoSuchBucket", "specified bucket does not exist", "ContainerNotFound"]
        .iter()
        .any(|sign| text.contains(sign))
}

/// Whether credentials were looked for where only a machine in a cloud has them.
fn asked_the_machine(text: &str) -> bool {
    ["169.254.169.254", "169.254.170.2", "metadata.google.internal", "latest/api/token"]
        .iter()
        .any(|sign| text.contains(sign))
}

/// The word by which a server says why, as `: SignatureDoesNotMatch`.
fn code(text: &str) -> String {
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    match code {
        Some((code, _)) if code.chars().all(char::is_alphanumeric) => format!(" ({code})"),
        _ => String::new(),
    }
}

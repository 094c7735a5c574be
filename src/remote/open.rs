//! From an [`Address`] and the environment to an object store that can be asked.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};

use super::address::{Address, Service};
use super::failure::{Failure, Refusal};

/// The variables that say how a program is to show who it is to S3.
const S3_CREDENTIALS: [&str; 5] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
];

/// What a remote is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Fetch,
    Send,
}

impl Purpose {
    /// How long a server may be silent. While it is sent something it is: whoever has a slow line
    /// takes minutes for all the parts that are on their way at once.
    const fn silence(self) -> &'static str {
        match self {
            Self::Fetch => "60s",
            Self::Send => "300s",
        }
    }
}

/// Opens an object store.
pub(super) fn open(address: &Address, purpose: Purpose) -> Result<Arc<dyn ObjectStore>, Failure> {
    // Only the first of several remotes in one process finds none installed.
    rustls::crypto::ring::default_provider().install_default().ok();
    let told = |error: object_store::Error| match Refusal::of(&error, address) {
        Refusal::Failed(failure) => failure,
        _ => Failure::Unusable {
            message: format!("cannot use {address}"),
            help: format!("it takes {}", address.service().credentials()),
        },
    };
    let root = address.root();
    Ok(match address.service() {
        Service::Directory => Arc::new(directory(address).map_err(told)?),
        Service::S3 => {
            require_credentials(address)?;
            let mut builder = AmazonS3Builder::from_env().with_url(root).with_retry(retry());
            for (key, value) in patience("AWS", purpose) {
                builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
            }
            // The signature covers what is sent, and no secret is; who names such a server means it.
            let plain = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]
                .iter()
                .any(|name| std::env::var(name).is_ok_and(|url| url.starts_with("http://")));
            if plain {
                builder = builder.with_allow_http(true);
            }
            Arc::new(builder.build().map_err(told)?)
        }
        Service::Google => {
            let mut builder =
                GoogleCloudStorageBuilder::from_env().with_url(root).with_retry(retry());
            for (key, value) in patience("GOOGLE", purpose) {
                builder = builder.with_config(GoogleConfigKey::Client(key), value);
            }
            Arc::new(builder.build().map_err(told)?)
        }
        Service::Azure => {
            let mut builder = MicrosoftAzureBuilder::from_env().with_url(root).with_retry(retry());
            for (key, value) in patience("AZURE", purpose) {
                builder = builder.with_config(AzureConfigKey::Client(key), value);
            }
            Arc::new(builder.build().map_err(told)?)
        }
    })
}

/// How long a server may be silent, unless the environment says otherwise, as in
/// `AWS_READ_TIMEOUT=5s`. The whole of a request has no limit, since a file may be large.
fn patience(cloud: &str, purpose: Purpose) -> Vec<(ClientConfigKey, &'static str)> {
    let set = |name: &str| std::env::var_os(format!("{cloud}_{name}")).is_some();
    [
        ("READ_TIMEOUT", ClientConfigKey::ReadTimeout, purpose.silence()),
        ("TIMEOUT", ClientConfigKey::Timeout, "1day"),
    ]
    .into_iter()
    .filter(|(name, ..)| !set(name))
    .map(|(_, key, value)| (key, value))
    .collect()
}

/// How often a request is made again that failed because of the server or the connection.
fn retry() -> RetryConfig {
    let (init_backoff, max_backoff) = (Duration::from_millis(100), Duration::from_secs(5));
    RetryConfig {
        backoff: BackoffConfig { init_backoff, max_backoff, base: 2.0 },
        max_retries: 4,
        retry_timeout: Duration::from_secs(60),
    }
}

/// Says at once what would else take long to find out on a machine outside the cloud.
fn require_credentials(address: &Address) -> Result<(), Failure> {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let alone = std::env::var("AWS_EC2_METADATA_DISABLED").is_ok_and(|value| value == "true");
    if S3_CREDENTIALS.iter().any(|name| set(name)) || !alone {
        return Ok(());
    }
    Err(Failure::no_credentials(address))
}

fn directory(address: &Address) -> object_store::Result<LocalFileSystem> {
    let path = address.directory().unwrap_or_default();
    Ok(LocalFileSystem::new_with_prefix(path)?.with_fsync(true))
}

/// Makes the directory that is a remote, if there is none; buckets are for their owners to make.
pub(super) fn make(address: &Address) -> Result<(), Failure> {
    let Some(path) = address.directory() else { return Ok(()) };
    fs::create_dir_all(&path).map_err(|error| Failure::Unusable {
        message: format!("cannot make the directory {}: {error}", path.display()),
        help: "see that the directory above is there and may be written to".to_owned(),
    })
}

//! Where a remote is, as a URL that holds no secret.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use reqwest::Url;

use crate::suggest::{did_you_mean, quoted};

/// What the URL of a remote looks like.
const EXAMPLES: &str = "for example `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or `file:///mnt/results`";

/// Who keeps the objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    S3,
    Google,
    Azure,
    Directory,
}

/// The URL of a remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    service: Service,
    url: Url,
}

/// Why a text cannot be the URL of a remote. It does not repeat what could be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NotAnAddress {
    /// What is wrong: a fragment.
    pub message: String,
    /// What would be right.
    pub help: String,
    /// Whether the text may hold a secret, and must not be shown.
    pub secret: bool,
}

impl Service {
    const SCHEMES: [(&'static str, Self); 4] =
        [("s3", Self::S3), ("gs", Self::Google), ("az", Self::Azure), ("file", Self::Directory)];

    /// The variables that its credentials come from.
    pub(super) const fn credentials(self) -> &'static str {
        match self {
            Self::S3 => "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN",
            Self::Google => "GOOGLE_SERVICE_ACCOUNT or GOOGLE_APPLICATION_CREDENTIALS",
            Self::Azure => {
                "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_KEY"
            }
            Self::Directory => "the permissions of the directory",
        }
    }

    /// The variable that says that there are none, because whoever wants may read.
    pub(super) const fn public(self) -> &'static str {
        match self {
            Self::S3 => "AWS_SKIP_SIGNATURE=true",
            Self::Google => "GOOGLE_SKIP_SIGNATURE=true",
            Self::Azure => "AZURE_SKIP_SIGNATURE=true",
            Self::Directory => "nothing",
        }
    }
}

impl Address {
    /// The address of a directory, given by its absolute path; none for a relative one.
    #[must_use]
    pub fn of_directory(path: &Path) -> Option<Self> {
        Some(Self { service: Service::Directory, url: Url::from_file_path(path).ok()? })
    }

    pub(super) const fn service(&self) -> Service {
        self.service
    }

    /// The name of the bucket or container.
    pub(super) fn bucket(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Its URL without the path, for who wants the bucket alone.
    pub(super) fn root(&self) -> String {
        format!("{}://{}", self.url.scheme(), self.bucket())
    }

    /// What all names in a bucket begin with: nothing, or words with `/` between them.
    pub(super) fn prefix(&self) -> &str {
        self.url.path().trim_matches('/')
    }

    /// The directory, where it is one.
    pub(super) fn directory(&self) -> Option<PathBuf> {
        (self.service == Service::Directory).then(|| self.url.to_file_path().ok())?
    }
}

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let wrong =
            |message: String, help: String| Err(NotAnAddress { message, help, secret: false });
        // A password ends at an `@`, a signature stands after a `?`.
        if text.contains(['@', '?', '#']) {
            return Err(NotAnAddress {
                message: "the URL of a remote must hold no user, no password and no `?` or `#`"
                    .to_owned(),
                help:
                    "credentials come from the environment, so that they are written down nowhere"
                        .to_owned(),
                secret: true,
            });
        }
        let Ok(url) = text.parse::<Url>() else {
            let help = if text.starts_with('/') {
                format!("a directory is written `file://{text}`")
            } else {
                EXAMPLES.to_owned()
            };
            return wrong(format!("{} is not a URL", quoted(text)), help);
        };
        let scheme = Service::SCHEMES.iter().find(|(scheme, _)| *scheme == url.scheme());
        let Some(&(_, service)) = scheme else {
            let near = did_you_mean(url.scheme(), Service::SCHEMES.map(|(scheme, _)| scheme));
            let message =
                format!("a remote cannot be at {}{near}", quoted(&format!("{}:", url.scheme())));
            return wrong(message, EXAMPLES.to_owned());
        };
        let host = url.host_str().filter(|host| !host.is_empty());
        match (service, host) {
            (Service::Directory, Some(host)) => wrong(
                format!("{} names a machine, `{host}`", quoted(text)),
                format!(
                    "a directory is written with three slashes: `file:///{host}{}`",
                    url.path()
                ),
            ),
            (Service::Directory, None) if url.path().trim_matches('/').is_empty() => {
                wrong(format!("{} names no directory", quoted(text)), EXAMPLES.to_owned())
            }
            (Service::Directory, None) => Ok(Self { service, url }),
            (_, None) => wrong(format!("{} names no bucket", quoted(text)), EXAMPLES.to_owned()),
            (_, Some(host)) if url.port().is_some() => wrong(
                format!("{} names a bucket `{host}` with a port", quoted(text)),
                "the address of a server of your own is for AWS_ENDPOINT_URL".to_owned(),
            ),
            (_, Some(_)) if !is_plain(url.path()) => wrong(
                format!("{} holds a name that a bucket cannot have", quoted(text)),
                "write words with one `/` between them".to_owned(),
            ),
            (_, Some(_)) => Ok(Self { service, url }),
        }
    }
}

/// Whether every service takes a path as it stands.
fn is_plain(path: &str) -> bool {
    !path.contains("//") && object_store::path::Path::from_url_path(path).is_ok()
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        match text.parse::<Address>() {
            Ok(address) => format!("{address} has prefix `{}`", address.prefix()),
            Err(NotAnAddress { message, help, .. }) => format!("{message}; {help}"),
        }
    }

    #[test]
    fn what_is_right_is_taken() {
        assert_eq!(
            told("s3://bucket/team/faces/"),
            "s3://bucket/team/faces has prefix `team/faces`"
        );
        assert_eq!(told("gs://bucket"), "gs://bucket has prefix ``");
        assert_eq!(told("az://container/x"), "az://container/x has prefix `x`");
        let directory: Address = "file:///mnt/my%20results".parse().unwrap();
        assert_eq!(directory.directory(), Some(PathBuf::from("/mnt/my results")));
    }

    #[test]
    fn what_is_wrong_is_told_with_what_would_be_right() {
        let told = [
            "/mnt/x",
            "file://mnt/x",
            "file:///",
            "s4://bucket",
            "http://host/x",
            "s3:///x",
            "s3://host:9000/bucket",
            "s3://bucket/a//b",
        ]
        .map(told);
        insta::assert_snapshot!(told.join("\n"), @r"
        `/mnt/x` is not a URL; a directory is written `file:///mnt/x`
        `file://mnt/x` names a machine, `mnt`; a directory is written with three slashes: `file:///mnt/x`
        `file:///` names no directory; for example `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or `file:///mnt/results`
        a remote cannot be at `s4:`; for example `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or `file:///mnt/results`
        a remote cannot be at `http:`; for example `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or `file:///mnt/results`
        `s3:///x` names no bucket; for example `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or `file:///mnt/results`
        `s3://host:9000/bucket` names a bucket `host` with a port; the address of a server of your own is for AWS_ENDPOINT_URL
        `s3://bucket/a//b` holds a name that a bucket cannot have; write words with one `/` between them
        ");
    }

    #[test]
    fn a_secret_is_not_repeated() {
        for text in
            ["s3://KEY:hunter2@bucket/x", "az://c/x?sig=hunter2", "hunter2@", "s3://b/#hunter2"]
        {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.secret && !format!("{error:?}").contains("hunter2"), "{text}");
        }
    }
}

//! The threshold on disk: what `threshold` writes and `verify` reads.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::metric::open_set::Similarity;

/// When a probe is called nobody. JSON has no infinity, so the extremes are words.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reject {
    /// Never: every probe is taken for its nearest identity.
    Never,
    /// When its score is below this.
    Below(f64),
    /// Always.
    Always,
}

impl From<f64> for Reject {
    fn from(threshold: f64) -> Self {
        if threshold == f64::NEG_INFINITY {
            Self::Never
        } else if threshold == f64::INFINITY {
            Self::Always
        } else {
            Self::Below(threshold)
        }
    }
}

impl From<Reject> for f64 {
    fn from(reject: Reject) -> Self {
        match reject {
            Reject::Never => Self::NEG_INFINITY,
            Reject::Below(threshold) => threshold,
            Reject::Always => Self::INFINITY,
        }
    }
}

/// The part of `threshold.json` that decides about a probe; the rest is for people.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Decision {
    /// How embeddings are compared.
    pub(crate) similarity: Similarity,
    /// When a probe is called nobody.
    pub(crate) reject: Reject,
}

impl Decision {
    /// The name of the file.
    pub(crate) const FILE: &'static str = "threshold.json";

    /// Reads it from the output of `threshold`.
    ///
    /// # Errors
    ///
    /// When the file is missing or has another form.
    pub(crate) fn read(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join(Self::FILE);
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is not what threshold writes", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Decision, Reject};
    use crate::context::Trial;
    use crate::metric::open_set::Similarity;

    #[test]
    fn infinities_are_words() {
        for (threshold, text) in [
            (f64::NEG_INFINITY, "\"never\""),
            (0.25, "{\"below\":0.25}"),
            (f64::INFINITY, "\"always\""),
        ] {
            let reject = Reject::from(threshold);
            assert_eq!(serde_json::to_string(&reject).unwrap(), text);
            let back: Reject = serde_json::from_str(text).unwrap();
            assert_eq!(f64::from(back), threshold);
        }
    }

    #[test]
    fn only_the_decision_is_read() {
        let trial = Trial::new();
        let text = r#"{"similarity":"euclidean","accuracy":0.5,"reject":"never"}"#;
        trial.write("threshold.json", text);
        let expected = Decision { similarity: Similarity::Euclidean, reject: Reject::Never };
        assert_eq!(Decision::read(trial.directory.path()).unwrap(), expected);
        let path = trial.write("threshold.json", "{}");
        let error = Decision::read(trial.directory.path()).unwrap_err();
        assert!(error.to_string().contains(&path.display().to_string()));
    }
}

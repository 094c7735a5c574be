//! What has been done: results by the content they depend on.

//! Image sets on disk and in memory.

mod decode;
mod earlier_shards;
mod early_sync;
mod embeddings;
#[cfg(test)]
pub(crate) mod golden;
pub(crate) mod identity_labels;
mod images;
mod jpeg_bytes;
mod listing;
mod matches;
mod picture;
mod resize;
mod shard_file;
mod shard_writer;
mod shards;
mod statistics;
mod threshold_file;

pub(crate) use decode::decode;
pub(crate) use earlier_shards::EarlierShards;
pub(crate) use embeddings::{EmbeddingFacts, EmbeddingRow, Embeddings};
pub(crate) use images::Images;
pub(crate) use listing::{Layout, list};
pub(crate) use matches::{Match, read_lines};
pub(crate) use picture::Picture;
pub(crate) use resize::{Filter, Fit, Scaler};
pub(crate) use shard_writer::ShardWriter;
pub(crate) use shards::{Entry, Shards};
pub(crate) use statistics::{Statistics, Sums};
pub(crate) use threshold_file::{Decision, Reject};

//! Image sets on disk and in memory.

mod embeddings;
mod images;
mod picture;
mod shard_file;
mod shard_writer;
mod shards;

pub(crate) use embeddings::{EmbeddingFacts, EmbeddingRow, Embeddings};
pub(crate) use images::Images;
pub(crate) use picture::Picture;
pub(crate) use shard_writer::ShardWriter;
pub(crate) use shards::{Entry, Shards, Skipped};

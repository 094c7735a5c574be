//! Image sets on disk and in memory.

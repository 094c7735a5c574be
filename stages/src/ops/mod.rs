//! Training operators with hand-written gradients, on a tape of our own.

//! What turns gradients into better weights, one file each.

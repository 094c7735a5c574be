//! Random changes to training images, one file each.

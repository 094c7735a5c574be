//! What training minimizes, one file each.

//! Arguments, logs and exit code; nothing else.

fn main() {}

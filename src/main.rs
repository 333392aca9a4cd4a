//! The `equicrypt` command.

fn main() {}

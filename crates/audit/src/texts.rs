/// What an owner might send, a text a line, written for this purpose: what occurrences are counted in unless another text is
/// given.
pub const HELD_OUT: &str = include_str!("held_out.txt");

/// What an adversary injects: Lincoln's address at Gettysburg, the beginnings of the Declaration of
/// Independence, of Alice's Adventures in Wonderland, A Tale of Two Cities, Pride and Prejudice, Moby-Dick and Genesis in
/// the King James Version, all in the public domain.
pub const DOCUMENT: &str = include_str!("document.txt");

//! The audit in words, tables and pictures: one page of HTML, tables for a terminal and for Markdown, plots as SVG files.
//!
//! All of them say what [`verdicts`] says, and none says more: how much the best attack that was tried recovered.

mod adversary;
mod curves;
mod frontier;
mod grid;
mod html;
mod leak;
mod markdown;
mod markup;
mod number;
mod palette;
mod plot;
mod price;
mod scale;
mod sentence;
mod terminal;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

pub use curves::{curve_svgs, curves_markdown};
pub use frontier::frontier_svg;
pub use html::html;
pub use markdown::matrix_markdown;
pub use sentence::{Sentence, Standing, verdicts};
pub use terminal::{matrix_table, table};

/// Where the figures come from, and how to get them again.
#[derive(Debug, Clone)]
pub struct About {
    /// The command line. The caller leaves secrets out; the path of a key file is none.
    pub command: String,
    /// Of this program.
    pub version: String,
    /// The day, such as "2026-11-23".
    pub date: String,
    /// Threads that the attacks ran on.
    pub threads: usize,
}

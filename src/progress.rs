//! Progress bars: on a terminal only.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over `total` bytes; invisible where standard error is no terminal.
pub(crate) fn bytes(label: &'static str, total: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(
        "{msg:12} [{bar:32}] {bytes}/{total_bytes} {bytes_per_sec}, {eta} left",
    );
    let bar = ProgressBar::new(total).with_message(label);
    match style {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

/// A line that says what is going on, until it is dropped; invisible where standard error is no terminal.
pub(crate) fn spinner(label: String) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner().with_message(label);
    bar.enable_steady_tick(std::time::Duration::from_millis(120));
    bar
}

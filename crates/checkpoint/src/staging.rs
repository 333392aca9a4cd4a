use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::Error;

/// An output folder that appears complete or not at all.
///
/// The files go to a hidden sibling, `.NAME.partial-XXXXXX`; [`StagedDir::commit`] flushes and
/// renames it. Dropped without a commit, it is deleted. A process that is killed leaves the
/// hidden sibling, never a folder of the final name; the next one with the same target deletes it.
#[derive(Debug)]
pub struct StagedDir {
    partial: TempDir,
    target: PathBuf,
    parent: PathBuf,
    /// Locked for as long as this process lives: what tells a sibling in use from one left behind.
    lock: File,
}

impl StagedDir {
    /// Makes the hidden sibling of `target`.
    ///
    /// # Errors
    /// If `target` exists, or its parent folder does not.
    pub fn new(target: &Path) -> Result<StagedDir, Error> {
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
        let partial = tempfile::Builder::new()
            .prefix(&prefix)
            // The process's umask still applies, as for any other folder.
            .permissions(Permissions::from_mode(0o777))
            .tempdir_in(&parent)
            .map_err(Error::io("create a folder in", &parent))?;
        // A rename must mean the same thing after the process changes its working folder.
        let target = target.to_path_buf();
        let lock = File::open(partial.path()).map_err(Error::io("open", partial.path()))?;
        lock.lock().map_err(Error::io("lock", partial.path()))?;
        Ok(StagedDir {
            partial,
            target,
            parent,
            lock,
        })
    }

    /// Where to write the files until they are complete.
    pub fn path(&self) -> &Path {
        self.partial.path()
    }

    /// Flushes everything to the disk and gives the folder its final name.
    ///
    /// A file or a folder with anything in it that took the name meanwhile is never replaced; of
    /// two commits at the same instant one fails.
    ///
    /// # Errors
    /// If the name was taken meanwhile or the disk refuses; then the files are deleted.
    pub fn commit(self) -> Result<(), Error> {
        sync_tree(self.partial.path())?;
        refuse_existing(&self.target)?;
        match fs::rename(self.partial.path(), &self.target) {
            Ok(()) => {}
            Err(_) if self.target.symlink_metadata().is_ok() => {
                return Err(Error::OutputExists {
                    path: self.target.clone(),
                });
            }
            Err(source) => return Err(Error::io("create", &self.target)(source)),
        }
        let _renamed = self.partial.keep();
        self.lock
            .unlock()
            .map_err(Error::io("unlock", &self.target))?;
        sync(&self.parent)
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

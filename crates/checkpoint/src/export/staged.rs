use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::Error;

/// An output file that appears complete or not at all.
///
/// It grows in a hidden folder beside its place, `.NAME.partial-XXXXXX`, which is deleted whatever
/// happens; [`StagedFile::commit`] gives it its name.
#[derive(Debug)]
pub(super) struct StagedFile {
    partial: TempDir,
    path: PathBuf,
    target: PathBuf,
    parent: PathBuf,
}

impl StagedFile {
    /// # Errors
    /// If `target` exists, or its parent folder does not.
    pub(super) fn new(target: &Path) -> Result<StagedFile, Error> {
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
        let partial = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir_in(&parent)
            .map_err(Error::io("create a folder in", &parent))?;
        Ok(StagedFile {
            path: partial.path().join(name),
            partial,
            target: target.to_path_buf(),
            parent,
        })
    }

    /// Where to write the file until it is complete; nothing is there yet.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file, which the writer has flushed, its final name. Whatever took the name
    /// meanwhile is never replaced.
    ///
    /// # Errors
    /// If the name was taken meanwhile or the disk refuses; then the file is deleted.
    pub(super) fn commit(self) -> Result<(), Error> {
        refuse_existing(&self.target)?;
        match tempfile::TempPath::try_from_path(&self.path) {
            Ok(path) => path
                .persist_noclobber(&self.target)
                .map_err(|refused| refused.error),
            Err(error) => Err(error),
        }
        .map_err(|source| match self.target.symlink_metadata() {
            Ok(_) => Error::OutputExists {
                path: self.target.clone(),
            },
            Err(_) => Error::io("create", &self.target)(source),
        })?;
        drop(self.partial);
        File::open(&self.parent)
            .and_then(|parent| parent.sync_all())
            .map_err(Error::io("flush", &self.parent))
    }
}

fn refuse_existing(target: &Path) -> Result<(), Error> {
    match target.symlink_metadata() {
        Ok(_) => Err(Error::OutputExists {
            path: target.to_path_buf(),
        }),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn entries(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn a_commit_makes_exactly_the_target() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("m.gguf");
        let staged = StagedFile::new(&target).unwrap();
        fs::write(staged.path(), "1").unwrap();
        assert!(!target.exists());
        staged.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"1");
        assert_eq!(entries(parent.path()), 1);
    }

    #[test]
    fn a_drop_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let staged = StagedFile::new(&parent.path().join("m.gguf")).unwrap();
        fs::write(staged.path(), "1").unwrap();
        drop(staged);
        assert_eq!(entries(parent.path()), 0);
    }

    #[test]
    fn an_existing_target_is_refused_first_and_last() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("m.gguf");
        let staged = StagedFile::new(&target).unwrap();
        fs::write(staged.path(), "1").unwrap();
        fs::write(&target, "precious").unwrap();
        assert!(matches!(staged.commit(), Err(Error::OutputExists { .. })));
        assert!(matches!(
            StagedFile::new(&target),
            Err(Error::OutputExists { .. })
        ));
        assert_eq!(fs::read(&target).unwrap(), b"precious");
        assert_eq!(entries(parent.path()), 1);
    }

    #[test]
    fn targets_without_a_place_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        for target in [parent.path().join("no/m.gguf"), "/".into(), "..".into()] {
            let refused = StagedFile::new(&target);
            let refused = refused.map(|_| ()).unwrap_err();
            assert!(
                matches!(
                    refused,
                    Error::BadOutput { .. } | Error::OutputExists { .. }
                ),
                "{refused}"
            );
        }
    }
}

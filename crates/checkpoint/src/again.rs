use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::tensor::check_range;
use crate::{Checkpoint, Error};

/// The weights of a folder in another one, with other bytes in some tensors and the same bytes everywhere else.
///
/// Files are laid out as in the source. A file without a changed tensor becomes a hard link, or a copy where the system
/// makes none (another file system, another owner); every other one is copied and then written to. Put it in a
/// [`StagedDir`](crate::StagedDir).
#[derive(Debug)]
pub struct CheckpointAgain<'a> {
    source: &'a Checkpoint,
    files: Vec<Target>,
    /// For each changed tensor how many bytes were written to it.
    written: HashMap<String, AtomicU64>,
}

/// What became of the files of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Files {
    /// They are the source's own.
    pub linked: usize,
    /// They hold the same bytes.
    pub copied: usize,
    /// They hold other bytes in some tensors.
    pub rewritten: usize,
}

#[derive(Debug)]
enum Target {
    Linked,
    Copied,
    Open(PathBuf, File),
}

impl<'a> CheckpointAgain<'a> {
    /// Makes the files of `source` in the folder `dir`; those with a tensor of `changed` are copied, and `progress` is told
    /// how many bytes were since it was last called.
    ///
    /// # Errors
    /// If a changed tensor does not exist, or a file cannot be read or made.
    pub fn create(
        source: &'a Checkpoint,
        dir: &Path,
        changed: &[&str],
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Self, Error> {
        let mut is_open = vec![false; source.paths().len()];
        let mut written = HashMap::new();
        for name in changed {
            let place = source.place(name)?;
            if let Some(open) = is_open.get_mut(place.shard) {
                *open = true;
            }
            written.insert((*name).to_owned(), AtomicU64::new(0));
        }
        let mut files = Vec::with_capacity(is_open.len());
        for (path, is_open) in source.paths().zip(is_open) {
            // Every file was opened below the folder.
            let inside = path.strip_prefix(source.dir()).unwrap_or(path);
            let target = dir.join(inside);
            if let Some(folder) = target.parent() {
                fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
            }
            files.push(match is_open {
                true => Target::Open(target.clone(), copy(path, &target, progress)?),
                false => match link(path, &target) {
                    Ok(()) => Target::Linked,
                    Err(_) => {
                        copy(path, &target, progress)?;
                        Target::Copied
                    }
                },
            });
        }
        Ok(Self {
            source,
            files,
            written,
        })
    }

    /// Writes `bytes` into the changed tensor `name`, from its byte `byte_offset` on; every byte once, from any thread.
    ///
    /// # Errors
    /// If it is no changed tensor, the bytes reach past its end, or the file cannot be written.
    pub fn write(&self, name: &str, byte_offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let place = self.source.place(name)?;
        let (Some(Target::Open(path, file)), Some(written)) =
            (self.files.get(place.shard), self.written.get(name))
        else {
            return Err(self.source.no_such_tensor(name));
        };
        check_range(name, place.byte_len, byte_offset, bytes.len())?;
        file.write_all_at(bytes, place.file_offset + byte_offset)
            .map_err(Error::io("write", path))?;
        written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// What became of the files.
    ///
    /// # Errors
    /// If the bytes written to a changed tensor are not as many as it has.
    pub fn finish(self) -> Result<Files, Error> {
        for (name, written) in &self.written {
            let (found, expected) = (
                written.load(Ordering::Relaxed),
                self.source.place(name)?.byte_len,
            );
            if found != expected {
                return Err(Error::Layout {
                    path: self.source.dir().to_path_buf(),
                    problem: format!("tensor {name:?}: {found} of {expected} bytes were written"),
                });
            }
        }
        let count = |kind: fn(&Target) -> bool| self.files.iter().filter(|t| kind(t)).count();
        Ok(Files {
            linked: count(|target| matches!(target, Target::Linked)),
            copied: count(|target| matches!(target, Target::Copied)),
            rewritten: count(|target| matches!(target, Target::Open(..))),
        })
    }
}

/// The file itself, not a symbolic link that may lead to it.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(fs::canonicalize(from)?, to)
}

/// Copies the bytes and not the permissions: what is read-only there must be written here. The system may share the
/// blocks of the two files.
fn copy(from: &Path, to: &Path, progress: &(dyn Fn(u64) + Sync)) -> Result<File, Error> {
    let mut source = File::open(from).map_err(Error::io("open", from))?;
    let mut target = File::create_new(to).map_err(Error::io("create", to))?;
    loop {
        let mut block = (&mut source).take(COPIED_AT_ONCE);
        match io::copy(&mut block, &mut target).map_err(Error::io("copy", from))? {
            0 => return Ok(target),
            copied => progress(copied),
        }
    }
}

const COPIED_AT_ONCE: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use serde_json::json;

    use super::*;
    use crate::{CheckpointWriter, Dtype, TensorHeader, write_json};

    /// Three tensors in three files.
    fn folder(dir: &Path) -> Checkpoint {
        fs::create_dir(dir).unwrap();
        let headers = ["a", "b", "c"].map(|name| TensorHeader::new(name, Dtype::F32, &[2]));
        let writer = CheckpointWriter::create_sharded(dir, &headers, 8).unwrap();
        for (header, byte) in headers.iter().zip(1..) {
            writer.write(&header.name, 0, &[byte; 8]).unwrap();
        }
        writer.finish().unwrap();
        write_json(&dir.join("config.json"), &json!({})).unwrap();
        Checkpoint::open(dir).unwrap()
    }

    fn again(source: &Checkpoint, out: &Path) -> Files {
        fs::create_dir(out).unwrap();
        for name in ["config.json", "model.safetensors.index.json"] {
            fs::copy(source.dir().join(name), out.join(name)).unwrap();
        }
        let again = CheckpointAgain::create(source, out, &["b"], &|_| ()).unwrap();
        again.write("b", 4, &[8; 4]).unwrap();
        again.write("b", 0, &[9; 4]).unwrap();
        again.finish().unwrap()
    }

    #[test]
    fn files_without_a_changed_tensor_are_linked_and_the_source_stays() {
        let place = tempfile::tempdir().unwrap();
        let source = folder(&place.path().join("source"));
        let second = place.path().join("source/model-00002-of-00003.safetensors");
        fs::set_permissions(&second, fs::Permissions::from_mode(0o444)).unwrap();
        let out = place.path().join("out");
        let files = again(&source, &out);
        assert_eq!((files.linked, files.copied, files.rewritten), (2, 0, 1));
        let inode = |dir: &Path, n: usize| {
            let name = format!("model-0000{n}-of-00003.safetensors");
            fs::metadata(dir.join(name)).unwrap().ino()
        };
        for (n, same) in [(1, true), (2, false), (3, true)] {
            assert_eq!(inode(source.dir(), n) == inode(&out, n), same, "{n}");
        }
        let read = |checkpoint: &Checkpoint, name: &str| {
            let mut bytes = [0; 8];
            checkpoint.read(name, 0, &mut bytes).unwrap();
            bytes
        };
        let out = Checkpoint::open(&out).unwrap();
        assert_eq!(read(&source, "b"), [2; 8]);
        assert_eq!(read(&out, "b"), [9, 9, 9, 9, 8, 8, 8, 8]);
        assert_eq!((read(&out, "a"), read(&out, "c")), ([1; 8], [3; 8]));
    }

    /// The Hugging Face cache keeps its files behind links.
    #[test]
    fn what_symbolic_links_lead_to_is_linked() {
        let place = tempfile::tempdir().unwrap();
        let source = folder(&place.path().join("source"));
        let name = "model-00001-of-00003.safetensors";
        let blob = place.path().join("blob");
        fs::rename(source.dir().join(name), &blob).unwrap();
        std::os::unix::fs::symlink("../blob", source.dir().join(name)).unwrap();
        let out = place.path().join("out");
        assert_eq!(again(&source, &out).linked, 2);
        assert!(!out.join(name).is_symlink());
        assert_eq!(
            fs::metadata(out.join(name)).unwrap().ino(),
            fs::metadata(blob).unwrap().ino()
        );
    }

    /// Shared memory is a file system of its own.
    #[test]
    fn another_file_system_gets_copies() {
        let place = tempfile::tempdir().unwrap();
        let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
            return;
        };
        let device = |dir: &Path| fs::metadata(dir).unwrap().dev();
        if device(place.path()) == device(other.path()) {
            return;
        }
        let source = folder(&place.path().join("source"));
        let out = other.path().join("out");
        let files = again(&source, &out);
        assert_eq!((files.linked, files.copied, files.rewritten), (0, 2, 1));
        let mut bytes = [0; 8];
        let out = Checkpoint::open(&out).unwrap();
        out.read("c", 0, &mut bytes).unwrap();
        assert_eq!(bytes, [3; 8]);
    }

    #[test]
    fn only_changed_tensors_are_written_and_all_of_their_bytes() {
        let place = tempfile::tempdir().unwrap();
        let source = folder(&place.path().join("source"));
        let out = place.path().join("out");
        fs::create_dir(&out).unwrap();
        let missing = CheckpointAgain::create(&source, &out, &["d"], &|_| ());
        assert!(matches!(missing, Err(Error::NoSuchTensor { .. })));
        let again = CheckpointAgain::create(&source, &out, &["b"], &|_| ()).unwrap();
        assert!(again.write("a", 0, &[0]).is_err());
        assert!(again.write("b", 5, &[0; 4]).is_err());
        again.write("b", 0, &[0; 4]).unwrap();
        let message = again.finish().unwrap_err().to_string();
        assert!(message.contains("4 of 8"), "{message}");
    }
}

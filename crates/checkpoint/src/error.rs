use std::io;
use std::path::{Path, PathBuf};

/// Everything that reading or writing a checkpoint can refuse.
///
/// A message names the file and, where there is one, the tensor or field; says what was expected
/// and found; and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried: "open", "read", ...
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },

    /// A safetensors file breaks its format.
    #[error(
        "{file} is not a sound safetensors file: {problem}; fetch the file again",
        file = .file.display()
    )]
    Safetensors {
        /// The file.
        file: PathBuf,
        /// What was expected and what was found.
        problem: String,
    },

    /// A tensor holds numbers that are not F64, F32, F16 or BF16.
    #[error(
        "{file}: tensor {tensor:?} is stored as {dtype}, but only F64, F32, F16 and BF16 can be \
         read; {advice}",
        file = .file.display()
    )]
    UnsupportedDtype {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// The dtype's name in the header.
        dtype: String,
        /// What to do instead.
        advice: &'static str,
    },

    /// `config.json` or `modules.json` says something that is not supported.
    #[error(transparent)]
    Model(#[from] equicrypt_spec::Error),

    /// A folder is not a usable Hugging Face checkpoint.
    #[error("{dir} is not a usable checkpoint folder: {problem}", dir = .dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// What is missing or contradictory, and what to do.
        problem: String,
    },

    /// A JSON file does not hold what it should.
    #[error("{file}: {problem}", file = .file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// What was expected and found.
        problem: String,
    },

    /// A tensor was asked for that the checkpoint does not have.
    #[error("{place} has no tensor {name:?}", place = .place.display())]
    NoSuchTensor {
        /// The file or folder.
        place: PathBuf,
        /// The name asked for.
        name: String,
    },

    /// A read or write reaches past the end of a tensor.
    #[error("tensor {tensor:?} has {size} bytes, but bytes {start}..{start}+{len} were addressed")]
    OutOfRange {
        /// The tensor.
        tensor: String,
        /// Its size in bytes.
        size: u64,
        /// The first byte addressed.
        start: u64,
        /// How many bytes were addressed.
        len: u64,
    },

    /// The headers given to a writer cannot make a checkpoint.
    #[error("cannot lay out {path}: {problem}", path = .path.display())]
    Layout {
        /// The file or folder to be written.
        path: PathBuf,
        /// What is wrong with which tensor.
        problem: String,
    },

    /// A writer was finished before every byte of every tensor was written, or after too many.
    #[error(
        "{file}: {written} of {size} bytes of tensor {tensor:?} were written; the file is not \
         complete",
        file = .file.display()
    )]
    Incomplete {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Bytes written to it.
        written: u64,
        /// Bytes it has.
        size: u64,
    },

    /// The output path is taken.
    #[error("{path} exists; choose another path or delete it", path = .path.display())]
    OutputExists {
        /// The output path.
        path: PathBuf,
    },

    /// The output path cannot name a folder.
    #[error("{path} cannot be an output: {problem}", path = .path.display())]
    BadOutput {
        /// The output path.
        path: PathBuf,
        /// Why, and what to do.
        problem: &'static str,
    },

    /// A GGUF file breaks its format.
    #[error("{file} is not a sound GGUF file: {problem}; fetch the file again", file = .file.display())]
    Gguf {
        /// The file.
        file: PathBuf,
        /// What was expected and what was found.
        problem: String,
    },

    /// A GGUF file is sound, but holds something that cannot be imported faithfully.
    #[error("{file} cannot be imported: {what}; {advice}", file = .file.display())]
    UnsupportedGguf {
        /// The file.
        file: PathBuf,
        /// The field or tensor, what was expected and what was found.
        what: String,
        /// What to do instead.
        advice: &'static str,
    },

    /// A model is sound, but cannot be written as GGUF such that llama.cpp computes the same.
    #[error("{place} cannot be written as GGUF: {what}; {advice}", place = .place.display())]
    UnsupportedExport {
        /// The folder or its `config.json`.
        place: PathBuf,
        /// The field or tensor, what was expected and what was found.
        what: String,
        /// What to do instead.
        advice: &'static str,
    },
}

impl Error {
    /// For `map_err`: the system refused to `action` the file at `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io {
            action,
            path,
            source,
        }
    }
}

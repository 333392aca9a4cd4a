//! Runs the binary as a user does: in folders of its own, and looking only at what a user can see.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test binary uses a part of this"
)]

pub mod chat_model;
pub mod encoder;
pub mod gguf;
pub mod linear_host;
pub mod middle;
pub mod recorder;
pub mod server;
pub mod weights;
pub mod wire;

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::UNIX_EPOCH;

use equicrypt_cipher::write_key_file;
use equicrypt_spec::Profile;
use serde_json::Value;
use tempfile::TempDir;

use crate::support;

/// Arguments of any mixture of types.
macro_rules! args {
    ($($arg:expr),* $(,)?) => { [$(std::ffi::OsStr::new($arg)),*] };
}
#[allow(unused_imports, reason = "not every test binary runs commands")]
pub(crate) use args;

/// The binary with these arguments, no terminal, and nothing on standard input.
pub fn command(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_equicrypt"));
    command.args(args).env_remove("EQUICRYPT_LISTEN");
    command.env("XDG_STATE_HOME", state_folder());
    piped(command)
}

/// Where a command may keep what outlives it: not in the developer's own folder, and in another one each time.
fn state_folder() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let since = UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let name = format!("state/{}-{since}-{count}", std::process::id());
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// The same where no file can be longer than this many blocks of 512 bytes.
pub fn equicrypt_with_short_files(
    blocks: u32,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Ran {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_equicrypt")]);
    command.args(args).env_remove("EQUICRYPT_LISTEN");
    Ran::from(piped(command).output().unwrap())
}

/// The same where the folder `dir` is a disk of its own, with room for this many kilobytes and gone afterwards. What is
/// left on it is listed after standard output. None where the system gives a user no namespace to mount it in.
pub fn equicrypt_on_a_small_disk(
    dir: &Path,
    kilobytes: u32,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Option<Ran> {
    let mount = format!("mount -t tmpfs -o size={kilobytes}k none \"$0\"");
    let mounted = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", script]);
        command.arg(dir).env_remove("EQUICRYPT_LISTEN");
        piped(command)
    };
    if !mounted(&mount)
        .status()
        .is_ok_and(|status| status.success())
    {
        return None;
    }
    let script = format!("{mount}; \"$@\"; code=$?; ls -A \"$0\"; exit $code");
    let mut command = mounted(&script);
    command.arg(env!("CARGO_BIN_EXE_equicrypt")).args(args);
    Some(Ran::from(command.output().unwrap()))
}

fn piped(mut command: Command) -> Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub fn equicrypt(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ran {
    Ran::from(command(args).output().unwrap())
}

/// The binary with `input` on standard input.
pub fn equicrypt_reading(input: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ran {
    let mut child = command(args).stdin(Stdio::piped()).spawn().unwrap();
    // A command that refuses before it reads closes the pipe: no error of the test's.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    Ran::from(child.wait_with_output().unwrap())
}

/// What a finished command shows.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// It refused or failed: exit code 1, one message that has all these words, and nothing else.
    #[track_caller]
    pub fn fails_saying(&self, words: &[&str]) {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert_eq!(self.out, "", "{self:?}");
        self.says(words);
    }

    /// Standard error is one message of this program, without a panic, that has all these words.
    #[track_caller]
    pub fn says(&self, words: &[&str]) {
        assert!(self.err.starts_with("equicrypt: "), "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "no {word:?} in {self:?}");
        }
        for noise in ["panicked", "RUST_BACKTRACE", "\x1b"] {
            assert!(!self.err.contains(noise), "{self:?}");
        }
    }

    /// It was called wrongly: exit code 2, and these words.
    #[track_caller]
    pub fn is_misused_saying(&self, words: &[&str]) {
        assert_eq!(self.code, Some(2), "{self:?}");
        assert_eq!(self.out, "", "{self:?}");
        assert!(!self.err.contains("panicked"), "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "no {word:?} in {self:?}");
        }
    }

    /// It did what it should and complained of nothing. Returns standard output.
    #[track_caller]
    pub fn succeeds(&self) -> &str {
        assert_eq!(
            (self.code, self.err.as_str()),
            (Some(0), ""),
            "{}",
            self.out
        );
        &self.out
    }

    /// The same, with one JSON value on standard output.
    #[track_caller]
    pub fn succeeds_with_json(&self) -> Value {
        serde_json::from_str(self.succeeds()).unwrap()
    }
}

/// A small chat model, its owner's key, and an empty folder for what the commands make.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(place.path("made")).unwrap();
        chat_model::write(&place.model(), 1);
        write_key_file(&place.key(), &support::key(KEY), None).unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn model(&self) -> PathBuf {
        self.path("model")
    }

    pub fn key(&self) -> PathBuf {
        self.path("owner.key")
    }

    /// A sound key file that encrypted nothing.
    pub fn other_key(&self) -> PathBuf {
        let path = self.path("other.key");
        write_key_file(&path, &support::key(OTHER_KEY), None).unwrap();
        path
    }

    /// Where a command should make something.
    pub fn out(&self) -> PathBuf {
        self.path("made/encrypted")
    }

    /// The model, encrypted under the key.
    pub fn encrypted(&self) -> PathBuf {
        let out = self.path("encrypted");
        let key = support::key(KEY);
        support::encrypted(&self.model(), &out, &key, Profile::Permute);
        out
    }

    /// `encrypt` of the model under the key.
    pub fn encrypt(&self) -> Ran {
        let (model, out, key) = (self.model(), self.out(), self.key());
        equicrypt(args!["encrypt", &model, "-o", &out, "--key", &key])
    }

    /// Neither an output nor a part of one.
    #[track_caller]
    pub fn holds_nothing_made(&self) {
        assert_eq!(entries(&self.path("made")), [""; 0]);
    }
}

/// The names in a folder, sorted.
pub fn entries(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Changes a JSON file.
pub fn edit_json(path: &Path, edit: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    edit(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

/// `support::key`'s bytes.
pub const KEY: u8 = 7;
pub const OTHER_KEY: u8 = 8;

pub const ENCRYPTED_FOLDER: [&str; 6] = [
    "config.json",
    "equicrypt.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
];

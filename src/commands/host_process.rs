//! A host in a process of its own, that has a folder and nothing else.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::serve::announced_url;
use super::shares::announced_address;
use super::stop::WITH_STDIN;

/// A host, until it is dropped.
pub(super) struct HostProcess {
    child: Child,
    url: String,
}

impl HostProcess {
    /// `equicrypt serve FOLDER`, with an environment that says only where to listen and to end with this process; it answers when this returns.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let mut command = this_program()?;
        command
            .arg("serve")
            .arg(folder)
            .env("EQUICRYPT_LISTEN", "127.0.0.1:0");
        Self::run(command, announced_url)
    }

    /// `equicrypt shares serve FOLDER`, at a free port of this machine. It makes its transport key in the file `key`.
    pub(super) fn start_shares(folder: &Path, key: &Path) -> Result<Self> {
        let mut command = this_program()?;
        command
            .args(["shares", "serve"])
            .arg(folder)
            .args(["--listen", "tcp://127.0.0.1:0", "--transport-key"])
            .arg(key);
        Self::run(command, announced_address)
    }

    fn run(mut command: Command, announced: fn(&str) -> Option<String>) -> Result<Self> {
        let mut child = command
            // It is closed when this process ends, even by SIGKILL.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the host's process")?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.as_mut() {
            BufReader::new(stdout)
                .read_line(&mut line)
                .context("cannot read from the host's process")?;
        }
        match announced(&line) {
            Some(url) => Ok(Self { child, url }),
            None => {
                let mut why = String::new();
                if let Some(stderr) = child.stderr.as_mut() {
                    // Whatever can be read is more than nothing.
                    let _ = stderr.read_to_string(&mut why);
                }
                let _ = child.kill();
                let _ = child.wait();
                bail!("the host's process did not start: {}", why.trim());
            }
        }
    }

    /// Where it listens.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn this_program() -> Result<Command> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new(program);
    command.env_clear().env(WITH_STDIN, "1");
    Ok(command)
}

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::commands::serve::announced_url;

/// A blind server in a process of its own: `equicrypt serve FOLDER`, with an environment that says only where to listen.
pub(super) struct HostProcess {
    child: Child,
    url: String,
}

impl HostProcess {
    /// Starts the process and waits until it answers.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut child = Command::new(program)
            .arg("serve")
            .arg(folder)
            .env_clear()
            .env("EQUICRYPT_LISTEN", "127.0.0.1:0")
            .stdin(Stdio::null())
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
        match announced_url(&line) {
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

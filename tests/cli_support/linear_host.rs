//! `equicrypt shares` as processes.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use super::server::Server;
use super::{Place, args, command, equicrypt};

/// `equicrypt shares serve`. It is killed when dropped.
pub struct LinearHost {
    child: Child,
    pub address: String,
}

impl LinearHost {
    pub fn start(model: &Path, listen: &str, key: &Path) -> Self {
        let mut command = command(args![
            "shares",
            "serve",
            model,
            "--listen",
            listen,
            "--transport-key",
            key
        ]);
        let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
        let mut line = String::new();
        let out = child.stdout.as_mut().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let address = line.trim_end().rsplit_once(" at ").unwrap().1.to_owned();
        Self { child, address }
    }
}

impl Drop for LinearHost {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `shares prepare` makes of the place's model.
pub fn prepared(place: &Place) -> PathBuf {
    let owner = place.path("owner");
    let said = equicrypt(args!["shares", "prepare", &place.model(), "-o", &owner]);
    let said = said.succeeds();
    assert!(said.starts_with("prepared model in"), "{said}");
    assert!(said.contains("a token sends"), "{said}");
    owner
}

/// A gateway for the folder, with hosts at these addresses.
pub fn gateway(owner: &Path, hosts: [&str; 2]) -> Server {
    let hosts = hosts.join(",");
    let mut command = command(args!["gateway", "--model", owner, "--shares", &hosts]);
    command.env("EQUICRYPT_GATEWAY_LISTEN", "127.0.0.1:0");
    Server::run(command, owner)
}

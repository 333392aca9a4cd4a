//! `equicrypt serve` as a process, and HTTP by hand.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus};
use std::time::{Duration, Instant};

use super::{Place, command};

/// A server on a free port. It is killed when dropped.
pub struct Server {
    child: Child,
    address: String,
    /// Open, so that the server may print.
    out: BufReader<ChildStdout>,
}

impl Server {
    /// Serves `folder`; returns when the server says that it does.
    pub fn start(folder: &Path) -> Self {
        Self::start_with(folder, [""; 0])
    }

    pub fn start_with(folder: &Path, options: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let mut command = command([OsStr::new("serve"), folder.as_os_str()]);
        command.args(options).env("EQUICRYPT_LISTEN", "127.0.0.1:0");
        // Whatever a dependency might say.
        command.env("RUST_LOG", "trace");
        // So that it has the same transport key when it is started again.
        command.env("XDG_STATE_HOME", folder.with_file_name("host-state"));
        Self::run(command, folder)
    }

    /// A gateway for the owner of `place`, with these options.
    pub fn gateway(place: &Place, options: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let mut command = gateway_command(place, &place.key());
        command.args(options);
        Self::run(command, &place.model())
    }

    /// Runs a command that serves; returns when it says that it does.
    pub fn run(mut command: Command, folder: &Path) -> Self {
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let name = folder.file_name().unwrap().to_str().unwrap();
        let head = format!("serving {name} on http://");
        let Some(address) = line.strip_prefix(&head) else {
            let _ = child.kill();
            let mut err = String::new();
            let _ = child.stderr.take().unwrap().read_to_string(&mut err);
            panic!("{line:?}, {err:?}");
        };
        Self {
            address: address.trim_end().to_owned(),
            child,
            out,
        }
    }

    /// What it prints next.
    pub fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line
    }

    /// `IP:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        self.exchange("GET", path, "")
    }

    pub fn post(&self, path: &str, body: &str) -> (u16, String) {
        self.exchange("POST", path, body)
    }

    /// Open files and connections of the process.
    pub fn open_files(&self) -> usize {
        let dir = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(dir).unwrap().count()
    }

    /// A number of /metrics.
    pub fn metric(&self, name: &str) -> u64 {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        let head = format!("equicrypt_{name} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&head));
        let value = value.unwrap_or_else(|| panic!("no {name} in {text}"));
        value.parse().unwrap()
    }

    /// What the host has seen of prompts: requests by what became of them, those under way, and tokens.
    pub fn generate_counts(&self) -> Vec<u64> {
        let names = [
            "requests_total{result=\"finished\"}",
            "requests_total{result=\"cancelled\"}",
            "requests_total{result=\"failed\"}",
            "requests_total{result=\"overloaded\"}",
            "requests_waiting",
            "answers_running",
            "prompt_tokens_total",
            "cached_prompt_tokens_total",
        ];
        names.map(|name| self.metric(name)).to_vec()
    }

    /// The same, with what it wrote to standard error.
    pub fn terminate_saying(mut self) -> (ExitStatus, String) {
        let mut pipe = self.child.stderr.take().unwrap();
        let (status, _) = self.terminate();
        let mut err = String::new();
        pipe.read_to_string(&mut err).unwrap();
        (status, err)
    }

    /// Asks the server to end, and waits until it has.
    pub fn terminate(mut self) -> (ExitStatus, Duration) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(sent.success());
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, start.elapsed());
            }
            assert!(start.elapsed() < PATIENCE, "still running");
            std::thread::sleep(TICK);
        }
    }

    /// Kills the server and returns what it wrote to standard error.
    pub fn kill(self) -> String {
        self.kill_saying_all().1
    }

    /// The same, behind what it wrote to standard output since it said that it serves.
    pub fn kill_saying_all(mut self) -> (String, String) {
        self.child.kill().unwrap();
        let (mut out, mut err) = (String::new(), String::new());
        self.out.read_to_string(&mut out).unwrap();
        let mut pipe = self.child.stderr.take().unwrap();
        pipe.read_to_string(&mut err).unwrap();
        (out, err)
    }

    fn exchange(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = self.connect();
        stream
            .write_all(http(method, path, body).as_bytes())
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.strip_prefix("HTTP/1.1 ").unwrap();
        (status[..3].parse().unwrap(), body.to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `gateway` on a free port.
pub fn gateway_command(place: &Place, key: &Path) -> Command {
    let mut command = command([OsStr::new("gateway"), OsStr::new("--model")]);
    command.arg(place.model()).arg("--key").arg(key);
    command.args(["--listen", "127.0.0.1:0"]);
    // Not the developer's own counts.
    command.env("XDG_STATE_HOME", place.path("state"));
    command.env("EQUICRYPT_GATEWAY_BUDGET", "off");
    command
}

/// A request after which the server closes the connection.
pub fn http(method: &str, path: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Asks `holds` again and again until it does.
#[track_caller]
pub fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
        std::thread::sleep(TICK);
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(3);

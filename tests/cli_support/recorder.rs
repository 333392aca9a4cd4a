//! Someone on the wire between gateway and host: sees every byte, and may cut connections.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

pub struct Recorder {
    address: String,
    bytes: Arc<Mutex<Vec<u8>>>,
    /// Of each so many connections one is cut in the middle of its answer; 0 for none.
    cut_every: Arc<AtomicUsize>,
}

impl Recorder {
    /// Stands before the host at this address.
    pub fn before(host: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let recorder = Self {
            address: listener.local_addr().unwrap().to_string(),
            bytes: Arc::default(),
            cut_every: Arc::default(),
        };
        let (bytes, cut_every) = (Arc::clone(&recorder.bytes), Arc::clone(&recorder.cut_every));
        let host = host.to_owned();
        std::thread::spawn(move || {
            for (number, client) in listener.incoming().enumerate() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&host)) else {
                    continue;
                };
                let every = cut_every.load(Ordering::Relaxed);
                let cut = every > 0 && number % every == 0;
                forward(&client, &server, Arc::clone(&bytes), usize::MAX);
                let most = if cut { CUT_BEHIND } else { usize::MAX };
                forward(&server, &client, Arc::clone(&bytes), most);
            }
        });
        recorder
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn cut_every(&self, connections: usize) {
        self.cut_every.store(connections, Ordering::Relaxed);
    }

    /// Everything so far, both ways.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }
}

fn forward(from: &TcpStream, to: &TcpStream, bytes: Arc<Mutex<Vec<u8>>>, most: usize) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        let mut passed = 0;
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            bytes.lock().unwrap().extend_from_slice(&buffer[..count]);
            passed += count;
            if passed > most || to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        // The other side may have gone first.
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}

/// Bytes: more than a list of models, less than an answer.
const CUT_BEHIND: usize = 1500;

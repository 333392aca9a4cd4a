//! Somebody between an owner and a host, who records what the host sees and may change what it says.

use std::collections::HashSet;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use equicrypt_ring::Residues;
use equicrypt_ring::wire::{Answer, Request};
use equicrypt_sealed::Address;
use equicrypt_shares::HostAddress;

/// What a host was asked, connection by connection.
#[derive(Default)]
pub struct View {
    /// Each seed that it was told, and the counters that it was asked about with it.
    pub seeds: Vec<([u8; 32], HashSet<u64>)>,
    /// Counters that came again under the same seed.
    pub repeated: usize,
    /// What it was asked about masks: layer, vectors, first counter.
    pub masks: Vec<(u32, u32, u64)>,
    /// The vectors that it was sent, with their layer.
    pub vectors: Vec<(u32, Residues)>,
    pub connections: usize,
}

/// What happens to an answer. They are counted from when this is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meddle {
    Nothing,
    /// This bit of the residues of answer number `answer` is flipped.
    Flip {
        answer: usize,
        bit: usize,
    },
    /// This answer does not come for so long.
    Delay {
        answer: usize,
        by: Duration,
    },
    /// The connection ends before this answer.
    Cut {
        answer: usize,
    },
    /// Another request is answered instead.
    Renumber {
        answer: usize,
    },
    /// A vector is missing.
    Shorten {
        answer: usize,
    },
}

pub struct Tap {
    pub address: HostAddress,
    pub view: Arc<Mutex<View>>,
    /// And how many answers have come since.
    meddle: Arc<Mutex<(Meddle, usize)>>,
}

impl Tap {
    /// Listens at `at` for owners of the host at `host`, until the test ends.
    pub fn new(at: &Path, host: &HostAddress) -> Self {
        let listener = UnixListener::bind(at).unwrap();
        let Address::Unix(host) = host.address.clone() else {
            panic!("a host at a socket")
        };
        let view: Arc<Mutex<View>> = Arc::default();
        let meddle = Arc::new(Mutex::new((Meddle::Nothing, 0)));
        let (seen, mood) = (Arc::clone(&view), Arc::clone(&meddle));
        thread::spawn(move || {
            for owner in listener.incoming() {
                let (Ok(owner), Ok(host)) = (owner, UnixStream::connect(&host)) else {
                    continue;
                };
                seen.lock().unwrap().connections += 1;
                let (from, to) = (owner.try_clone().unwrap(), host.try_clone().unwrap());
                let seen = Arc::clone(&seen);
                thread::spawn(move || pass_requests(from, to, &seen));
                let mood = Arc::clone(&mood);
                thread::spawn(move || pass_answers(host, owner, &mood));
            }
        });
        Self {
            address: HostAddress {
                address: Address::Unix(at.to_owned()),
                pin: None,
            },
            view,
            meddle,
        }
    }

    pub fn set(&self, meddle: Meddle) {
        *self.meddle.lock().unwrap() = (meddle, 0);
    }
}

fn pass_requests(mut from: UnixStream, mut to: UnixStream, view: &Mutex<View>) {
    while let Ok(Some((request, _))) = Request::read(&mut from) {
        let mut view = view.lock().unwrap();
        match &request {
            Request::Hello(_) => {}
            Request::Seed(seed) => view.seeds.push((*seed.expose(), HashSet::new())),
            Request::Multiply { layer, queries, .. } => {
                view.vectors.push((*layer, queries.clone()));
            }
            Request::MultiplyMask {
                layer, rows, first, ..
            } => {
                view.masks.push((*layer, *rows, *first));
                let (_, used) = view.seeds.last_mut().unwrap();
                let again = (*first..first + u64::from(*rows)).filter(|c| !used.insert(*c));
                let again = again.count();
                view.repeated += again;
            }
        }
        drop(view);
        if request.write(&mut to).is_err() {
            break;
        }
    }
    let _ = from.shutdown(std::net::Shutdown::Both);
    let _ = to.shutdown(std::net::Shutdown::Both);
}

fn pass_answers(mut from: UnixStream, mut to: UnixStream, meddle: &Mutex<(Meddle, usize)>) {
    while let Ok(Some((mut answer, _))) = Answer::read(&mut from) {
        if let Answer::Product { request, answers } = &mut answer {
            let (meddle, number) = {
                let mut meddle = meddle.lock().unwrap();
                meddle.1 += 1;
                (meddle.0, meddle.1 - 1)
            };
            match meddle {
                Meddle::Flip { answer, bit } if answer == number => {
                    answers.values_mut()[bit / 32] ^= 1 << (bit % 32);
                }
                Meddle::Delay { answer, by } if answer == number => thread::sleep(by),
                Meddle::Cut { answer } if answer == number => break,
                Meddle::Renumber { answer } if answer == number => *request += 1,
                Meddle::Shorten { answer } if answer == number => {
                    *answers = Residues::zeros(answers.rows(), answers.width() - 1);
                }
                _ => {}
            }
        }
        if answer.write(&mut to).is_err() {
            break;
        }
    }
    let _ = from.shutdown(std::net::Shutdown::Both);
    let _ = to.shutdown(std::net::Shutdown::Both);
}

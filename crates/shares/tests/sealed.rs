//! Hosts over sealed TCP, and somebody between who cuts, changes, and lets nobody through.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use equicrypt_engine::Precision;
use equicrypt_sealed::{Address, TransportSecret};
use equicrypt_shares::HostAddress;
use support::{Host, Scene, config, largest_difference, patient, run, try_run};

const PROMPT: [u32; 5] = [3, 1, 4, 1, 5];

/// What happens to a byte on its way from the host to the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meddle {
    Flip,
    Cut,
}

/// Somebody between an owner and a host.
struct Middle {
    address: HostAddress,
    /// At which byte of a connection what happens, once.
    plan: Arc<Mutex<Option<(usize, Meddle)>>>,
}

impl Middle {
    fn before(host: &HostAddress) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let Address::Tcp(to) = host.address.clone() else {
            panic!("a host at a port")
        };
        let address = HostAddress {
            address: Address::Tcp(listener.local_addr().unwrap().to_string()),
            pin: host.pin,
        };
        let plan: Arc<Mutex<Option<(usize, Meddle)>>> = Arc::default();
        let planned = Arc::clone(&plan);
        thread::spawn(move || {
            for owner in listener.incoming() {
                let (Ok(owner), Ok(host)) = (owner, TcpStream::connect(&to)) else {
                    continue;
                };
                let (from, into) = (owner.try_clone().unwrap(), host.try_clone().unwrap());
                thread::spawn(move || pass(from, into, &Mutex::default()));
                let planned = Arc::clone(&planned);
                thread::spawn(move || pass(host, owner, &planned));
            }
        });
        Self { address, plan }
    }

    fn plan(&self, byte: usize, meddle: Meddle) {
        *self.plan.lock().unwrap() = Some((byte, meddle));
    }

    fn is_done(&self) -> bool {
        self.plan.lock().unwrap().is_none()
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, plan: &Mutex<Option<(usize, Meddle)>>) {
    let (mut buffer, mut passed) = (vec![0; 1 << 14], 0);
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let mut part = &mut buffer[..read];
        let mut plan = plan.lock().unwrap();
        let within = plan.and_then(|(byte, meddle)| Some((byte.checked_sub(passed)?, meddle)));
        let mut cut = false;
        if let Some((byte, meddle)) = within.filter(|(byte, _)| *byte < read) {
            match meddle {
                Meddle::Flip => part[byte] ^= 1 << (byte % 8),
                Meddle::Cut => (part, cut) = (&mut part[..byte], true),
            }
            *plan = None;
        }
        drop(plan);
        passed += read;
        if to.write_all(part).is_err() || cut {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

fn host(scene: &Scene) -> Host {
    Host::start(
        Arc::clone(&scene.model),
        &Address::Tcp("127.0.0.1:0".into()),
    )
}

/// From the first byte of the handshake to the last answer of a request, and beyond it into the next one.
#[test]
fn whatever_is_cut_or_changed_on_the_way_ends_the_session_and_no_more() {
    let scene = Scene::new(&config("llama"));
    let (a, b) = (host(&scene), host(&scene));
    let (middle_a, middle_b) = (Middle::before(&a.address), Middle::before(&b.address));
    let open = || scene.remote_with(&middle_a.address, &middle_b.address, patient());
    let remote = open();
    let decoder = remote.decoder(Precision::F64).unwrap();
    let expected = run(&decoder, &mut decoder.new_cache(), &PROMPT);
    let traffic = remote.traffic();
    let mut failed = 0;
    for (middle, name, length) in [
        (&middle_a, "A", traffic.a.received),
        (&middle_b, "B", traffic.b.received),
    ] {
        for part in 0..12 {
            for meddle in [Meddle::Flip, Meddle::Cut] {
                let decoder = open().decoder(Precision::F64).unwrap();
                let ask = || try_run(&decoder, &mut decoder.new_cache(), &PROMPT);
                middle.plan(part * length as usize / 10, meddle);
                let mut tries = 0;
                while !middle.is_done() {
                    match ask() {
                        Ok(found) => assert!(largest_difference(&expected, &found) < 1e-9),
                        Err(error) => {
                            let message = error.to_string();
                            let named = format!("host {name} (tcp:");
                            assert!(message.contains(&named), "{message}");
                            failed += 1;
                        }
                    }
                    tries += 1;
                    assert!(tries < 20, "{part} {meddle:?}");
                }
                // What was in stock may have hidden it until now.
                let found = ask().or_else(|_| ask()).unwrap();
                assert!(largest_difference(&expected, &found) < 1e-9);
            }
        }
    }
    assert!(failed >= 16, "{failed}");
}

#[test]
fn a_host_with_another_key_is_refused_and_may_be_the_right_one_later() {
    let scene = Scene::new(&config("llama"));
    let (a, b) = (host(&scene), host(&scene));
    let other = TransportSecret::generate().unwrap().public().unwrap();
    let imposter = HostAddress {
        address: a.address.address.clone(),
        pin: Some(other.fingerprint()),
    };
    let remote = scene.remote_with(&imposter, &b.address, patient());
    let message = remote.connect().unwrap_err().to_string();
    assert!(
        message.contains("host A") && message.contains(&other.fingerprint().to_string()),
        "{message}"
    );
    assert_eq!(remote.traffic().b.sent, 0);
    scene
        .remote_with(&a.address, &b.address, patient())
        .connect()
        .unwrap();
}

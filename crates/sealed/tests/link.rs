//! Connections over both kinds of sockets.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use equicrypt_sealed::{Address, Error, Listener, TransportSecret, connect};

const SOON: Duration = Duration::from_secs(5);

/// A host that says everything back, once.
fn echo(listener: Listener, secret: TransportSecret) -> thread::JoinHandle<Result<(), Error>> {
    thread::spawn(move || {
        let mut link = listener.accept().unwrap().open(&secret, SOON)?;
        let mut said = Vec::new();
        link.reader.read_to_end(&mut said).unwrap();
        link.writer.write_all(&said).unwrap();
        link.writer.finish().unwrap();
        Ok(())
    })
}

#[test]
fn both_kinds_of_sockets_carry_what_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let unix = Address::Unix(dir.path().join("host.sock"));
    for address in [unix, "127.0.0.1:0".parse().unwrap()] {
        let secret = TransportSecret::generate().unwrap();
        let pin = secret.public().unwrap().fingerprint();
        let listener = Listener::bind(&address).unwrap();
        let address = listener.address().clone();
        let host = echo(listener, secret);
        let mut link = connect(&address, Some(&pin), SOON).unwrap();
        let text: Vec<u8> = (0..300_000u32).map(|i| (i % 241) as u8).collect();
        link.writer.write_all(&text).unwrap();
        link.writer.finish().unwrap();
        let mut said = Vec::new();
        link.reader.read_to_end(&mut said).unwrap();
        assert!(said == text, "{address}");
        host.join().unwrap().unwrap();
    }
}

#[test]
fn a_host_with_another_key_is_told_nothing() {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.address().clone();
    let other = TransportSecret::generate().unwrap().public().unwrap();
    let host = echo(listener, TransportSecret::generate().unwrap());
    let pin = other.fingerprint();
    let error = connect(&address, Some(&pin), SOON).err().unwrap();
    assert!(error.to_string().contains(&pin.to_string()), "{error}");
    assert!(matches!(error, Error::OtherKey { .. }));
    assert!(host.join().unwrap().is_err());
    assert!(matches!(
        connect(&address, None, SOON),
        Err(Error::NoPin { .. })
    ));
}

/// Who only repeats the public key of another host cannot go on.
#[test]
fn a_host_that_has_the_public_key_alone_is_found_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap().to_string());
    let secret = TransportSecret::generate().unwrap();
    let real = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let Address::Tcp(place) = real.address().clone() else {
        panic!("a TCP address")
    };
    let pin = secret.public().unwrap().fingerprint();
    let host = thread::spawn(move || real.accept().unwrap().open(&secret, SOON).map(|_| ()));
    let thief = thread::spawn(move || {
        let mut greeting = [0; 49];
        let mut from = TcpStream::connect(place).unwrap();
        from.read_exact(&mut greeting).unwrap();
        let (mut to, _) = listener.accept().unwrap();
        to.write_all(&greeting).unwrap();
        let mut question = [0; 80];
        to.read_exact(&mut question).unwrap();
        to.write_all(&[7; 48]).unwrap();
        drop(from);
    });
    assert!(connect(&address, Some(&pin), SOON).is_err());
    thief.join().unwrap();
    assert!(host.join().unwrap().is_err());
}

#[test]
fn what_was_recorded_cannot_be_said_again() {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let Address::Tcp(place) = listener.address().clone() else {
        panic!("a TCP address")
    };
    let secret = TransportSecret::generate().unwrap();
    let pin = secret.public().unwrap().fingerprint();
    let hosts = thread::spawn(move || {
        let mut said = Vec::new();
        for _ in 0..2 {
            let mut link = listener.accept().unwrap().open(&secret, SOON).unwrap();
            let mut text = Vec::new();
            let read = link.reader.read_to_end(&mut text).map(|_| text);
            said.push(read.map_err(|error| error.to_string()));
        }
        said
    });
    // A tap between an owner and the host.
    let tap = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(tap.local_addr().unwrap().to_string());
    let owner = thread::spawn(move || {
        let mut link = connect(&address, Some(&pin), SOON).unwrap();
        link.writer.write_all(b"once").unwrap();
        link.writer.finish().unwrap();
    });
    let (mut to_owner, _) = tap.accept().unwrap();
    let mut to_host = TcpStream::connect(&place).unwrap();
    let mut recorded = vec![0; 80];
    let pass = |from: &mut TcpStream, to: &mut TcpStream, bytes: &mut [u8]| {
        from.read_exact(bytes).unwrap();
        to.write_all(bytes).unwrap();
    };
    pass(&mut to_host, &mut to_owner, &mut [0; 49]);
    pass(&mut to_owner, &mut to_host, &mut recorded);
    pass(&mut to_host, &mut to_owner, &mut [0; 48]);
    owner.join().unwrap();
    let mut rest = Vec::new();
    to_owner.read_to_end(&mut rest).unwrap();
    recorded.extend(rest);
    to_host.write_all(&recorded[80..]).unwrap();
    drop(to_host);
    let mut again = TcpStream::connect(&place).unwrap();
    again.write_all(&recorded).unwrap();
    let said = hosts.join().unwrap();
    assert_eq!(said[0].as_deref(), Ok(&b"once"[..]));
    assert!(said[1].is_err(), "{said:?}");
}

#[test]
fn a_host_that_is_silent_is_waited_for_no_longer_than_agreed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap().to_string());
    let pin = TransportSecret::generate()
        .unwrap()
        .public()
        .unwrap()
        .fingerprint();
    let start = Instant::now();
    let error = connect(&address, Some(&pin), Duration::from_millis(200))
        .err()
        .unwrap();
    assert!(matches!(error, Error::Handshake(_)), "{error}");
    assert!(start.elapsed() < SOON);
}

#[test]
fn a_socket_that_nobody_listens_to_is_taken_and_one_in_use_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let address = Address::Unix(dir.path().join("host.sock"));
    let first = Listener::bind(&address).unwrap();
    assert!(Listener::bind(&address).is_err());
    // What a process that was killed leaves behind.
    std::mem::forget(first);
    let stale = dir.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    assert!(stale.exists());
    drop(Listener::bind(&Address::Unix(stale.clone())).unwrap());
    assert!(!stale.exists());
}

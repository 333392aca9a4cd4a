//! A slow network on this machine: everything passes a relay that holds it back.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How slow it is.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// There and back.
    pub(super) round_trip: Duration,
    /// In each direction of each connection.
    pub(super) bits_per_second: u64,
}

/// Listens at a free port of this machine, and passes every connection on to `target`, until this program ends.
///
/// A byte is passed on `round_trip / 2` after the last bit before it has left, at the pace of the line: what netem and a shaper would do, in
/// user space, without loss and reordering. Returns the port's address.
///
/// # Errors
/// If there is no free port.
pub(super) fn relay(target: String, pace: Pace) -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    thread::spawn(move || {
        for owner in listener.incoming() {
            let pair = owner.and_then(|owner| Ok((owner, TcpStream::connect(&target)?)));
            // Whose connection cannot be passed on sees it closed.
            let _ = pair.and_then(|(owner, host)| {
                one_way(&owner, &host, pace)?;
                one_way(&host, &owner, pace)
            });
        }
    });
    Ok(address)
}

/// Some bytes, and when they have arrived.
type Late = (Instant, Vec<u8>);

/// Passes on what comes from one to the other.
fn one_way(from: &TcpStream, to: &TcpStream, pace: Pace) -> io::Result<()> {
    let (from, to) = (from.try_clone()?, to.try_clone()?);
    to.set_nodelay(true)?;
    let (sender, receiver) = channel();
    thread::spawn(move || take(from, &sender, pace));
    thread::spawn(move || give(to, &receiver));
    Ok(())
}

fn take(mut from: TcpStream, late: &Sender<Late>, pace: Pace) {
    let mut buffer = vec![0; 1 << 16];
    let mut free = Instant::now();
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        free = free.max(Instant::now()) + pace.on_the_line(count);
        let arrival = free + pace.round_trip / 2;
        if late.send((arrival, buffer[..count].to_vec())).is_err() {
            break;
        }
    }
}

fn give(mut to: TcpStream, late: &Receiver<Late>) {
    while let Ok((arrival, bytes)) = late.recv() {
        thread::sleep(arrival.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    // The other way may go on.
    let _ = to.shutdown(Shutdown::Write);
}

impl Pace {
    /// How long so many bytes take to leave.
    fn on_the_line(self, bytes: usize) -> Duration {
        Duration::from_secs_f64(8.0 * bytes as f64 / self.bits_per_second as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends back what comes.
    fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut out = stream.try_clone().unwrap();
            io::copy(&mut stream, &mut out).unwrap();
            out.shutdown(Shutdown::Both).unwrap();
        });
        address
    }

    #[test]
    fn bytes_arrive_whole_and_never_early() {
        let pace = Pace {
            round_trip: Duration::from_millis(30),
            bits_per_second: 80_000_000,
        };
        let mut stream = TcpStream::connect(relay(echo(), pace).unwrap()).unwrap();
        let sent: Vec<u8> = (0..300_000u32).map(|i| (i * 7 % 251) as u8).collect();
        let start = Instant::now();
        let mut writer = stream.try_clone().unwrap();
        let expected = sent.clone();
        let writing = thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut found = Vec::new();
        stream.read_to_end(&mut found).unwrap();
        writing.join().unwrap();
        assert!(found == expected);
        // 300 kB at 10 MB/s behind a round trip.
        assert!(start.elapsed() >= Duration::from_millis(60));
    }
}

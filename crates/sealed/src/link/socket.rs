use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use super::Address;
use super::handshake::{as_host, as_owner};
use super::sealed::{SealedReader, SealedWriter};
use crate::{Error, Fingerprint, TransportSecret};

/// An open connection, whose directions may be used from two threads.
pub struct Link {
    /// What comes.
    pub reader: LinkReader,
    /// What goes.
    pub writer: LinkWriter,
    /// Ends both.
    pub control: LinkControl,
}

/// What the other side says. At its end there was a word that it is the end, or there is an error.
pub struct LinkReader(Reader);

/// What the other side is told. It goes when it is flushed.
pub struct LinkWriter(Writer);

/// A handle to the connection.
#[derive(Debug)]
pub struct LinkControl(Socket);

/// Where a host waits for owners.
pub struct Listener {
    socket: ListeningSocket,
    address: Address,
}

/// Somebody who came, and has said nothing yet.
pub struct Incoming(Socket);

enum Reader {
    Plain(BufReader<UnixStream>),
    Sealed(SealedReader<BufReader<TcpStream>>),
}

enum Writer {
    Plain(UnixStream),
    Sealed(SealedWriter<TcpStream>),
}

#[derive(Debug)]
enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

enum ListeningSocket {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener),
}

/// Connects to a host. Over TCP it must have the key with the fingerprint `pin`; a socket of this machine needs none.
///
/// # Errors
/// If there is nobody, it takes longer than `timeout`, or the host has another key.
pub fn connect(
    address: &Address,
    pin: Option<&Fingerprint>,
    timeout: Duration,
) -> Result<Link, Error> {
    let (socket, pin) = match address {
        Address::Unix(path) => (
            Socket::Unix(UnixStream::connect(path).map_err(Error::Handshake)?),
            None,
        ),
        Address::Tcp(place) => {
            let pin = pin.ok_or_else(|| Error::NoPin {
                address: address.to_string(),
            })?;
            let stream = connect_tcp(place, timeout).map_err(Error::Handshake)?;
            (Socket::Tcp(stream), Some(pin))
        }
    };
    socket
        .set_timeouts(Some(timeout))
        .map_err(Error::Handshake)?;
    let link = match (&socket, pin) {
        (Socket::Tcp(stream), Some(pin)) => {
            let keys = as_owner(&mut &*stream, pin)?;
            socket.sealed(stream, keys.to_owner, keys.to_host)
        }
        _ => socket.plain(),
    };
    let link = link.map_err(Error::Handshake)?;
    link.control.set_timeout(None).map_err(Error::Handshake)?;
    Ok(link)
}

impl Listener {
    /// Takes an address. A socket's file that nobody listens to any more is replaced.
    ///
    /// # Errors
    /// If it is taken, or cannot be.
    pub fn bind(address: &Address) -> io::Result<Self> {
        let socket = match address {
            Address::Tcp(place) => ListeningSocket::Tcp(TcpListener::bind(place)?),
            Address::Unix(path) => {
                let bound = match UnixListener::bind(path) {
                    Err(error) if error.kind() == ErrorKind::AddrInUse => {
                        if UnixStream::connect(path).is_ok() {
                            return Err(error);
                        }
                        std::fs::remove_file(path)?;
                        UnixListener::bind(path)
                    }
                    bound => bound,
                };
                ListeningSocket::Unix(bound?, path.clone())
            }
        };
        let address = match &socket {
            ListeningSocket::Tcp(listener) => Address::Tcp(listener.local_addr()?.to_string()),
            ListeningSocket::Unix(..) => address.clone(),
        };
        Ok(Self { socket, address })
    }

    /// The address, with the port that the system chose if it was asked for any.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Waits for somebody.
    ///
    /// # Errors
    /// If the system fails.
    pub fn accept(&self) -> io::Result<Incoming> {
        Ok(Incoming(match &self.socket {
            ListeningSocket::Unix(listener, _) => Socket::Unix(listener.accept()?.0),
            ListeningSocket::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                Socket::Tcp(stream)
            }
        }))
    }

    /// Lets a thread that waits in [`accept`](Self::accept) go on, with somebody who says nothing.
    pub fn wake(address: &Address) {
        match address {
            Address::Unix(path) => drop(UnixStream::connect(path)),
            Address::Tcp(place) => drop(connect_tcp(place, Duration::from_secs(1))),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let ListeningSocket::Unix(_, path) = &self.socket {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Incoming {
    /// A handle to it.
    ///
    /// # Errors
    /// If the system has no more of them.
    pub fn control(&self) -> io::Result<LinkControl> {
        self.0.again().map(LinkControl)
    }

    /// Agrees on keys, over TCP; `timeout` bounds each wait for the other side until then.
    ///
    /// # Errors
    /// If the other side does not do its part.
    pub fn open(self, secret: &TransportSecret, timeout: Duration) -> Result<Link, Error> {
        let socket = self.0;
        socket
            .set_timeouts(Some(timeout))
            .map_err(Error::Handshake)?;
        let link = match &socket {
            Socket::Tcp(stream) => {
                let keys = as_host(&mut &*stream, secret)?;
                socket.sealed(stream, keys.to_host, keys.to_owner)
            }
            Socket::Unix(_) => socket.plain(),
        };
        let link = link.map_err(Error::Handshake)?;
        link.control.set_timeout(None).map_err(Error::Handshake)?;
        Ok(link)
    }
}

impl Read for LinkReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Reader::Plain(stream) => stream.read(out),
            Reader::Sealed(stream) => stream.read(out),
        }
    }
}

impl Write for LinkWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Writer::Plain(stream) => stream.write(data),
            Writer::Sealed(stream) => stream.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Writer::Plain(stream) => stream.flush(),
            Writer::Sealed(stream) => stream.flush(),
        }
    }
}

impl LinkWriter {
    /// Says that nothing follows.
    ///
    /// # Errors
    /// If the stream fails.
    pub fn finish(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Writer::Plain(stream) => stream.shutdown(Shutdown::Write),
            Writer::Sealed(stream) => stream.finish(),
        }
    }
}

impl LinkControl {
    /// Ends the connection in both directions, whoever waits for it.
    pub fn close(&self) {
        let _ = match &self.0 {
            Socket::Unix(stream) => stream.shutdown(Shutdown::Both),
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    /// Bounds each wait of a read or a write.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.set_timeouts(timeout)
    }

    /// Bounds each wait of a write alone: of one who does not read.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match &self.0 {
            Socket::Unix(stream) => stream.set_write_timeout(timeout),
            Socket::Tcp(stream) => stream.set_write_timeout(timeout),
        }
    }
}

impl Socket {
    fn again(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
        })
    }

    fn set_timeouts(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Unix(stream) => {
                stream.set_read_timeout(timeout)?;
                stream.set_write_timeout(timeout)
            }
            Self::Tcp(stream) => {
                stream.set_read_timeout(timeout)?;
                stream.set_write_timeout(timeout)
            }
        }
    }

    fn plain(&self) -> io::Result<Link> {
        let Self::Unix(stream) = self else {
            return Err(ErrorKind::Unsupported.into());
        };
        let buffered = BufReader::with_capacity(BUFFER, stream.try_clone()?);
        Ok(Link {
            reader: LinkReader(Reader::Plain(buffered)),
            writer: LinkWriter(Writer::Plain(stream.try_clone()?)),
            control: LinkControl(self.again()?),
        })
    }

    fn sealed(
        &self,
        stream: &TcpStream,
        incoming: crate::frame::FrameKey,
        outgoing: crate::frame::FrameKey,
    ) -> io::Result<Link> {
        let buffered = BufReader::with_capacity(SHORT_FRAME, stream.try_clone()?);
        let writer = SealedWriter::new(stream.try_clone()?, outgoing);
        Ok(Link {
            reader: LinkReader(Reader::Sealed(SealedReader::new(buffered, incoming))),
            writer: LinkWriter(Writer::Sealed(writer)),
            control: LinkControl(self.again()?),
        })
    }
}

/// The first of the place's addresses that answers.
fn connect_tcp(place: &str, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
    for address in place.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

const BUFFER: usize = 256 << 10;
/// Longer frames are read to where they are opened, without a copy between.
const SHORT_FRAME: usize = 1 << 10;

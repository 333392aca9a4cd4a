//! Someone between gateway and host who understands HTTP: sees whole requests and answers, and may change an answer's frames.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What is done to the frames of an answer; the first is the nonce with the head.
pub type Tamper = fn(&mut Vec<Vec<u8>>);

#[derive(Default)]
struct Seen {
    posts: Vec<Post>,
    tamper: Option<Tamper>,
}

pub struct Middle {
    address: String,
    seen: Arc<Mutex<Seen>>,
}

/// A request with a body, and its answer as the host gave it.
#[derive(Clone)]
pub struct Post {
    pub head: String,
    pub request: Vec<u8>,
    pub response: Vec<u8>,
}

/// The frames of a sealed answer, each with its length; the first is the nonce with the head.
pub struct Frames(Vec<Vec<u8>>);

impl Middle {
    /// Stands before the host at this address.
    pub fn before(host: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::<Mutex<Seen>>::default();
        let (shared, host) = (Arc::clone(&seen), host.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (shared, host) = (Arc::clone(&shared), host.clone());
                // Either side may leave.
                std::thread::spawn(move || drop(pass(&client, &host, &shared)));
            }
        });
        Self { address, seen }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn posts(&self) -> Vec<Post> {
        self.seen.lock().unwrap().posts.clone()
    }

    pub fn forget(&self) {
        self.seen.lock().unwrap().posts.clear();
    }

    pub fn tamper(&self, tamper: Option<Tamper>) {
        self.seen.lock().unwrap().tamper = tamper;
    }
}

impl Post {
    /// What the host at this address answers if its body, sealed, comes once more, to this route.
    pub fn send_again(&self, host: &str, route: &str) -> String {
        let mut socket = TcpStream::connect(host).unwrap();
        let head = format!(
            "POST {route} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\
             content-type: application/x-equicrypt-sealed\r\ncontent-length: {}\r\n\r\n",
            self.request.len()
        );
        let whole = [head.as_bytes(), &self.request].concat();
        socket.write_all(&whole).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    pub fn frames(&self) -> Frames {
        let length = |bytes: &[u8]| u32::from_be_bytes(*bytes.first_chunk().unwrap()) as usize;
        let end = 36 + length(&self.response[32..]);
        let (first, mut rest) = self.response.split_at(end);
        let mut frames = vec![first.to_vec()];
        while !rest.is_empty() {
            let (frame, more) = rest.split_at(4 + length(rest));
            frames.push(frame.to_vec());
            rest = more;
        }
        Frames(frames)
    }
}

impl Frames {
    pub fn concat_without_lengths(&self) -> Vec<u8> {
        let (first, rest) = self.0.split_first().unwrap();
        let rest = rest.iter().map(|frame| &frame[4..]);
        let parts = [&first[..32], &first[36..]].into_iter().chain(rest);
        parts.collect::<Vec<_>>().concat()
    }
}

/// One request at a time, of a connection to the client that stays, each on a connection of its own to the host.
fn pass(client: &TcpStream, host: &str, seen: &Mutex<Seen>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    loop {
        let (head, request) = message(&mut reader)?;
        let mut server = TcpStream::connect(host)?;
        let closing = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
        server.write_all(&[closing.as_bytes(), &request].concat())?;
        let (answer_head, response) = message(&mut BufReader::new(server))?;
        let post = Post {
            head: head.clone(),
            request,
            response,
        };
        let tamper = {
            let mut seen = seen.lock().unwrap();
            if head.starts_with("POST ") {
                seen.posts.push(post.clone());
            }
            seen.tamper
        };
        let sealed = answer_head.contains("application/x-equicrypt-sealed");
        let body = match tamper {
            Some(tamper) if sealed => {
                let mut frames = post.frames().0;
                tamper(&mut frames);
                frames.concat()
            }
            _ => post.response,
        };
        let lines = answer_head.split("\r\n").filter(|line| {
            let line = line.to_ascii_lowercase();
            !["transfer-encoding", "content-length", "connection"]
                .iter()
                .any(|name| line.starts_with(name))
        });
        let kept: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        let head = format!(
            "{}\r\ncontent-length: {}\r\n\r\n",
            kept.join("\r\n"),
            body.len()
        );
        (&*client).write_all(&[head.as_bytes(), &body].concat())?;
    }
}

/// A head, with the empty line, and a body: of the length that it says, in chunks, or to the end if it is an answer.
fn message(reader: &mut impl BufRead) -> std::io::Result<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let small = head.to_ascii_lowercase();
    let field = |name: &str| small.lines().find_map(|line| line.strip_prefix(name));
    let mut body = Vec::new();
    if let Some(length) = field("content-length: ") {
        body.resize(length.trim().parse().unwrap(), 0);
        reader.read_exact(&mut body)?;
    } else if field("transfer-encoding: chunked").is_some() {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size)?;
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk)?;
            if size == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    } else if head.starts_with("HTTP/") {
        reader.read_to_end(&mut body)?;
    }
    Ok((head, body))
}

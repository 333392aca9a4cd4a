//! An owner and two hosts on this machine: `EQUICRYPT_SMOLLM2=DIR cargo bench -p equicrypt-shares`, with `-- --tcp` over sealed
//! connections. Each host is a process of its own. Prints tokens a second of the engine alone and of shares, in prefill and in
//! decoding, and the bytes of a token beside what the layers' sizes say.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and may panic"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use equicrypt_checkpoint::Checkpoint;
use equicrypt_engine::{Chunk, Decoder, KvCache, Precision, Want};
use equicrypt_linear_host::{HostOptions, LinearHost, LinearModel};
use equicrypt_sealed::TransportSecret;
use equicrypt_shares::{HostAddress, OwnerModel, PrepareOptions, Remote, RemoteOptions, prepare};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(place) = arguments.iter().position(|argument| argument == "serve") {
        return serve(&arguments[place + 1], Path::new(&arguments[place + 2]));
    }
    let Some(model) = std::env::var_os("EQUICRYPT_SMOLLM2").map(PathBuf::from) else {
        println!("not run: EQUICRYPT_SMOLLM2 names no folder");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::open(&model).unwrap();
    let start = Instant::now();
    let owner = dir.path().join("owner");
    let prepared = prepare(&checkpoint, &owner, &PrepareOptions::default()).unwrap();
    println!("prepare: {:.1} s", start.elapsed().as_secs_f64());
    println!("weights at the hosts: {} M", prepared.weights / 1_000_000);

    let here = Decoder::load(&checkpoint, Precision::F32).unwrap();
    measure("engine alone, f32", &here);
    drop(here);

    let hosts = ["a", "b"].map(|name| {
        let listen = match arguments.iter().any(|argument| argument == "--tcp") {
            true => "tcp://127.0.0.1:0".to_owned(),
            false => format!("unix:{}", dir.path().join(name).display()),
        };
        Host::start(&listen, &model)
    });
    let model = Arc::new(OwnerModel::open(&owner).unwrap());
    let addresses = [&hosts[0], &hosts[1]].map(|host| host.address.clone());
    let remote = Remote::new(model, addresses, RemoteOptions::default()).unwrap();
    let start = Instant::now();
    remote.connect().unwrap();
    println!("connect: {:.3} s", start.elapsed().as_secs_f64());
    let there = remote.decoder(Precision::F32).unwrap();
    measure("shares", &there);

    let traffic = remote.traffic();
    let each = |bytes: u64| bytes as f64 / traffic.tokens as f64;
    println!("{} tokens, {} vectors", traffic.tokens, traffic.vectors);
    for (name, found, formula) in [
        ("to A", traffic.a.sent, prepared.bytes_up),
        ("from A", traffic.a.received, prepared.bytes_down),
        ("to B", traffic.b.sent, 0),
        ("from B", traffic.b.received, prepared.bytes_down),
    ] {
        println!(
            "bytes a token {name}: {:.0}, of vectors {formula}",
            each(found)
        );
    }
}

/// Tokens a second in prefill and in decoding.
fn measure(name: &str, decoder: &Decoder) {
    let vocab = decoder.config().vocab_size as u32;
    let prompt: Vec<u32> = (0..256).map(|i| (i * 7919 + 13) % vocab).collect();
    // What is set up at the first call is no one's concern.
    step(decoder, &mut decoder.new_cache(), &prompt[..8]);
    let mut prefill = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        step(decoder, &mut decoder.new_cache(), &prompt);
        prefill.push(prompt.len() as f64 / start.elapsed().as_secs_f64());
    }
    let mut cache = decoder.new_cache();
    step(decoder, &mut cache, &prompt[..32]);
    let mut decode = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        for token in &prompt[..32] {
            step(decoder, &mut cache, &[*token]);
        }
        decode.push(32.0 / start.elapsed().as_secs_f64());
    }
    prefill.sort_by(f64::total_cmp);
    decode.sort_by(f64::total_cmp);
    println!(
        "{name}: prefill {:.1} tokens/s ({:.1} to {:.1}), decode {:.1} tokens/s ({:.1} to {:.1})",
        prefill[1], prefill[0], prefill[2], decode[1], decode[0], decode[2]
    );
}

fn step(decoder: &Decoder, cache: &mut KvCache, tokens: &[u32]) {
    let want = Want::Last;
    let chunk = Chunk {
        tokens,
        cache,
        want,
    };
    decoder.forward(&mut [chunk]).unwrap();
}

/// A host in a process of its own.
struct Host {
    address: HostAddress,
    process: Child,
}

impl Host {
    fn start(listen: &str, model: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["serve", listen])
            .arg(model)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = process.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let address = line.trim().parse().unwrap();
        Self { address, process }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn serve(listen: &str, model: &Path) {
    let model = LinearModel::load(&Checkpoint::open(model).unwrap()).unwrap();
    let secret = TransportSecret::generate().unwrap();
    let pin = secret.public().unwrap().fingerprint();
    let address = listen.parse().unwrap();
    let host = LinearHost::listen(Arc::new(model), secret, &address, HostOptions::default());
    let host = host.unwrap();
    println!("{}#{pin}", host.address());
    host.run(|_| ());
}

//! What a host answers, and what it refuses.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use equicrypt_checkpoint::{Checkpoint, CheckpointWriter, Dtype, TensorHeader, write_json};
use equicrypt_engine::LinearLayers;
use equicrypt_linear_host::{HostEvent, HostHandle, HostOptions, LinearHost, LinearModel};
use equicrypt_ring::wire::{Answer, Request};
use equicrypt_ring::{IntegerWeights, MaskSeed, ModelDigest, PackedWeights, Residues, expand};
use equicrypt_sealed::{Address, TransportSecret};
use equicrypt_spec::ModelConfig;
use serde_json::json;

struct Scene {
    dir: tempfile::TempDir,
    model: Arc<LinearModel>,
    socket: PathBuf,
    handle: HostHandle,
    thread: Option<JoinHandle<()>>,
    /// Why conversations ended.
    ended: Arc<Mutex<Vec<String>>>,
}

impl Scene {
    fn new(options: HostOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let model = Arc::new(LinearModel::load(&checkpoint(dir.path().join("model"))).unwrap());
        let socket = dir.path().join("host.sock");
        let address = Address::Unix(socket.clone());
        let secret = TransportSecret::generate().unwrap();
        let host = LinearHost::listen(Arc::clone(&model), secret, &address, options).unwrap();
        let (handle, ended) = (host.handle(), Arc::<Mutex<Vec<String>>>::default());
        let reasons = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            host.run(|event| {
                if let HostEvent::Ended(Some(error)) = event {
                    reasons.lock().unwrap().push(error.to_string());
                }
            });
        });
        Self {
            dir,
            model,
            socket,
            handle,
            thread: Some(thread),
            ended,
        }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        let timeout = Some(Duration::from_secs(20));
        stream.set_read_timeout(timeout).unwrap();
        stream
    }

    /// An owner who was welcomed.
    fn owner(&self) -> UnixStream {
        let mut stream = self.connect();
        let digest = self.model.digest();
        Request::Hello(digest).write(&mut stream).unwrap();
        let welcome = Answer::read(&mut stream).unwrap();
        assert!(matches!(welcome, Some((Answer::Welcome(found), _)) if found == digest));
        stream
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.handle.shut_down();
        self.thread.take().unwrap().join().unwrap();
        assert!(!self.socket.exists() && self.dir.path().exists());
    }
}

fn checkpoint(dir: PathBuf) -> Checkpoint {
    let json = json!({
        "model_type": "llama", "vocab_size": 31, "hidden_size": 8, "intermediate_size": 12,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
        "max_position_embeddings": 64, "tie_word_embeddings": true,
    });
    std::fs::create_dir(&dir).unwrap();
    let config = ModelConfig::from_json(&json).unwrap();
    let tensors = config.architecture.tensors(&config);
    let header = |t: &equicrypt_spec::TensorSpec| TensorHeader::new(&t.name, Dtype::F32, &t.shape);
    let headers: Vec<_> = tensors.iter().map(header).collect();
    let writer = CheckpointWriter::create(&dir, &headers).unwrap();
    for (number, tensor) in tensors.iter().enumerate() {
        let len: usize = tensor.shape.iter().product();
        let value = |i: usize| ((i * 37 + number * 11) % 101) as f32 / 50.0 - 1.0;
        let bytes: Vec<u8> = (0..len).flat_map(|i| value(i).to_le_bytes()).collect();
        writer.write(&tensor.name, 0, &bytes).unwrap();
    }
    writer.finish().unwrap();
    write_json(&dir.join("config.json"), &json).unwrap();
    Checkpoint::open(&dir).unwrap()
}

fn vectors(rows: usize, width: usize) -> Residues {
    let mut vectors = Residues::zeros(rows, width);
    expand(&MaskSeed::from_bytes([6; 32]), 100.., &mut vectors);
    vectors
}

fn ask(stream: &mut UnixStream, question: &Request) -> Answer {
    question.write(stream).unwrap();
    Answer::read(stream).unwrap().unwrap().0
}

fn refusal(stream: &mut UnixStream, question: &Request) -> String {
    match ask(stream, question) {
        Answer::Refusal(text) => {
            assert!(Answer::read(stream).unwrap().is_none(), "it goes on");
            text
        }
        other => panic!("expected a refusal, found {other:?}"),
    }
}

fn multiply(layer: u32, queries: Residues) -> Request {
    Request::Multiply {
        request: 7,
        layer,
        queries,
    }
}

fn multiply_mask(rows: u32, first: u64) -> Request {
    Request::MultiplyMask {
        request: 9,
        layer: 0,
        rows,
        first,
    }
}

fn seed() -> Request {
    Request::Seed(MaskSeed::from_bytes([5; 32]))
}

#[test]
fn vectors_and_masks_are_multiplied_with_the_layers_of_the_checkpoint() {
    let scene = Scene::new(HostOptions::default());
    let checkpoint = Checkpoint::open(&scene.dir.path().join("model")).unwrap();
    let layers = LinearLayers::open(&checkpoint).unwrap();
    assert_eq!(layers.ids().len(), scene.model.layers());
    let mut owner = scene.owner();
    seed().write(&mut owner).unwrap();
    for (index, id) in layers.ids().iter().enumerate() {
        let weights = layers.read(*id).unwrap();
        let integers = IntegerWeights::quantise(weights.outputs(), weights.inputs(), |row, out| {
            weights.append_row(row, out);
        });
        let weights = PackedWeights::new(&integers.unwrap());
        let queries = vectors(5, weights.inputs());
        let first = 10 * index as u64;
        let mut masks = Residues::zeros(3, weights.inputs());
        expand(&MaskSeed::from_bytes([5; 32]), first.., &mut masks);
        for (question, expected) in [
            (
                multiply(index as u32, queries.clone()),
                weights.times(&queries),
            ),
            (
                Request::MultiplyMask {
                    request: 7,
                    layer: index as u32,
                    rows: 3,
                    first,
                },
                weights.times(&masks),
            ),
        ] {
            let Answer::Product { request, answers } = ask(&mut owner, &question) else {
                panic!("expected a product")
            };
            assert_eq!((request, answers), (7, expected.unwrap()));
        }
    }
    let counts = scene.handle.counts();
    assert_eq!(
        (counts.connections, counts.answers, counts.vectors),
        (1, 8, 32)
    );
}

#[test]
fn questions_that_make_no_sense_are_refused_with_what_was_expected() {
    let scene = Scene::new(HostOptions::default());
    let digest = scene.model.digest();
    let other = ModelDigest::from_bytes([1; 32]);
    let text = refusal(&mut scene.connect(), &Request::Hello(other));
    assert!(
        text.contains(&digest.to_string()) && text.contains(&other.to_string()),
        "{text}"
    );
    assert!(refusal(&mut scene.connect(), &seed()).contains("hello"));
    for (question, expected) in [
        (Request::Hello(digest), "hello"),
        (multiply(4, vectors(1, 8)), "layers 0 to 3"),
        (multiply(0, vectors(1, 9)), "vectors of 8 elements, found 9"),
        (multiply_mask(1, 0), "a seed"),
    ] {
        let text = refusal(&mut scene.owner(), &question);
        assert!(text.contains(expected), "{text}");
    }
    for (rows, first, expected) in [
        (0, 0, "vectors at once, found 0"),
        (1 << 30, 0, "vectors at once"),
        (2, u64::MAX - 1, "counter"),
    ] {
        let mut owner = scene.owner();
        seed().write(&mut owner).unwrap();
        let text = refusal(&mut owner, &multiply_mask(rows, first));
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(scene.handle.counts().answers, 0);
}

#[test]
fn no_mask_is_multiplied_twice() {
    let scene = Scene::new(HostOptions::default());
    for (again, expected) in [(4, "5 or more"), (0, "5 or more")] {
        let mut owner = scene.owner();
        seed().write(&mut owner).unwrap();
        assert!(matches!(
            ask(&mut owner, &multiply_mask(3, 0)),
            Answer::Product { .. }
        ));
        // Gaps are allowed.
        assert!(matches!(
            ask(&mut owner, &multiply_mask(1, 4)),
            Answer::Product { .. }
        ));
        let text = refusal(&mut owner, &multiply_mask(1, again));
        assert!(text.contains(expected), "{text}");
    }
    // Another seed begins anew.
    let mut owner = scene.owner();
    for _ in 0..2 {
        seed().write(&mut owner).unwrap();
        assert!(matches!(
            ask(&mut owner, &multiply_mask(3, 0)),
            Answer::Product { .. }
        ));
    }
}

#[test]
fn noise_harms_nobody_else() {
    let scene = Scene::new(HostOptions::default());
    let mut owner = scene.owner();
    for noise in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 64],
        &[0; 8],
        &[1, 0, 0, 0],
    ] {
        let mut stream = scene.connect();
        stream.write_all(noise).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        while let Ok(Some(_)) = Answer::read(&mut stream) {}
    }
    assert!(matches!(
        ask(&mut owner, &multiply(0, vectors(1, 8))),
        Answer::Product { .. }
    ));
    drop(owner);
    let told = || scene.ended.lock().unwrap().len();
    for _ in 0..200 {
        if told() == 4 {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(told(), 4, "{:?}", scene.ended.lock().unwrap());
}

#[test]
fn no_more_owners_are_taken_than_agreed_and_silent_ones_go() {
    let scene = Scene::new(HostOptions {
        most_connections: 2,
        hello_timeout: Duration::from_millis(300),
        ..HostOptions::default()
    });
    let (_one, two) = (scene.owner(), scene.owner());
    let mut three = scene.connect();
    let Ok(Some((Answer::Refusal(text), _))) = Answer::read(&mut three) else {
        panic!("expected a refusal")
    };
    assert!(text.contains("2 owners are connected"), "{text}");
    drop((two, three));
    // Somebody who says nothing takes a place for a while only.
    for _ in 0..200 {
        if scene.handle.counts().connections == 1 {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut silent = scene.connect();
    let said = Answer::read(&mut silent);
    assert!(matches!(said, Ok(None)), "{said:?}");
    drop(scene.owner());
}

#[test]
fn a_host_that_is_shut_down_leaves_nobody_waiting() {
    let scene = Scene::new(HostOptions::default());
    let mut owner = scene.owner();
    scene.handle.shut_down();
    assert!(matches!(Answer::read(&mut owner), Ok(None) | Err(_)));
}

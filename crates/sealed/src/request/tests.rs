use std::convert::Infallible;

use hpke::rand_core::{TryCryptoRng, TryRng};
use serde_json::Value;

use super::*;
use crate::Head;
use crate::key::unhex;

/// Gives these bytes, and no more.
struct Given(Vec<u8>);

impl TryRng for Given {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("only bytes are asked for")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("only bytes are asked for")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        let rest = self.0.split_off(out.len());
        out.copy_from_slice(&self.0);
        self.0 = rest;
        Ok(())
    }
}

impl TryCryptoRng for Given {}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().as_chunks::<2>().0.iter();
    pairs
        .map(|pair| unhex::<1>(str::from_utf8(pair).unwrap()).unwrap()[0])
        .collect()
}

/// RFC 9180, appendix A.2.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305, base mode.
#[test]
fn the_suite_is_that_of_the_rfc() {
    let ikm = "909a9b35d3dc4713a5e72a4da274b55d3d3821a37e5d099e74a647db583a904b";
    let enc = "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a";
    let public =
        "equicrypt-transport-1:4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a";
    let secret = "8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb";
    let secret = TransportSecret::from_bytes(unhex(secret).unwrap());
    let info = b"Ode on a Grecian Urn";
    assert_eq!(secret.public().unwrap().to_string(), public);
    let public: TransportPublic = public.parse().unwrap();
    let (made, mut sender): (_, AeadCtxS<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>) =
        setup_sender_with_rng(
            &OpModeS::Base,
            &public.key().unwrap(),
            info,
            &mut Given(bytes(ikm)),
        )
        .unwrap();
    assert_eq!(made.to_bytes().to_vec(), bytes(enc));
    let mut receiver: AeadCtxR<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256> =
        setup_receiver(&OpModeR::Base, &secret.key().unwrap(), &made, info).unwrap();
    let plain = b"Beauty is truth, truth beauty";
    for (count, sealed) in [
        "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28",
        "6b53c051e4199c518de79594e1c4ab18b96f081549d45ce015be002090bb119e85285337cc95ba5f59992dc98c",
    ]
    .into_iter()
    .enumerate()
    {
        let associated = format!("Count-{count}");
        assert_eq!(sender.seal(plain, associated.as_bytes()).unwrap(), bytes(sealed));
        assert_eq!(receiver.open(&bytes(sealed), associated.as_bytes()).unwrap(), plain);
    }
    let mut exported = [0; 32];
    sender.export(b"TestContext", &mut exported).unwrap();
    let expected = "5acb09211139c43b3090489a9da433e8a30ee7188ba8b0a9a1ccf0c229283e53";
    assert_eq!(exported.to_vec(), bytes(expected));
    receiver.export(b"TestContext", &mut exported).unwrap();
    assert_eq!(exported.to_vec(), bytes(expected));
}

/// Of tools/golden/sealed.py, which knows nothing of this crate.
#[test]
fn requests_and_answers_are_the_golden_ones_byte_for_byte() {
    let golden: Value =
        serde_json::from_str(include_str!("../../../../tests/golden/sealed.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let text = |name: &str| case[name].as_str().unwrap();
        let secret = TransportSecret::from_bytes(unhex(text("secret")).unwrap());
        let public = secret.public().unwrap();
        assert_eq!(public.to_string(), text("public"));
        assert_eq!(public.fingerprint().to_string(), text("fingerprint"));
        let window = text("window").parse().unwrap();
        let mut random = Given(bytes(text("ephemeral_ikm")));
        let body = bytes(text("body"));
        let (sealed, mut opener) =
            seal_with(&mut random, &public, &window, text("route"), &body).unwrap();
        assert_eq!(sealed, bytes(text("request")));
        let request = SealedRequest::parse(&sealed).unwrap();
        assert_eq!(request.window(), window);
        let nonce = unhex(text("response_nonce")).unwrap();
        let (opened, sealer) = request.open_with(&secret, text("route"), nonce).unwrap();
        assert_eq!(opened, body);
        let head = Head {
            status: case["status"].as_u64().unwrap() as u16,
            window,
            content_type: text("content_type").into(),
        };
        let pieces = case["pieces"].as_array().unwrap().iter();
        let pieces: Vec<Vec<u8>> = pieces.map(|piece| bytes(piece.as_str().unwrap())).collect();
        let (mut response, mut stream) = sealer.start(&head).unwrap();
        let (last, first) = pieces.split_last().unwrap();
        first
            .iter()
            .for_each(|piece| response.extend(stream.data(piece).unwrap()));
        response.extend(stream.finish(last).unwrap());
        assert_eq!(response, bytes(text("response")));
        let mut out = Vec::new();
        opener.push(&response, &mut out).unwrap();
        opener.finish().unwrap();
        assert_eq!((opener.head(), out), (Some(&head), pieces.concat()));
    }
}

#[test]
fn a_key_that_no_one_has_the_secret_to_is_refused() {
    let zero: TransportPublic = format!("equicrypt-transport-1:{}", "0".repeat(64))
        .parse()
        .unwrap();
    let error = seal(&zero, &Window::random().unwrap(), "POST /", b"")
        .err()
        .unwrap();
    assert!(matches!(error, Error::UnusableKey), "{error}");
}

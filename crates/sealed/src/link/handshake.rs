use std::io::{Read, Write};

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use hkdf::Hkdf;
use hpke::aead::{AeadCtxR, AeadCtxS, ChaCha20Poly1305};
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{
    Deserializable, Kem, OpModeR, OpModeS, Serializable, setup_receiver, setup_sender_with_rng,
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::frame::FrameKey;
use crate::{Error, Fingerprint, TransportPublic, TransportSecret};

/// What seals the frames of each direction.
pub(super) struct LinkKeys {
    pub(super) to_host: FrameKey,
    pub(super) to_owner: FrameKey,
}

type Sender = AeadCtxS<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>;
type Receiver = AeadCtxR<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>;

/// The owner's side: the host must have the key with this fingerprint.
pub(super) fn as_owner(
    stream: &mut (impl Read + Write),
    pin: &Fingerprint,
) -> Result<LinkKeys, Error> {
    let mut said = [0; GREETING.len() + KEY];
    stream.read_exact(&mut said).map_err(Error::Handshake)?;
    let (greeting, public) = said.split_at(GREETING.len());
    if greeting != GREETING {
        return Err(Error::NoLink);
    }
    let public = TransportPublic::from_bytes(public.try_into().map_err(|_| Error::NoLink)?);
    if public.fingerprint() != *pin {
        return Err(Error::OtherKey {
            expected: *pin,
            found: public.fingerprint(),
        });
    }
    let own = TransportSecret::generate()?;
    let mut transcript = said.to_vec();

    let (enc, mut context) = sender(&public)?;
    let own_public = own.public()?.to_bytes();
    let sealed = context.seal(&own_public, &transcript);
    let sealed = sealed.map_err(|_| Error::Unopenable)?;
    let question = [enc.as_slice(), &sealed].concat();
    stream.write_all(&question).map_err(Error::Handshake)?;
    stream.flush().map_err(Error::Handshake)?;
    transcript.extend_from_slice(&question);
    let mut first = Zeroizing::new([0; KEY]);
    export(|out| context.export(SECRET, out), &mut first)?;

    let mut answer = [0; KEY + TAG];
    stream.read_exact(&mut answer).map_err(Error::Handshake)?;
    let (enc, sealed) = answer.split_at(KEY);
    let mut context = receiver(&own, enc)?;
    context
        .open(sealed, &transcript)
        .map_err(|_| Error::Unopenable)?;
    transcript.extend_from_slice(&answer);
    let mut second = Zeroizing::new([0; KEY]);
    export(|out| context.export(SECRET, out), &mut second)?;
    LinkKeys::derive(&transcript, &first, &second)
}

/// The host's side.
pub(super) fn as_host(
    stream: &mut (impl Read + Write),
    secret: &TransportSecret,
) -> Result<LinkKeys, Error> {
    let mut transcript = [GREETING.as_slice(), &secret.public()?.to_bytes()].concat();
    stream.write_all(&transcript).map_err(Error::Handshake)?;
    stream.flush().map_err(Error::Handshake)?;

    let mut question = [0; KEY + KEY + TAG];
    stream.read_exact(&mut question).map_err(Error::Handshake)?;
    let (enc, sealed) = question.split_at(KEY);
    let mut context = receiver(secret, enc)?;
    let opened = context.open(sealed, &transcript);
    let opened: [u8; KEY] = (opened.ok())
        .and_then(|opened| opened.try_into().ok())
        .ok_or(Error::Unopenable)?;
    transcript.extend_from_slice(&question);
    let mut first = Zeroizing::new([0; KEY]);
    export(|out| context.export(SECRET, out), &mut first)?;

    let (enc, mut context) = sender(&TransportPublic::from_bytes(opened))?;
    let sealed = context.seal(&[], &transcript);
    let sealed = sealed.map_err(|_| Error::Unopenable)?;
    let answer = [enc.as_slice(), &sealed].concat();
    stream.write_all(&answer).map_err(Error::Handshake)?;
    stream.flush().map_err(Error::Handshake)?;
    transcript.extend_from_slice(&answer);
    let mut second = Zeroizing::new([0; KEY]);
    export(|out| context.export(SECRET, out), &mut second)?;
    LinkKeys::derive(&transcript, &first, &second)
}

impl LinkKeys {
    /// `Extract(hash of the handshake, exported_1 || exported_2)`, and out of it the keys of each direction.
    fn derive(transcript: &[u8], first: &[u8; KEY], second: &[u8; KEY]) -> Result<Self, Error> {
        let hash: [u8; KEY] = Sha256::digest(transcript).into();
        let both = Zeroizing::new([*first, *second].concat());
        let kdf = Hkdf::<Sha256>::new(Some(&hash), &both);
        let direction = |label: &[u8]| {
            let mut secret = Zeroizing::new([0; KEY]);
            kdf.expand(label, &mut *secret)
                .map_err(|_| Error::Unopenable)?;
            FrameKey::derive(&hash, &[0; KEY], &secret)
        };
        Ok(Self {
            to_host: direction(b"to host")?,
            to_owner: direction(b"to owner")?,
        })
    }
}

fn sender(public: &TransportPublic) -> Result<([u8; KEY], Sender), Error> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(Error::Randomness)?;
    let mut random = ChaCha20Rng::from_seed(*seed);
    let (enc, context): (_, Sender) =
        setup_sender_with_rng(&OpModeS::Base, &public.key()?, INFO, &mut random)
            .map_err(|_| Error::UnusableKey)?;
    Ok((enc.to_bytes().into(), context))
}

fn receiver(secret: &TransportSecret, enc: &[u8]) -> Result<Receiver, Error> {
    let unopenable = |_| Error::Unopenable;
    let enc = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(enc).map_err(unopenable)?;
    setup_receiver(&OpModeR::Base, &secret.key()?, &enc, INFO).map_err(unopenable)
}

fn export(
    export: impl FnOnce(&mut [u8]) -> Result<(), hpke::HpkeError>,
    out: &mut [u8; KEY],
) -> Result<(), Error> {
    export(out).map_err(|_| Error::Unopenable)
}

const GREETING: &[u8; 17] = b"equicrypt link 1\0";
const INFO: &[u8] = b"equicrypt link 1";
const SECRET: &[u8] = b"equicrypt link secret 1";
const KEY: usize = 32;
const TAG: usize = 16;

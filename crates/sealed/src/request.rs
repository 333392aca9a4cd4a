use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use hpke::aead::{AeadCtxR, AeadCtxS, ChaCha20Poly1305};
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::CryptoRng;
use hpke::{
    Deserializable, Kem, OpModeR, OpModeS, Serializable, setup_receiver, setup_sender_with_rng,
};
use zeroize::Zeroizing;

use crate::padding::{pad, unpad};
use crate::{Error, ResponseOpener, ResponseSealer, TransportPublic, TransportSecret, Window};

/// Seals a request's body to a host: `version (1) || window (16) || enc (32) || ciphertext`, where the plaintext is padded to
/// a multiple of 64 bytes, `info` is `equicrypt sealed request 1`, and the associated data is `version || window || route`.
///
/// `route` is the method and the path as the host sees it, as in `POST /v1/embeddings`.
///
/// # Errors
/// If the key is none, the body has more than 4 GiB, or there is no randomness.
pub fn seal(
    public: &TransportPublic,
    window: &Window,
    route: &str,
    body: &[u8],
) -> Result<(Vec<u8>, ResponseOpener), Error> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(Error::Randomness)?;
    let mut random = ChaCha20Rng::from_seed(*seed);
    seal_with(&mut random, public, window, route, body)
}

fn seal_with(
    random: &mut impl CryptoRng,
    public: &TransportPublic,
    window: &Window,
    route: &str,
    body: &[u8],
) -> Result<(Vec<u8>, ResponseOpener), Error> {
    let padded = pad(&[], body)?;
    let (enc, mut context): (_, AeadCtxS<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>) =
        setup_sender_with_rng(&OpModeS::Base, &public.key()?, INFO, random)
            .map_err(|_| Error::UnusableKey)?;
    let enc: [u8; ENC] = enc.to_bytes().into();
    let sealed = context.seal(&padded, &associated(window, route));
    let sealed = sealed.map_err(|_| Error::TooLong { bytes: body.len() })?;
    let mut bytes = Vec::with_capacity(HEADER + sealed.len());
    bytes.push(VERSION);
    bytes.extend_from_slice(window.as_bytes());
    bytes.extend_from_slice(&enc);
    bytes.extend_from_slice(&sealed);
    let mut secret = Zeroizing::new([0; 32]);
    (context.export(RESPONSE, &mut *secret)).map_err(|_| Error::Unopenable)?;
    Ok((bytes, ResponseOpener::new(enc, secret)))
}

/// A request as it came, not opened yet.
#[derive(Debug, Clone, Copy)]
pub struct SealedRequest<'a> {
    window: Window,
    enc: [u8; ENC],
    sealed: &'a [u8],
}

impl<'a> SealedRequest<'a> {
    /// Cuts the bytes into their parts.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let not_sealed = |found| Error::NotSealed { found };
        let short = || not_sealed("fewer bytes than any has");
        let (version, rest) = bytes.split_first().ok_or_else(short)?;
        if *version != VERSION {
            return Err(not_sealed("another version"));
        }
        let (window, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (enc, sealed) = rest.split_first_chunk().ok_or_else(short)?;
        Ok(Self {
            window: Window::from_bytes(*window),
            enc: *enc,
            sealed,
        })
    }

    /// The window that it says it was made in, which is believed once it is opened.
    #[must_use]
    pub fn window(&self) -> Window {
        self.window
    }

    /// The asker's share of the key: no two requests have the same.
    #[must_use]
    pub fn enc(&self) -> [u8; 32] {
        self.enc
    }

    /// The body, and what seals the answer.
    ///
    /// # Errors
    /// One and the same, whatever is wrong with it, unless there is no randomness.
    pub fn open(
        &self,
        secret: &TransportSecret,
        route: &str,
    ) -> Result<(Vec<u8>, ResponseSealer), Error> {
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(Error::Randomness)?;
        self.open_with(secret, route, nonce)
    }

    fn open_with(
        &self,
        secret: &TransportSecret,
        route: &str,
        nonce: [u8; 32],
    ) -> Result<(Vec<u8>, ResponseSealer), Error> {
        let unopenable = |_| Error::Unopenable;
        let enc = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&self.enc);
        let mut context: AeadCtxR<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256> = setup_receiver(
            &OpModeR::Base,
            &secret.key()?,
            &enc.map_err(unopenable)?,
            INFO,
        )
        .map_err(unopenable)?;
        let opened = context.open(self.sealed, &associated(&self.window, route));
        let opened = Zeroizing::new(opened.map_err(unopenable)?);
        let body = unpad(&opened, 0).ok_or(Error::Unopenable)?.to_vec();
        let mut exported = Zeroizing::new([0; 32]);
        (context.export(RESPONSE, &mut *exported)).map_err(unopenable)?;
        Ok((body, ResponseSealer::new(self.enc, exported, nonce)))
    }
}

fn associated(window: &Window, route: &str) -> Vec<u8> {
    [&[VERSION], window.as_bytes().as_slice(), route.as_bytes()].concat()
}

const VERSION: u8 = 1;
const ENC: usize = 32;
const HEADER: usize = 1 + 16 + ENC;
const INFO: &[u8] = b"equicrypt sealed request 1";
const RESPONSE: &[u8] = b"equicrypt sealed response 1";

#[cfg(test)]
mod tests;

//! The whole key schedule:
//!
//! ```text
//! key id          HKDF-SHA256(salt = none,                 info = "equicrypt v1 key id")(master, 8)
//! subkey(label)   HKDF-SHA256(salt = fingerprint || epoch, info = "equicrypt v1 " || label)(master, 32)
//! labels          "vocab"                                   the secret vocabulary
//!                 "hidden", "layer/12/ffn", "layer/12/v"    the secret of an axis
//!                 "layer/12/v/2"                            its member for index 2 of the axis it varies with
//!                 "vectors/384/rotation", "vectors/384/scale"   embeddings of 384 numbers in a database
//!                 "vectors/384/noise/" || nonce in hex      what is added to one of them
//!                 "homophones/choice"                       which homophone stands where in a prompt
//!                 "homophones/table", "homophones/nonce"    which ids have homophones, sealed in the manifest
//! stream(label)   ChaCha20 (RFC 8439), key = subkey(label), nonce = 0
//! ```
//!
//! `fingerprint` is the source checkpoint's, 32 bytes; `epoch` is a little-endian u32: for `vocab` the
//! manifest's `epoch`, for all other labels its `weights_epoch`, which is the same until a model is rekeyed. The same key on another
//! model, or in another epoch, gives unrelated secrets. HKDF is RFC 5869.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::MasterKey;
use crate::rng::SecretRng;

/// The subkeys of one key for one model and epoch.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Schedule {
    master: [u8; 32],
    salt: [u8; 36],
}

impl Schedule {
    /// The schedule of `key` for the model with this fingerprint.
    #[must_use]
    pub fn new(key: &MasterKey, fingerprint: &[u8; 32], epoch: u32) -> Self {
        let mut salt = [0; 36];
        salt[..32].copy_from_slice(fingerprint);
        salt[32..].copy_from_slice(&epoch.to_le_bytes());
        Self {
            master: *key.expose(),
            salt,
        }
    }

    /// stream(label): the randomness behind one secret.
    pub(crate) fn stream(&self, label: &str) -> SecretRng {
        SecretRng::new(&Zeroizing::new(self.subkey(label)))
    }

    /// HKDF-SHA256(master, salt, "equicrypt v1 " || label): the caller wipes it.
    pub(crate) fn subkey(&self, label: &str) -> [u8; 32] {
        let mut subkey = [0; 32];
        let info = [b"equicrypt v1 ", label.as_bytes()].concat();
        expand(&self.master, &self.salt, &info, &mut subkey);
        subkey
    }
}

/// HKDF-SHA256(salt, info)(master), RFC 5869; `out` is far shorter than the 8,160 bytes that HKDF can give.
pub(crate) fn expand(master: &[u8; 32], salt: &[u8], info: &[u8], out: &mut [u8]) {
    Hkdf::<Sha256>::new(Some(salt), master)
        .expand(info, out)
        .expect("HKDF gives up to 8,160 bytes, and no caller asks for more than 32");
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Vectors computed by tools/golden/key_schedule.py with other implementations of every part.
    #[test]
    fn golden_vectors() {
        let text = include_str!("../../../tests/golden/key_schedule.json");
        let golden: Value = serde_json::from_str(text).unwrap();
        let key = MasterKey::from_bytes(std::array::from_fn(|i| i as u8));
        let schedule = Schedule::new(&key, &[0xa5; 32], 7);

        assert_eq!(golden["text"], key.to_text().as_str());
        assert_eq!(golden["key_id"], key.id().to_string());
        let mut words = schedule.stream("hidden");
        for word in golden["hidden_u64"].as_array().unwrap() {
            assert_eq!(*word, format!("{:016x}", words.next_u64()));
        }
        let permutation = schedule.stream("vocab").permutation(40);
        assert_eq!(golden["vocab_permutation"], serde_json::json!(permutation));
        let mut gaussians = schedule.stream("layer/12/v/2");
        for pair in golden["layer_12_v_2_gaussians"]
            .as_array()
            .unwrap()
            .chunks(2)
        {
            let (a, b) = gaussians.gaussian_pair();
            assert!((pair[0].as_f64().unwrap() - a).abs() < 1e-14);
            assert!((pair[1].as_f64().unwrap() - b).abs() < 1e-14);
        }
    }
}

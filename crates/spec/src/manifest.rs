use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Profile};

/// The manifest's file name in an encrypted folder.
pub const MANIFEST_FILE: &str = "equicrypt.json";

/// The manifest format that this version writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// A request's header with the [`Manifest::epochs`] that it was encrypted for, so that a host which has changed over refuses it
/// with 421 (Misdirected Request, RFC 9110) and nobody decrypts what does not belong together.
pub const EPOCH_HEADER: &str = "equicrypt-epoch";

/// What a host may know of an encrypted model: `equicrypt.json`. Public; holds no secret by construction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Which key encrypted the model.
    pub key_id: KeyId,
    /// The counter in the key schedule of the vocabulary.
    pub epoch: u32,
    /// The counter of every other secret; none where it is `epoch`: until the vocabulary is changed alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights_epoch: Option<u32>,
    /// The kind of secrets.
    pub profile: Profile,
    /// `model_type` of the table used.
    pub architecture: String,
    /// SHA-256 fingerprint of the source checkpoint, in hexadecimal.
    pub source_fingerprint: String,
    /// Rows of the encrypted embedding: cipher ids are below it.
    pub vocab_size: usize,
    /// Rows of the source's embedding: plain ids are below it.
    pub plain_vocab_size: usize,
    /// The dtype of the encrypted weights, in safetensors' spelling.
    pub dtype: String,
    /// A plain id that is its own cipher id: one that stock engines compare ids with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_id: Option<u32>,
    /// Whether sentence embeddings were given a secret rotation of their own.
    #[serde(default, skip_serializing_if = "is_false")]
    pub rotates_output: bool,
    /// The standard deviation of the noise on embedding and head, in that of the tensor.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub noise: f64,
    /// Which plain ids have several cipher ids, sealed under the key; none where each has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub homophone_table: Option<String>,
}

/// A public commitment to a key: 8 bytes, written as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub [u8; 8]);

impl Manifest {
    /// Reads the manifest's text. Fails on another format version and on fields that contradict each other.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let manifest: Self =
            serde_json::from_slice(text).map_err(|error| Error::Manifest(error.to_string()))?;
        if manifest.format_version != FORMAT_VERSION {
            return Err(Error::Manifest(format!(
                "format_version: expected {FORMAT_VERSION}, found {}; use the equicrypt version that wrote it",
                manifest.format_version
            )));
        }
        manifest.fingerprint()?;
        if manifest.plain_vocab_size == 0
            || manifest.vocab_size < manifest.plain_vocab_size
            || manifest.vocab_size > MAX_VOCAB
        {
            return Err(Error::Manifest(format!(
                "vocab_size: expected plain_vocab_size = {} or more, at most 2^28, found {}",
                manifest.plain_vocab_size, manifest.vocab_size
            )));
        }
        if manifest.weights_epoch == Some(manifest.epoch) {
            return Err(Error::Manifest(
                "weights_epoch: expected another than epoch, or none".into(),
            ));
        }
        if !(manifest.noise.is_finite() && manifest.noise >= 0.0) {
            return Err(Error::Manifest(
                "noise: expected a finite number, not below 0".into(),
            ));
        }
        if (manifest.kept_id).is_some_and(|id| id as usize >= manifest.plain_vocab_size) {
            return Err(Error::Manifest(
                "kept_id: expected an id below plain_vocab_size".into(),
            ));
        }
        Ok(manifest)
    }

    /// The counter in the key schedule of every secret but the vocabulary.
    #[must_use]
    pub fn weights_epoch(&self) -> u32 {
        self.weights_epoch.unwrap_or(self.epoch)
    }

    /// Both counters, `epoch/weights_epoch`.
    #[must_use]
    pub fn epochs(&self) -> String {
        format!("{}/{}", self.epoch, self.weights_epoch())
    }

    /// The same model with the vocabulary of another epoch.
    #[must_use]
    pub fn rekeyed(&self, epoch: u32) -> Self {
        let weights_epoch = self.weights_epoch();
        Self {
            epoch,
            weights_epoch: (weights_epoch != epoch).then_some(weights_epoch),
            ..self.clone()
        }
    }

    /// The first field in which another manifest is of another encryption; the dtype may differ.
    #[must_use]
    pub fn first_difference(&self, other: &Self) -> Option<&'static str> {
        let epochs = [
            ("epoch", self.epoch == other.epoch),
            (
                "weights_epoch",
                self.weights_epoch() == other.weights_epoch(),
            ),
            // Sealed anew for each epoch.
            (
                "homophone_table",
                self.homophone_table == other.homophone_table,
            ),
        ];
        let differs = epochs.into_iter().find(|(_, same)| !same);
        (self.first_difference_but_epochs(other)).or(differs.map(|(field, _)| field))
    }

    /// The same, where the epochs may differ as well: another encryption of the same model under the same key.
    #[must_use]
    pub fn first_difference_but_epochs(&self, other: &Self) -> Option<&'static str> {
        let same = [
            ("key_id", self.key_id == other.key_id),
            ("profile", self.profile == other.profile),
            ("architecture", self.architecture == other.architecture),
            (
                "source_fingerprint",
                self.source_fingerprint == other.source_fingerprint,
            ),
            ("vocab_size", self.vocab_size == other.vocab_size),
            (
                "plain_vocab_size",
                self.plain_vocab_size == other.plain_vocab_size,
            ),
            ("kept_id", self.kept_id == other.kept_id),
            (
                "rotates_output",
                self.rotates_output == other.rotates_output,
            ),
            ("noise", self.noise == other.noise),
        ];
        let differs = same.into_iter().find(|(_, same)| !same);
        differs.map(|(field, _)| field)
    }

    /// How many cipher ids there are beyond one for each plain id.
    #[must_use]
    pub fn homophones(&self) -> usize {
        self.vocab_size.saturating_sub(self.plain_vocab_size)
    }

    /// The manifest's text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// The 32 bytes of `source_fingerprint`.
    pub fn fingerprint(&self) -> Result<[u8; 32], Error> {
        from_hex(&self.source_fingerprint).ok_or_else(|| {
            Error::Manifest("source_fingerprint: expected 64 hexadecimal digits".into())
        })
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        from_hex(&text)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("key_id: expected 16 hexadecimal digits"))
    }
}

fn is_zero(noise: &f64) -> bool {
    *noise == 0.0
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

const MAX_VOCAB: usize = 1 << 28;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            format_version: FORMAT_VERSION,
            key_id: KeyId([0, 1, 2, 3, 4, 5, 6, 255]),
            epoch: 0,
            weights_epoch: None,
            profile: Profile::Permute,
            architecture: "llama".into(),
            source_fingerprint: "ab".repeat(32),
            vocab_size: 10,
            plain_vocab_size: 10,
            dtype: "BF16".into(),
            kept_id: None,
            rotates_output: false,
            noise: 0.0,
            homophone_table: None,
        }
    }

    #[test]
    fn text_reads_back() {
        assert_eq!(
            Manifest::parse(manifest().to_text().as_bytes()).unwrap(),
            manifest()
        );
    }

    #[test]
    fn a_rekeyed_manifest_remembers_the_epoch_of_the_weights() {
        let first = manifest();
        assert!(!first.to_text().contains("weights_epoch"));
        let second = first.rekeyed(3);
        assert_eq!((second.epoch, second.weights_epoch()), (3, 0));
        assert_eq!(
            Manifest::parse(second.to_text().as_bytes()).unwrap(),
            second
        );
        assert_eq!(second.rekeyed(4).weights_epoch(), 0);
        assert_eq!(second.rekeyed(0), first);
        assert_eq!(first.first_difference(&second), Some("epoch"));
        assert_eq!(first.first_difference_but_epochs(&second), None);
        let all = Manifest { epoch: 3, ..first };
        assert_eq!(second.first_difference(&all), Some("weights_epoch"));
    }

    #[test]
    fn contradictions_are_refused() {
        for (from, to) in [
            ("\"format_version\": 1", "\"format_version\": 2"),
            ("\"vocab_size\": 10", "\"vocab_size\": 9"),
            ("abab", "zzzz"),
            ("00010203040506ff", "00"),
            ("permute", "scramble"),
            ("\n}", ",\"kept_id\": 10}"),
            ("\n}", ",\"weights_epoch\": 0}"),
        ] {
            let text = manifest().to_text().replacen(from, to, 1);
            assert!(Manifest::parse(text.as_bytes()).is_err(), "{from} -> {to}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Manifest::parse(&text);
        }
    }
}

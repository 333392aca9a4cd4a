//! Embeddings for a database that need not be trusted with their exact values.

use std::fmt;
use std::str::FromStr;

use equicrypt_spec::{Group, Manifest, RopeLayout};
use zeroize::Zeroizing;

use crate::rewrite::Action;
use crate::schedule::Schedule;
use crate::{Error, MasterKey};

/// c = s R x + lambda, with a secret scale s, a secret rotation R of all coordinates, and lambda uniform in the ball of radius
/// s beta / 4, fresh for each vector: Scale-and-Perturb (Fuchsbauer, Ghosal, Hauke, O'Neill, "Approximate
/// Distance-Comparison-Preserving Symmetric Encryption", ePrint 2021/1666) behind a rotation of its own. x is the vector that
/// the owner decrypted: host and database see coordinates that have nothing to do with each other, and may be two parties.
///
/// What is kept: `|dist(c, c') / s - dist(x, x')| <= beta / 2`, so that of two neighbours whose distances differ by more than
/// beta the nearer one stays the nearer one. beta has the unit of these distances: those of vectors of length 1 are 0 to 2.
/// With beta = 0 every angle and every ratio of distances is exact, and nothing is drawn.
///
/// What it stops: reading coordinates, or feeding them to whatever was trained on the model's own (classifiers, inversion); and
/// telling by equality that two vectors are of the same text (beta > 0).
///
/// What it does not stop: whoever knows plain vectors of about as many texts as there are coordinates. With beta = 0 they give
/// every other vector to the last digit. Noise only blurs that: of 384 coordinates and with 400 known pairs, an orthogonal fit
/// recovered all others with a mean cosine of 0.986 at beta = 0.4 and 0.844 at beta = 1.6 (docs/vector-search.md). Nor does it
/// stop whatever neighbourhoods tell, such as clusters, outliers, near duplicates, or an alignment with the vectors of a similar
/// collection of texts: distances are there for all to see, which is the purpose. s hides no length if all vectors have the
/// same: that of the result is s then. This is no semantic security.
pub struct VectorCipher {
    schedule: Schedule,
    size: usize,
    rotation: Action<f64>,
    back: Action<f64>,
    scale: Zeroizing<f64>,
    beta: f64,
}

/// A vector as a database may see it.
#[derive(Debug, Clone, PartialEq)]
pub struct EncryptedVector {
    /// c.
    pub values: Vec<f64>,
    /// What lambda was drawn under; none where beta is 0. Public, and needed to decrypt.
    pub nonce: Option<Nonce>,
}

/// 16 random bytes, written as 32 hexadecimal digits. Two vectors under the same nonce have the same lambda: their difference
/// is exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce([u8; 16]);

impl VectorCipher {
    /// For vectors of `size` numbers of the model with this manifest. Fails if the key is not the one that encrypted it, and
    /// on a `beta` that is negative or no number.
    pub fn open(
        key: &MasterKey,
        manifest: &Manifest,
        size: usize,
        beta: f64,
    ) -> Result<Self, Error> {
        let found = key.id();
        if found != manifest.key_id {
            return Err(Error::WrongKey {
                expected: manifest.key_id,
                found,
            });
        }
        if !(0.0..=MOST_BETA).contains(&beta) {
            return Err(vector("beta", format!("0 to {MOST_BETA}"), beta));
        }
        if !(1..=MOST_SIZE).contains(&size) {
            return Err(vector("size", format!("1 to {MOST_SIZE}"), size));
        }
        let schedule = Schedule::new(key, &manifest.fingerprint()?, manifest.weights_epoch());
        let mut stream = schedule.stream(&format!("vectors/{size}/rotation"));
        let halves = RopeLayout::Halves;
        let rotation = crate::sample::draw(&mut stream, Group::ORTHOGONAL, size, halves);
        let share = unit(schedule.stream(&format!("vectors/{size}/scale")).next_u64());
        Ok(Self {
            size,
            rotation: Action::new(&rotation),
            back: Action::new(&rotation.inverse()),
            scale: Zeroizing::new(libm::exp2(OCTAVES * (2.0 * share - 1.0))),
            beta,
            schedule,
        })
    }

    /// c of x, under a fresh nonce. Fails on another number of coordinates, and on one that is not finite.
    pub fn encrypt(&self, plain: &[f64]) -> Result<EncryptedVector, Error> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(Error::Randomness)?;
        self.encrypt_under(plain, Nonce(nonce))
    }

    /// The same under a nonce that was never used before.
    pub fn encrypt_under(&self, plain: &[f64], nonce: Nonce) -> Result<EncryptedVector, Error> {
        self.check(plain)?;
        let mut values = plain.to_vec();
        self.rotation.apply(&mut values, 1);
        values.iter_mut().for_each(|value| *value *= *self.scale);
        let nonce = (self.beta > 0.0).then_some(nonce);
        if let Some(nonce) = nonce {
            let noise = self.noise(nonce);
            values
                .iter_mut()
                .zip(noise.iter())
                .for_each(|(value, noise)| *value += noise);
        }
        Ok(EncryptedVector { values, nonce })
    }

    /// x of c. Fails on another number of coordinates, on one that is not finite, and without a nonce where there must be one.
    pub fn decrypt(&self, encrypted: &EncryptedVector) -> Result<Vec<f64>, Error> {
        self.check(&encrypted.values)?;
        let mut values = encrypted.values.clone();
        match encrypted.nonce {
            Some(nonce) if self.beta > 0.0 => {
                let noise = self.noise(nonce);
                values
                    .iter_mut()
                    .zip(noise.iter())
                    .for_each(|(value, noise)| *value -= noise);
            }
            None if self.beta == 0.0 => {}
            Some(_) => return Err(vector("nonce", "none with beta = 0".into(), "one")),
            None => return Err(vector("nonce", "one with beta > 0".into(), "none")),
        }
        values.iter_mut().for_each(|value| *value /= *self.scale);
        self.back.apply(&mut values, 1);
        Ok(values)
    }

    /// lambda: a Gaussian vector at length s beta / 4 u^(1 / size), u uniform in 0 ... 1, is uniform in the ball.
    fn noise(&self, nonce: Nonce) -> Zeroizing<Vec<f64>> {
        let label = format!("vectors/{}/noise/{nonce}", self.size);
        let mut stream = self.schedule.stream(&label);
        let radius = libm::pow(unit(stream.next_u64()), 1.0 / self.size as f64);
        let mut noise = Zeroizing::new(Vec::with_capacity(self.size + 1));
        while noise.len() < self.size {
            noise.extend(<[f64; 2]>::from(stream.gaussian_pair()));
        }
        noise.truncate(self.size);
        let length = noise.iter().map(|x| x * x).sum::<f64>().sqrt();
        let factor = *self.scale * self.beta / 4.0 * radius / length;
        noise.iter_mut().for_each(|x| *x *= factor);
        noise
    }

    fn check(&self, values: &[f64]) -> Result<(), Error> {
        if values.len() != self.size {
            return Err(vector("size", self.size.to_string(), values.len()));
        }
        match values.iter().find(|value| !value.is_finite()) {
            Some(value) => Err(vector("coordinates", "finite numbers".into(), value)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Nonce {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || vector("nonce", "32 hexadecimal digits".into(), "something else");
        if text.len() != 32 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| wrong())?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// Uniform in 0 ... 1 without 1, in steps of 2^-53.
fn unit(word: u64) -> f64 {
    (word >> 11) as f64 * 2f64.powi(-53)
}

fn vector(what: &'static str, expected: String, found: impl ToString) -> Error {
    Error::Vector {
        what,
        expected,
        found: found.to_string(),
    }
}

/// s is 2^-4 to 2^4, its logarithm uniform: wide enough that the lengths of a model's vectors say nothing of those before,
/// narrow enough that a database which stores f16 keeps their digits and stays inside its range.
const OCTAVES: f64 = 4.0;
const MOST_BETA: f64 = 1e6;
const MOST_SIZE: usize = 1 << 20;

#[cfg(test)]
mod tests;

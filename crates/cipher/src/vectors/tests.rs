use equicrypt_spec::{FORMAT_VERSION, Profile};
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::rng::SecretRng;

fn key() -> MasterKey {
    MasterKey::from_bytes(std::array::from_fn(|i| i as u8))
}

fn manifest() -> Manifest {
    Manifest {
        format_version: FORMAT_VERSION,
        key_id: key().id(),
        epoch: 7,
        weights_epoch: None,
        profile: Profile::Permute,
        architecture: "bert".into(),
        source_fingerprint: "a5".repeat(32),
        vocab_size: 10,
        plain_vocab_size: 10,
        dtype: "F32".into(),
        kept_id: None,
        rotates_output: false,
        noise: 0.0,
        homophone_table: None,
    }
}

fn cipher(size: usize, beta: f64) -> VectorCipher {
    VectorCipher::open(&key(), &manifest(), size, beta).unwrap()
}

/// Vectors of length 1, uniform on the sphere.
fn units(seed: u8, count: usize, size: usize) -> Vec<Vec<f64>> {
    let mut rng = SecretRng::new(&[seed; 32]);
    let unit = |_| {
        let vector: Vec<f64> = (0..size).map(|_| rng.gaussian_pair().0).collect();
        let length = dot(&vector, &vector).sqrt();
        vector.into_iter().map(|x| x / length).collect()
    };
    (0..count).map(unit).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    let difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    dot(&difference, &difference).sqrt()
}

proptest! {
    #[test]
    fn decrypting_undoes_encrypting(seed: u8, size in 1usize..70, nonce: [u8; 16], beta in 0f64..3.0) {
        let plain = units(seed, 1, size).remove(0);
        for cipher in [cipher(size, 0.0), cipher(size, beta)] {
            let encrypted = cipher.encrypt_under(&plain, Nonce(nonce)).unwrap();
            prop_assert!(distance(&cipher.decrypt(&encrypted).unwrap(), &plain) < 1e-9);
        }
    }

    #[test]
    fn distances_stay_within_half_of_beta(seed: u8, size in 1usize..70, beta in 0f64..3.0) {
        let cipher = cipher(size, beta);
        let plain = units(seed, 8, size);
        let encrypted: Vec<_> = plain.iter().map(|x| cipher.encrypt(x).unwrap().values).collect();
        for (x, c) in plain.iter().zip(&encrypted) {
            for (y, d) in plain.iter().zip(&encrypted) {
                let off = distance(c, d) / *cipher.scale - distance(x, y);
                prop_assert!(off.abs() <= beta / 2.0 + 1e-12, "{off} at beta {beta}");
            }
        }
    }

    #[test]
    fn without_noise_angles_are_kept(seed: u8, size in 2usize..400) {
        let cipher = cipher(size, 0.0);
        let plain = units(seed, 2, size);
        let encrypted: Vec<_> = plain.iter().map(|x| cipher.encrypt(x).unwrap().values).collect();
        let cosine = |v: &[Vec<f64>]| dot(&v[0], &v[1]) / (dot(&v[0], &v[0]) * dot(&v[1], &v[1])).sqrt();
        prop_assert!((cosine(&encrypted) - cosine(&plain)).abs() < 1e-12);
    }

    #[test]
    fn a_nonce_reads_back(nonce: [u8; 16], text in "[0-9a-g+ -]{0,33}") {
        prop_assert_eq!(Nonce(nonce).to_string().parse::<Nonce>().unwrap(), Nonce(nonce));
        if let Ok(nonce) = text.parse::<Nonce>() {
            prop_assert_eq!(nonce.to_string(), text);
        }
    }
}

/// Vectors computed by tools/golden/vectors.py with other implementations of every part.
#[test]
fn golden_vectors() {
    let golden: Value =
        serde_json::from_str(include_str!("../../../../tests/golden/vectors.json")).unwrap();
    let numbers = |value: &Value| -> Vec<f64> { serde_json::from_value(value.clone()).unwrap() };
    let plain = numbers(&golden["plain"]);
    let nonce: Nonce = golden["nonce"].as_str().unwrap().parse().unwrap();
    assert_eq!(golden["key_id"], key().id().to_string());
    for case in golden["cases"].as_array().unwrap() {
        let cipher = cipher(plain.len(), case["beta"].as_f64().unwrap());
        let scale = golden["scale"].as_f64().unwrap();
        assert!((*cipher.scale / scale - 1.0).abs() < 1e-14);
        let found = cipher.encrypt_under(&plain, nonce).unwrap().values;
        assert!(distance(&found, &numbers(&case["values"])) < 1e-12);
    }
}

#[test]
fn the_same_nonce_gives_the_same_vector_and_a_fresh_one_another() {
    let cipher = cipher(20, 0.5);
    let plain = units(1, 1, 20).remove(0);
    let [a, b] = [(); 2].map(|()| cipher.encrypt(&plain).unwrap());
    assert!(a.nonce != b.nonce && a.values != b.values);
    let again = cipher.encrypt_under(&plain, a.nonce.unwrap()).unwrap();
    assert_eq!(again, a);
}

#[test]
fn noise_fills_the_ball() {
    let (size, draws) = (3, 4000);
    let cipher = cipher(size, 4.0);
    let mut inner = 0;
    let mut mean = [0.0; 3];
    for draw in 0..draws {
        let noise = cipher.noise(Nonce(u128::to_be_bytes(draw)));
        let length = dot(&noise, &noise).sqrt() / *cipher.scale;
        assert!(length <= 1.0 + 1e-12);
        inner += usize::from(length < 0.5);
        for (mean, x) in mean.iter_mut().zip(noise.iter()) {
            *mean += x / *cipher.scale / draws as f64;
        }
    }
    let share = inner as f64 / draws as f64;
    assert!(
        (share - 0.125).abs() < 0.02,
        "{share} in an eighth of the ball"
    );
    assert!(mean.iter().all(|mean| mean.abs() < 0.05), "{mean:?}");
}

#[test]
fn scales_keep_to_their_octaves_and_differ_by_model_and_width() {
    let scale = |fingerprint: u8, size| {
        let manifest = Manifest {
            source_fingerprint: format!("{fingerprint:02x}").repeat(32),
            ..manifest()
        };
        *VectorCipher::open(&key(), &manifest, size, 0.0)
            .unwrap()
            .scale
    };
    let scales: Vec<f64> = (0..200).map(|byte| scale(byte, 2)).collect();
    assert!(scales.iter().all(|s| (0.0625..16.0).contains(s)));
    let above = scales.iter().filter(|s| **s > 1.0).count();
    assert!((70..130).contains(&above), "{above} of 200 above 1");
    assert!(scale(0, 2) != scale(0, 3));
}

/// A database outlives the vocabulary.
#[test]
fn vectors_of_a_rekeyed_model_are_the_same() {
    let open = |manifest: &Manifest| VectorCipher::open(&key(), manifest, 3, 0.0).unwrap();
    let plain = [0.5, -1.0, 2.0];
    let before = open(&manifest())
        .encrypt_under(&plain, Nonce([1; 16]))
        .unwrap();
    let rekeyed = open(&manifest().rekeyed(8));
    assert_eq!(
        rekeyed
            .encrypt_under(&plain, Nonce([1; 16]))
            .unwrap()
            .values,
        before.values
    );
    let other = Manifest {
        epoch: 8,
        ..manifest()
    };
    let encrypted = open(&other).encrypt_under(&plain, Nonce([1; 16])).unwrap();
    assert_ne!(encrypted.values, before.values);
}

#[test]
fn what_does_not_fit_is_refused() {
    let wrong_key = Manifest {
        key_id: MasterKey::from_bytes([9; 32]).id(),
        ..manifest()
    };
    let error = VectorCipher::open(&key(), &wrong_key, 4, 0.0)
        .err()
        .unwrap();
    assert!(matches!(error, Error::WrongKey { .. }), "{error}");
    for (size, beta) in [
        (0, 0.0),
        (1 << 21, 0.0),
        (4, -0.1),
        (4, f64::NAN),
        (4, f64::INFINITY),
    ] {
        assert!(VectorCipher::open(&key(), &manifest(), size, beta).is_err());
    }
    let [exact, noisy] = [cipher(4, 0.0), cipher(4, 0.5)];
    for bad in [
        &[0.0; 3][..],
        &[0.0; 5],
        &[0.0, f64::NAN, 0.0, 0.0],
        &[f64::INFINITY; 4],
    ] {
        let encrypted = EncryptedVector {
            values: bad.to_vec(),
            nonce: None,
        };
        assert!(exact.encrypt(bad).is_err() && exact.decrypt(&encrypted).is_err());
    }
    let without = exact.encrypt(&[1.0; 4]).unwrap();
    let with = noisy.encrypt(&[1.0; 4]).unwrap();
    assert!(exact.decrypt(&with).is_err() && noisy.decrypt(&without).is_err());
}

/// What the description of [`VectorCipher`] says of known pairs: the relative error with which a vector is read by whoever
/// fits a linear map to so many pairs (x, c).
#[test]
fn known_pairs_give_it_away_at_once_without_noise_and_slowly_with_it() {
    let size = 16;
    let error = |beta: f64, pairs: usize| {
        let cipher = cipher(size, beta);
        let encrypt = |x: &Vec<f64>| cipher.encrypt(x).unwrap().values;
        let plain = units(3, pairs, size);
        let encrypted: Vec<_> = plain.iter().map(encrypt).collect();
        let secret = units(4, 50, size);
        let map = least_squares(&encrypted, &plain);
        let wrong = secret.iter().map(|x| {
            let c = encrypt(x);
            let guess: Vec<f64> = map.iter().map(|row| dot(row, &c)).collect();
            distance(&guess, x)
        });
        wrong.sum::<f64>() / secret.len() as f64
    };
    assert!(error(0.0, size) < 1e-9);
    assert!(error(1.0, size) > 0.7);
    // What is left is the vector's own lambda, of length beta / 4.
    let many = error(1.0, 400 * size);
    assert!(many < 0.3, "{many}");
}

/// The rows of W that minimise the sum of (W c - x)^2.
fn least_squares(from: &[Vec<f64>], to: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let size = from[0].len();
    let moment = |a: usize, b: usize, v: &[Vec<f64>]| -> f64 {
        from.iter().zip(v).map(|(c, x)| c[a] * x[b]).sum()
    };
    let mut rows: Vec<Vec<f64>> = (0..size)
        .map(|a| {
            let own = (0..size).map(|b| moment(a, b, from));
            own.chain((0..size).map(|b| moment(a, b, to))).collect()
        })
        .collect();
    for pivot in 0..size {
        let best =
            (pivot..size).max_by(|a, b| rows[*a][pivot].abs().total_cmp(&rows[*b][pivot].abs()));
        rows.swap(pivot, best.unwrap());
        let head = rows[pivot].clone();
        for (index, row) in rows.iter_mut().enumerate() {
            let factor = row[pivot] / head[pivot];
            if index == pivot {
                row.iter_mut().for_each(|x| *x /= head[pivot]);
            } else {
                row.iter_mut()
                    .zip(&head)
                    .for_each(|(x, h)| *x -= factor * h);
            }
        }
    }
    (0..size)
        .map(|label| rows.iter().map(|row| row[size + label]).collect())
        .collect()
}

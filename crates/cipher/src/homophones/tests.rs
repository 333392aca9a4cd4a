use equicrypt_spec::{FORMAT_VERSION, Profile};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{MasterKey, Vocabulary};

fn key() -> MasterKey {
    MasterKey::from_bytes(std::array::from_fn(|i| i as u8))
}

fn schedule() -> Schedule {
    Schedule::new(&key(), &[0xa5; 32], 7)
}

fn manifest(plain: usize, extra: usize) -> Manifest {
    Manifest {
        format_version: FORMAT_VERSION,
        key_id: key().id(),
        epoch: 7,
        weights_epoch: None,
        profile: Profile::Permute,
        architecture: "llama".into(),
        source_fingerprint: "a5".repeat(32),
        vocab_size: plain + extra,
        plain_vocab_size: plain,
        dtype: "BF16".into(),
        kept_id: None,
        rotates_output: false,
        noise: 0.0,
        homophone_table: None,
    }
}

/// Zipf's law.
fn zipf(ids: usize) -> Vec<f64> {
    (1..=ids).map(|rank| 1.0 / rank as f64).collect()
}

fn allocated(ids: usize, extra: usize, allocation: Allocation) -> Homophones {
    Homophones::allocate(&zipf(ids), None, extra, allocation).unwrap()
}

fn vocabulary(ids: usize, extra: usize) -> Vocabulary {
    let homophones = allocated(ids, extra, Allocation::Proportional);
    Vocabulary::with_homophones(&schedule(), &homophones, None)
}

/// sum (observed - expected)^2 / expected.
fn chi_square(counts: &[u32]) -> f64 {
    let expected = f64::from(counts.iter().sum::<u32>()) / counts.len() as f64;
    let terms = counts.iter().map(|n| (f64::from(*n) - expected).powi(2));
    terms.sum::<f64>() / expected
}

/// Computed by tools/golden/homophones.py, which shares no code with this.
#[test]
fn golden_vectors() {
    let text = include_str!("../../../../tests/golden/homophones.json");
    let golden: Value = serde_json::from_str(text).unwrap();
    let weights: Vec<f64> = serde_json::from_value(golden["weights"].clone()).unwrap();
    for (name, allocation) in [
        ("proportional", Allocation::Proportional),
        ("square_root", Allocation::SquareRoot),
    ] {
        let homophones = Homophones::allocate(&weights, Some(3), 12, allocation).unwrap();
        assert_eq!(golden[name]["extra"], json!(homophones.extra), "{name}");
        let manifest = Manifest {
            kept_id: Some(3),
            ..manifest(weights.len(), 12)
        };
        let table = homophones.seal(&schedule(), &manifest).unwrap().unwrap();
        assert_eq!(golden[name]["table"], json!(table), "{name}");
        let vocabulary = Vocabulary::with_homophones(&schedule(), &homophones, Some(3));
        assert_eq!(golden[name]["rows"], json!(vocabulary.rows()), "{name}");
        let prompt: Vec<u32> = serde_json::from_value(golden["prompt"].clone()).unwrap();
        let cipher = vocabulary.encrypt(&prompt).unwrap();
        assert_eq!(golden[name]["cipher"], json!(cipher.as_slice()), "{name}");
    }
}

proptest! {
    #[test]
    fn every_extra_id_is_given_out_once(
        weights in prop::collection::vec(0.0f64..5.0, 1..60),
        extra in 0usize..300,
        kept in prop::option::of(0u32..60),
        square: bool,
    ) {
        let allocation = if square { Allocation::SquareRoot } else { Allocation::Proportional };
        if let Ok(homophones) = Homophones::allocate(&weights, kept, extra, allocation) {
            prop_assert_eq!(homophones.extra(), extra);
            prop_assert!(homophones.extra.is_sorted());
            let unfit = |id: &u32| weights[*id as usize] == 0.0 || Some(*id) == kept;
            prop_assert!(!homophones.extra.iter().any(unfit));
        }
    }

    #[test]
    fn decrypting_undoes_encrypting_and_a_prefix_is_stable(
        a in prop::collection::vec(0u32..40, 0..60),
        b in prop::collection::vec(0u32..40, 0..60),
    ) {
        let vocabulary = vocabulary(40, 90);
        let whole = [a.as_slice(), &b].concat();
        let cipher = vocabulary.encrypt(&whole).unwrap();
        prop_assert_eq!(vocabulary.decrypt(cipher.as_slice()).unwrap(), whole.clone());
        let begin = vocabulary.encrypt(&a).unwrap();
        prop_assert!(cipher.as_slice().starts_with(begin.as_slice()));
        // Ids that a host chose stay, whatever follows.
        let chosen: Vec<u32> = a.iter().map(|id| *vocabulary.class(*id).unwrap().last().unwrap()).collect();
        let knowing = vocabulary.encrypt_knowing(&whole, &chosen).unwrap();
        prop_assert!(knowing.as_slice().starts_with(&chosen));
        prop_assert_eq!(&knowing.as_slice()[a.len()..], &cipher.as_slice()[a.len()..]);
    }

    #[test]
    fn a_table_opens_again(ids in 1usize..50, extra in 1usize..80) {
        let homophones = allocated(ids, extra, Allocation::SquareRoot);
        let mut manifest = manifest(ids, extra);
        manifest.homophone_table = homophones.seal(&schedule(), &manifest).unwrap();
        let opened = Homophones::open(&schedule(), &manifest).unwrap();
        prop_assert_eq!(&opened.extra, &homophones.extra);
        prop_assert_eq!(opened.cipher_ids(), ids + extra);
    }

    #[test]
    fn arbitrary_tables_are_refused(table in "[A-Za-z0-9+/=]{0,80}", extra in 1usize..12) {
        let manifest = Manifest { homophone_table: Some(table), ..manifest(20, extra) };
        prop_assert!(Homophones::open(&schedule(), &manifest).is_err());
    }
}

#[test]
fn what_is_known_ends_where_it_does_not_fit() {
    let vocabulary = vocabulary(40, 90);
    let plain = [1, 2, 3, 1, 2];
    let mut known: Vec<u32> = plain
        .iter()
        .map(|id| vocabulary.class(*id).unwrap()[0])
        .collect();
    known[2] = vocabulary.class(9).unwrap()[0];
    let fresh = vocabulary.encrypt(&plain).unwrap();
    let cipher = vocabulary.encrypt_knowing(&plain, &known).unwrap();
    assert_eq!(cipher.as_slice()[..2], known[..2]);
    assert_eq!(cipher.as_slice()[2..], fresh.as_slice()[2..]);
}

#[test]
fn a_table_is_bound_to_key_epoch_and_vocabulary() {
    let homophones = allocated(20, 10, Allocation::Proportional);
    let good = manifest(20, 10);
    let table = homophones.seal(&schedule(), &good).unwrap();
    let good = Manifest {
        homophone_table: table,
        ..good
    };
    assert!(Vocabulary::open(&key(), &good).is_ok());
    for other in [
        Manifest {
            epoch: 8,
            ..good.clone()
        },
        Manifest {
            kept_id: Some(1),
            ..good.clone()
        },
        Manifest {
            plain_vocab_size: 21,
            vocab_size: 31,
            ..good.clone()
        },
        Manifest {
            vocab_size: 31,
            ..good.clone()
        },
        Manifest {
            vocab_size: 20,
            ..good.clone()
        },
        Manifest {
            homophone_table: None,
            ..good.clone()
        },
        Manifest {
            source_fingerprint: "a6".repeat(32),
            ..good.clone()
        },
    ] {
        let error = Vocabulary::open(&key(), &other).err().unwrap().to_string();
        assert!(error.contains("homophone_table"), "{error}");
    }
    let text = good.to_text();
    assert!(!text.contains("homophones\""), "{text}");
}

#[test]
fn two_tables_are_never_sealed_under_one_nonce() {
    let sealed = |allocation| {
        let homophones = allocated(50, 30, allocation);
        let table = homophones
            .seal(&schedule(), &manifest(50, 30))
            .unwrap()
            .unwrap();
        STANDARD.decode(table).unwrap()
    };
    let (a, b) = (
        sealed(Allocation::Proportional),
        sealed(Allocation::SquareRoot),
    );
    assert_eq!(a, sealed(Allocation::Proportional));
    assert_ne!(a[..NONCE], b[..NONCE]);
    assert_eq!(a.len(), b.len());
}

/// The 0.1 % point of chi-square with 15 degrees of freedom is 37.7.
#[test]
fn homophones_are_uniform_over_prefixes_and_all_of_them_appear() {
    let homophones = Homophones::allocate(&[1.0, 0.0, 0.0], None, 15, Allocation::Proportional);
    let vocabulary = Vocabulary::with_homophones(&schedule(), &homophones.unwrap(), None);
    let class = vocabulary.class(0).unwrap();
    let mut counts = vec![0; class.len()];
    for prefix in 0..16_000u32 {
        let digits = (0..14).map(|bit| 1 + (prefix >> bit & 1));
        let prompt: Vec<u32> = digits.chain([0]).collect();
        let cipher = vocabulary.encrypt(&prompt).unwrap();
        let last = cipher.as_slice().last().unwrap();
        counts[class.binary_search(last).unwrap()] += 1;
    }
    assert!(counts.iter().all(|count| *count > 0));
    let found = chi_square(&counts);
    assert!(found < 37.7, "chi-square {found}");
    // The same id again and again is not the same homophone.
    let cipher = vocabulary.encrypt(&vec![0; 16_000]).unwrap();
    let mut counts = vec![0; class.len()];
    for id in cipher.as_slice() {
        counts[class.binary_search(id).unwrap()] += 1;
    }
    let found = chi_square(&counts);
    assert!(found < 37.7, "chi-square {found}");
}

#[test]
fn proportional_flattens_most_and_square_root_reaches_more_ids() {
    let (ids, extra) = (2000, 512);
    let weights = zipf(ids);
    let all: f64 = weights.iter().sum();
    let coincidence = |allocation| {
        let homophones = allocated(ids, extra, allocation);
        let mut counts = vec![1.0; ids];
        homophones
            .extra
            .iter()
            .for_each(|id| counts[*id as usize] += 1.0);
        let terms = weights
            .iter()
            .zip(&counts)
            .map(|(w, m)| (w / all).powi(2) / m);
        (terms.sum::<f64>(), homophones.biased() - extra)
    };
    let (proportional, few) = coincidence(Allocation::Proportional);
    let (square_root, more) = coincidence(Allocation::SquareRoot);
    let none: f64 = weights.iter().map(|w| (w / all).powi(2)).sum();
    assert!(proportional < square_root && square_root < none);
    assert!(few < more, "{few} {more}");
}

#[test]
fn what_cannot_be_given_out_is_refused() {
    let allocate = |weights: &[f64], kept, extra| {
        Homophones::allocate(weights, kept, extra, Allocation::Proportional).is_err()
    };
    assert!(allocate(&[0.0, 0.0], None, 1));
    assert!(allocate(&[1.0, f64::NAN], None, 1));
    assert!(allocate(&[1.0, -1.0], None, 1));
    assert!(allocate(&[1.0, 0.0], Some(0), 1));
    assert!(allocate(&[1.0], None, MOST_EXTRA + 1));
    assert!(!allocate(&[0.0, 0.0], None, 0));
}

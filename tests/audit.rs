//! Every attack recovers what it should where little is hidden, and nothing where there is nothing to recover.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::path::Path;

use equicrypt_audit::{ATTACKS, AloePri, Attack, Audit, AuditTexts, EncryptedCopy, Truth, Verdict};
use equicrypt_checkpoint::Dtype;
use equicrypt_spec::{Pooling, Profile, SentenceHead};
use serde_json::{Value, json};
use support::Random;
use tempfile::TempDir;

const TOKENS: usize = 400;

#[test]
fn every_attack_names_the_tokens_of_a_permuted_decoder() {
    let place = Place::new(&decoder(), None);
    for attack in of(&decoder()) {
        let verdict = place.verdict(attack, place.encrypted(Profile::Permute));
        assert!(
            verdict.control > 0.95,
            "{}: control {}",
            attack.name,
            verdict.control
        );
        let found = match attack.name {
            // What is not in the document stays hidden.
            "injected-document" => verdict.recovered_occurrences,
            _ => verdict.recovered_types,
        };
        let least = if attack.name == "injected-document" {
            0.3
        } else {
            0.95
        };
        assert!(found > least, "{}: {found}", attack.name);
    }
}

#[test]
fn rotations_stop_what_sorts_and_matches_and_nothing_else() {
    let place = Place::new(&decoder(), None);
    for attack in of(&decoder()) {
        let verdict = place.verdict(attack, place.encrypted(Profile::Rotate));
        match attack.name {
            "sorted-row" | "weight-match" => {
                assert!(verdict.recovered_types < 0.05, "{}", attack.name)
            }
            "injected-document" => {}
            _ => assert!(
                verdict.recovered_types > 0.9,
                "{}: {}",
                attack.name,
                verdict.recovered_types
            ),
        }
    }
}

/// The published scheme of key matrices and noise: what sorts and compares lengths fails, what aligns neurons does not,
/// because no noise is added to them.
#[test]
fn neurons_align_what_key_matrices_and_noise_hide() {
    let place = Place::new(&decoder(), None);
    let recovered = |name: &str, alpha_e: f64| {
        let verdict = place.verdict(Attack::named(name).unwrap(), place.aloepri(alpha_e));
        verdict.recovered_types
    };
    for alpha_e in [0.0, 0.5] {
        for name in ["row-norm", "sorted-row", "weight-match"] {
            let share = recovered(name, alpha_e);
            assert!(share < 0.1, "{name} at {alpha_e}: {share}");
        }
        let share = recovered("neuron-anchor", alpha_e);
        assert!(share > 0.95, "neuron-anchor at {alpha_e}: {share}");
    }
}

#[test]
fn unrelated_weights_give_nothing_away() {
    for config in [decoder(), encoder()] {
        let place = Place::new(&config, Some(head()).filter(|_| config == encoder()));
        for attack in of(&config)
            .into_iter()
            .filter(|a| a.name != "injected-document")
        {
            let verdict = place.verdict(attack, place.unrelated());
            let chance = verdict.chance.max(1.0 / TOKENS as f64);
            assert!(
                verdict.recovered_types < 12.0 * chance,
                "{}: {} where chance is {chance}",
                attack.name,
                verdict.recovered_types
            );
        }
    }
}

#[test]
fn every_attack_names_the_tokens_or_texts_of_a_permuted_encoder() {
    let place = Place::new(&encoder(), Some(head()));
    let attacks = of(&encoder());
    assert!(
        attacks
            .iter()
            .any(|attack| attack.name == "embedding-output")
    );
    for attack in attacks
        .into_iter()
        .filter(|attack| attack.name != "injected-document")
    {
        let verdict = place.verdict(attack, place.encrypted(Profile::Permute));
        assert!(
            verdict.control > 0.95,
            "{}: control {}",
            attack.name,
            verdict.control
        );
        assert!(
            verdict.recovered_types > 0.95,
            "{}: {}",
            attack.name,
            verdict.recovered_types
        );
    }
}

#[test]
fn more_known_plaintext_gives_more_away() {
    let place = Place::new(&decoder(), None);
    for name in ["known-pairs", "injected-document"] {
        let attack = Attack::named(name).unwrap();
        let verdict = place.verdict(attack, place.encrypted(Profile::Rotate));
        let (first, last) = (
            verdict.curve.first().unwrap(),
            verdict.curve.last().unwrap(),
        );
        assert!(
            verdict
                .curve
                .windows(2)
                .all(|two| two[0].effort < two[1].effort),
            "{name}"
        );
        // Of so few types two pairs name nearly all.
        let least = if name == "known-pairs" { 1.0 } else { 0.7 };
        assert!(
            first.recovered_occurrences <= least * last.recovered_occurrences,
            "{name}"
        );
        assert_eq!(last.recovered_types, verdict.recovered_types);
    }
}

/// Attacks that make sense on such a model.
fn of(config: &Value) -> Vec<&'static Attack> {
    let parsed = equicrypt_spec::ModelConfig::from_json(config).unwrap();
    let parsed = match config["model_type"] == "bert" {
        true => parsed.with_sentence(head()).unwrap(),
        false => parsed,
    };
    ATTACKS
        .iter()
        .filter(|attack| attack.applies(&parsed))
        .collect()
}

fn decoder() -> Value {
    json!({
        "model_type": "llama", "vocab_size": TOKENS, "hidden_size": 48, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5,
        "hidden_act": "silu", "tie_word_embeddings": true, "max_position_embeddings": 64,
    })
}

fn encoder() -> Value {
    json!({
        "architectures": ["BertModel"], "model_type": "bert", "vocab_size": TOKENS, "hidden_size": 48,
        "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_act": "gelu",
        "type_vocab_size": 2, "max_position_embeddings": 64, "layer_norm_eps": 1e-12,
    })
}

fn head() -> SentenceHead {
    SentenceHead {
        pooling: Pooling::Mean,
        width: 0,
        dense: None,
        normalize: true,
    }
}

/// A random model, and folders of what became of it.
struct Place {
    dir: TempDir,
    config: Value,
    head: Option<SentenceHead>,
    audit: Audit,
}

impl Place {
    fn new(config: &Value, head: Option<SentenceHead>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("plain");
        support::random_sentence_model(&plain, config, head.as_ref(), Dtype::F32, 1);
        let mut random = Random(9);
        // Small ids are frequent, as in a language.
        let mut text = |length: usize| -> Vec<u32> {
            let squared = |_| {
                let share = random.below(1000) as f64 / 1000.0;
                (share * share * TOKENS as f64) as u32
            };
            (0..length).map(squared).collect()
        };
        let texts = AuditTexts {
            held_out: (0..90).map(|_| text(20)).collect(),
            more: (0..90).map(|_| text(12)).collect(),
            document: text(300),
            special: vec![0, 1, 2],
        };
        let audit = Audit::new(&plain, texts).unwrap();
        Self {
            dir,
            config: config.clone(),
            head,
            audit,
        }
    }

    fn encrypted(&self, profile: Profile) -> EncryptedCopy {
        let out = self.dir.path().join(profile.name());
        let plain = self.dir.path().join("plain");
        let key = support::key(3);
        if out.exists() {
            std::fs::remove_dir_all(&out).unwrap();
        }
        let vocabulary = support::encrypted(&plain, &out, &key, profile);
        EncryptedCopy::open(&out, Truth::of(&vocabulary).unwrap()).unwrap()
    }

    fn aloepri(&self, alpha_e: f64) -> EncryptedCopy {
        let scheme = AloePri {
            alpha_e,
            alpha_h: 0.0,
            h: 8,
            ..AloePri::default()
        };
        let out = self.dir.path().join("aloepri");
        if out.exists() {
            std::fs::remove_dir_all(&out).unwrap();
        }
        let plain = self.dir.path().join("plain");
        let secret = scheme.encrypt(&plain, &out, None, [5; 32]).unwrap();
        let truth = Truth::of_rows(secret.plain_of().to_vec());
        EncryptedCopy::open(&out, truth).unwrap()
    }

    /// Another model, said to be an encryption of this one.
    fn unrelated(&self) -> EncryptedCopy {
        let other = self.dir.path().join("other");
        if !Path::exists(&other) {
            let head = self.head.as_ref();
            support::random_sentence_model(&other, &self.config, head, Dtype::F32, 77);
        }
        let mut rows: Vec<u32> = (0..TOKENS as u32).collect();
        let mut random = Random(4);
        for last in (1..TOKENS).rev() {
            rows.swap(last, random.below(last + 1));
        }
        EncryptedCopy::open(&other, Truth::of_rows(rows)).unwrap()
    }

    fn verdict(&self, attack: &'static Attack, copy: EncryptedCopy) -> Verdict {
        let studied = self.audit.study(attack).unwrap().unwrap();
        studied.verdict(&[copy]).unwrap()
    }
}

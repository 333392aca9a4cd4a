//! Made-up audits for tests: figures of the size that prototypes gave on SmolLM2-135M-Instruct.

use equicrypt_spec::Profile;

use crate::{Adversary, Audited, EncoderFidelity, Fidelity, MeasuredFidelity, Point, Verdict};

/// An attack of the host on a model with 49,152 types whose control works.
pub(super) fn verdict(attack: &'static str, types: f64, occurrences: f64) -> Verdict {
    Verdict {
        attack,
        adversary: Adversary::BaseModelHost,
        recovered_types: types,
        recovered_occurrences: occurrences,
        recovered_special: Some(1.0),
        chance: 1.0 / 49_152.0,
        control: 0.999_8,
        spread: 0.000_2,
        keys: 3,
        seconds: 12.3,
        curve: Vec::new(),
        effort: None,
    }
}

/// One scheme with these verdicts and without fidelity.
pub(super) fn audited(scheme: &str, verdicts: Vec<Verdict>) -> Audited {
    Audited {
        model: "smollm2".to_owned(),
        scheme: scheme.to_owned(),
        architecture: "llama".to_owned(),
        profile: Some(Profile::Rotate),
        noise: 0.0,
        dtype: "bf16".to_owned(),
        vocab_size: 49_152,
        text_tokens: 20_480,
        fidelity: None,
        verdicts,
    }
}

/// A decoder's fidelity.
pub(super) fn decoder(mean_kl: f64, perplexity_encrypted: f64) -> MeasuredFidelity {
    MeasuredFidelity::Decoder(Fidelity {
        prompts: 20,
        positions: 1_680,
        max_logit_difference: 0.31,
        mean_kl,
        top1_agreement: (1.0 - mean_kl.sqrt()).max(0.0),
        perplexity_plain: 18.8,
        perplexity_encrypted,
        greedy_tokens: 64,
        greedy_match_lengths: vec![64, 64, 31, 12],
    })
}

/// An encoder's fidelity.
pub(super) fn encoder(min_cosine: f64) -> MeasuredFidelity {
    MeasuredFidelity::Encoder(EncoderFidelity {
        texts: 200,
        tokens: 5_120,
        compared: "sentence embeddings",
        vectors: 200,
        min_cosine,
        max_relative_difference: 2e-6,
        agreement: None,
        max_probability_difference: None,
        mean_kl: None,
    })
}

/// Six schemes, all attacks.
pub(super) fn schemes() -> Vec<Audited> {
    [
        (
            "permute",
            Some(Profile::Permute),
            0.0,
            3e-12,
            18.8,
            [0.999_8, 0.999_8, 0.999_8, 0.999_7],
            [0.01, 0.47, 0.60, 0.85, 0.89],
        ),
        (
            "rotate",
            Some(Profile::Rotate),
            0.0,
            2e-4,
            18.9,
            [0.064, 0.000_5, 0.999_8, 0.999_7],
            [0.01, 0.47, 0.60, 0.85, 0.89],
        ),
        (
            "rotate, noise 0.25",
            Some(Profile::Rotate),
            0.25,
            0.021,
            19.6,
            [0.004, 0.000_3, 0.41, 0.999_6],
            [0.01, 0.47, 0.60, 0.85, 0.89],
        ),
        (
            "rotate, noise 1",
            Some(Profile::Rotate),
            1.0,
            4.8,
            2_304.0,
            [0.000_04, 0.000_02, 0.031, 0.999_4],
            [0.01, 0.47, 0.60, 0.85, 0.89],
        ),
        (
            "rotate, 1,024 homophones",
            Some(Profile::Rotate),
            0.0,
            2e-4,
            18.9,
            [0.064, 0.000_5, 0.999_8, 0.999_7],
            [0.0, 0.000_1, 0.000_1, 0.02, 0.11],
        ),
        (
            "AloePri, alpha_e 1, alpha_h 0.2, lambda 0.3, h 128",
            None,
            1.0,
            4.7,
            2_210.0,
            [0.000_1, 0.000_04, 0.12, 0.999_4],
            [0.01, 0.47, 0.60, 0.85, 0.89],
        ),
    ]
    .into_iter()
    .map(|(scheme, profile, noise, kl, perplexity, host, log)| {
        let mut one = audited(scheme, attacks(host, log));
        one.profile = profile;
        one.noise = noise;
        one.fidelity = Some(decoder(kl, perplexity));
        one
    })
    .collect()
}

fn attacks(host: [f64; 4], log: [f64; 5]) -> Vec<Verdict> {
    let mut gate = verdict("gate-mean", 0.012, 0.009);
    gate.control = 0.61;
    let names = ["row-norm", "sorted-row", "spectral", "neuron-anchor"];
    let seconds = [0.41, 3.2, 21.0, 12.3];
    let mut all: Vec<Verdict> = names
        .into_iter()
        .zip(host)
        .zip(seconds)
        .map(|((name, share), seconds)| Verdict {
            seconds,
            ..verdict(name, share, share * 0.999_8)
        })
        .chain([
            gate,
            Verdict {
                seconds: 214.0,
                recovered_special: None,
                ..verdict("functional", 1.0, 1.0)
            },
        ])
        .collect();
    let pairs = [
        (16.0, 0.001),
        (32.0, 0.006),
        (64.0, 0.025),
        (128.0, 0.45),
        (256.0, 0.992),
        (576.0, 0.999_8),
        (2_048.0, 0.999_8),
    ];
    all.push(Verdict {
        adversary: Adversary::KnownPlaintextHost,
        ..curve("known-pairs", "known pairs", &pairs)
    });
    all.push(Verdict {
        adversary: Adversary::CacheReader,
        ..verdict("value-norm", 0.71, 0.78)
    });
    let document = [
        (100.0, 0.18),
        (1_000.0, 0.44),
        (10_000.0, 0.71),
        (100_000.0, 0.93),
    ];
    all.push(Verdict {
        adversary: Adversary::KnownPlaintextReader,
        ..curve("injected-document", "tokens of the document", &document)
    });
    let efforts = [1e4, 3e4, 1e5, 1e6, 5e6];
    let points: Vec<(f64, f64)> = efforts.into_iter().zip(log).collect();
    all.push(Verdict {
        adversary: Adversary::LogReader,
        ..curve(
            "frequency",
            "cipher tokens",
            &points
                .iter()
                .map(|(x, y)| (*x, y * 0.04))
                .collect::<Vec<_>>(),
        )
    });
    all.push(Verdict {
        adversary: Adversary::LogReader,
        ..curve("cooccurrence", "cipher tokens", &points)
    });
    all
}

fn curve(attack: &'static str, effort: &'static str, points: &[(f64, f64)]) -> Verdict {
    let last = points.last().map_or(0.0, |(_, share)| *share);
    Verdict {
        effort: Some(effort),
        curve: points
            .iter()
            .map(|(effort, share)| Point {
                effort: *effort,
                recovered_types: share * 0.6,
                recovered_occurrences: *share,
                contest: None,
            })
            .collect(),
        ..verdict(attack, last * 0.6, last)
    }
}

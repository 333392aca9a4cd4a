use super::*;
use crate::Owner;
use crate::fixture::{VOCAB, folder, homophonic_encryption};

fn session() -> Session {
    let (key, manifest) = homophonic_encryption();
    let dir = folder();
    Session::open(Owner::open(dir.path()).unwrap(), &key, &manifest).unwrap()
}

fn at(temperature: f64) -> Sampling {
    Sampling {
        temperature,
        ..Sampling::greedy()
    }
}

/// Logits of plain ids, a few of them much larger; `e`, of many homophones, is the likeliest.
fn logits() -> Vec<f64> {
    let logit = |id: usize| match id {
        101 => 6.0,
        _ => f64::from((id as u32).wrapping_mul(2_654_435_761) >> 16) / 65_536.0 * 9.0 - 4.0,
    };
    (0..VOCAB).map(logit).collect()
}

fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let all: f64 = logits.iter().map(|logit| logit.exp()).sum();
    logits.iter().map(|logit| logit - all.ln()).collect()
}

/// What a host says of the id `drawn` and of the `count` likeliest, from these logits of cipher ids.
fn told(logits: &[f64], drawn: u32, count: usize) -> TokenLogprob {
    let values = log_softmax(logits);
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    ids.sort_by(|a, b| values[*b as usize].total_cmp(&values[*a as usize]));
    let entry = |id: u32| TokenLogprob {
        token_id: id,
        logprob: values[id as usize],
        rank: None,
        top_logprobs: Vec::new(),
    };
    TokenLogprob {
        top_logprobs: ids[..count].iter().map(|id| entry(*id)).collect(),
        ..entry(drawn)
    }
}

/// Each cipher id's logit.
fn of_cipher_ids(session: &Session, bias: &Bias) -> Vec<f64> {
    let all: Vec<u32> = (0..session.vocab_size() as u32).collect();
    let plain = logits();
    let rows = session.decrypt(&all).unwrap().into_iter();
    let mut logits: Vec<f64> = rows.map(|id| plain[id as usize]).collect();
    bias.pairs()
        .for_each(|(id, value)| logits[id as usize] += value);
    logits
}

#[test]
fn each_way_to_draw_has_its_correction() {
    let penalty = Sampling {
        presence_penalty: 0.1,
        ..at(0.0)
    };
    for (sampling, expected) in [
        (at(0.0), Correction::Greedy),
        (
            Sampling {
                top_k: 5,
                top_p: 0.5,
                ..at(0.0)
            },
            Correction::Greedy,
        ),
        (at(0.7), Correction::Split),
        (
            Sampling {
                top_p: 0.99,
                ..at(0.7)
            },
            Correction::One,
        ),
        (
            Sampling {
                top_k: 5,
                ..at(0.7)
            },
            Correction::One,
        ),
        (
            Sampling {
                min_p: 0.01,
                ..at(0.7)
            },
            Correction::One,
        ),
        (
            Sampling {
                frequency_penalty: -0.1,
                ..at(0.7)
            },
            Correction::One,
        ),
        (penalty, Correction::One),
    ] {
        assert_eq!(Correction::of(&sampling), expected);
    }
}

#[test]
fn biased_ids_come_in_an_order_that_says_nothing() {
    let session = session();
    for sampling in [
        at(1.0),
        Sampling {
            top_k: 3,
            ..at(1.0)
        },
    ] {
        let bias = session
            .sampling(&[(101, 1.0), (3, 2.0)], sampling)
            .unwrap()
            .bias;
        let ids: Vec<u32> = bias.pairs().map(|(id, _)| id).collect();
        assert!(ids.len() > 40 && ids.is_sorted());
    }
    // An id that is forbidden stays so, and no bias leaves the range that hosts take.
    let bias = session.sampling(&[(101, -100.0)], at(4.0)).unwrap().bias;
    assert!(
        bias.pairs()
            .all(|(_, value)| (-100.0..0.0).contains(&value))
    );
    assert!(session.sampling(&[(VOCAB as u32, 1.0)], at(1.0)).is_err());
}

#[test]
fn log_probabilities_are_the_plain_models_where_all_are_told() {
    let session = session();
    let expected = log_softmax(&logits());
    let drawn = session.vocabulary().class(101).unwrap()[2];
    let told = told(&of_cipher_ids(&session, &Bias::none()), drawn, VOCAB + 40);
    let (logprob, top) = session
        .plain_logprobs(&told, Correction::Greedy, false)
        .unwrap();
    assert!((logprob - expected[101]).abs() < 1e-12);
    assert_eq!(top.len(), VOCAB);
    assert!(top.is_sorted_by(|a, b| a.1 >= b.1));
    for (id, value) in top {
        assert!((value - expected[id as usize]).abs() < 1e-12);
    }
}

#[test]
fn log_probabilities_are_within_the_bound_where_some_are_told() {
    let session = session();
    let expected = log_softmax(&logits());
    for count in [0, 1, 20, 40, 64] {
        let drawn = session.vocabulary().class(101).unwrap()[0];
        let told = told(&of_cipher_ids(&session, &Bias::none()), drawn, count);
        let (logprob, top) = session
            .plain_logprobs(&told, Correction::Split, false)
            .unwrap();
        let size = |id: u32| session.vocabulary().class(id).unwrap().len() as f64;
        let q = |id: u32| {
            (logits()[id as usize]).exp()
                / of_cipher_ids(&session, &Bias::none())
                    .iter()
                    .map(|l| l.exp())
                    .sum::<f64>()
        };
        let mut named: Vec<u32> = top.iter().map(|(id, _)| *id).chain([101]).collect();
        named.sort_unstable();
        named.dedup();
        let sum: f64 = named.iter().map(|id| q(*id)).sum();
        let rest = 1.0 - named.iter().map(|id| size(*id) * q(*id)).sum::<f64>();
        let bound = ((sum + rest) / (sum + rest / size(101))).ln() + 1e-12;
        for (id, value) in top.iter().chain([&(101, logprob)]) {
            let off = (value - expected[*id as usize]).abs();
            assert!(off < bound, "{count} told: {off} is more than {bound}");
        }
        // The homophones of one id are one id, and the order is the plain model's.
        assert!(
            top.len() <= count
                && top.is_sorted_by(|a, b| expected[a.0 as usize] >= expected[b.0 as usize])
        );
    }
}

/// A host that computes them behind the biases.
#[test]
fn log_probabilities_behind_the_correction_are_read_too() {
    let session = session();
    let expected = log_softmax(&logits());
    for (sampling, count) in [
        (at(1.0), 60),
        (
            Sampling {
                top_p: 0.5,
                ..at(1.0)
            },
            10,
        ),
    ] {
        let correction = Correction::of(&sampling);
        let bias = session.sampling(&[], sampling).unwrap().bias;
        let drawn = session.vocabulary().class(101).unwrap()[0];
        let told = told(&of_cipher_ids(&session, &bias), drawn, count);
        let (logprob, top) = session.plain_logprobs(&told, correction, true).unwrap();
        assert!((logprob - expected[101]).abs() < 1e-9);
        for (id, value) in top {
            assert!(
                (value - expected[id as usize]).abs() < 1e-9,
                "{correction:?}"
            );
        }
    }
}

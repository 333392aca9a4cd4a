use proptest::prelude::*;

use super::*;

fn greedy() -> SamplingParams {
    SamplingParams {
        temperature: 0.0,
        ..SamplingParams::default()
    }
}

fn sampler(params: &SamplingParams, seed: u64) -> Sampler {
    Sampler::new(params, &[], &[], seed, 0)
}

fn first(params: &SamplingParams, logits: &[f32]) -> u32 {
    sampler(params, 0).sample(logits).unwrap().id
}

/// The ids of `draws` samplers of different seeds, counted.
fn histogram(params: &SamplingParams, logits: &[f32], draws: u64) -> Vec<f64> {
    let mut counts = vec![0.0; logits.len()];
    for seed in 0..draws {
        counts[sampler(params, seed).sample(logits).unwrap().id as usize] += 1.0;
    }
    counts
}

fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let weights: Vec<f64> = logits
        .iter()
        .map(|logit| (f64::from(*logit) / temperature).exp())
        .collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

/// Fails if Pearson's statistic is above its mean by more than five standard deviations.
fn assert_distributed(counts: &[f64], probabilities: &[f64]) {
    let draws: f64 = counts.iter().sum();
    let mut statistic = 0.0;
    let mut cells = 0.0;
    for (count, probability) in counts.iter().zip(probabilities) {
        if *probability == 0.0 {
            assert_eq!(*count, 0.0);
            continue;
        }
        statistic += (count - draws * probability).powi(2) / (draws * probability);
        cells += 1.0;
    }
    let freedom: f64 = cells - 1.0;
    assert!(
        statistic <= freedom + 5.0 * (2.0 * freedom).sqrt(),
        "{statistic} with {freedom} degrees of freedom"
    );
}

const LOGITS: [f32; 8] = [0.3, -1.0, 2.0, 1.2, 0.0, 1.9, -0.4, 0.8];

#[test]
fn greedy_takes_the_largest_and_of_equals_the_lowest_id() {
    assert_eq!(first(&greedy(), &LOGITS), 2);
    assert_eq!(first(&greedy(), &[-0.0, 0.0, -1.0]), 0);
    assert_eq!(first(&greedy(), &[1.0, 3.0, 3.0, 3.0]), 1);
    assert_eq!(first(&greedy(), &[f32::NEG_INFINITY, -1e30]), 1);
}

#[test]
fn draws_follow_the_softmax() {
    for temperature in [0.5, 1.0, 1.7] {
        let params = SamplingParams {
            temperature,
            ..SamplingParams::default()
        };
        let counts = histogram(&params, &LOGITS, 20_000);
        assert_distributed(&counts, &softmax(&LOGITS, temperature));
    }
}

#[test]
fn one_sampler_draws_independently_each_time() {
    let mut sampler = sampler(&SamplingParams::default(), 11);
    let p = softmax(&LOGITS, 1.0);
    let mut pairs = vec![0.0; 64];
    for _ in 0..40_000 {
        let a = sampler.sample(&LOGITS).unwrap().id as usize;
        let b = sampler.sample(&LOGITS).unwrap().id as usize;
        pairs[8 * a + b] += 1.0;
    }
    let expected: Vec<f64> = (0..64).map(|pair| p[pair / 8] * p[pair % 8]).collect();
    assert_distributed(&pairs, &expected);
}

#[test]
fn filters_keep_exactly_the_ids_they_should() {
    let p = softmax(&LOGITS, 1.0);
    let kept = |ids: &[usize]| {
        let mass: f64 = ids.iter().map(|id| p[*id]).sum();
        (0..8)
            .map(|id| if ids.contains(&id) { p[id] / mass } else { 0.0 })
            .collect::<Vec<_>>()
    };
    let base = SamplingParams::default;
    // In descending order: 2, 5, 3, 7, 0, 4, 6, 1.
    let cases = [
        (SamplingParams { top_k: 3, ..base() }, kept(&[2, 5, 3])),
        (SamplingParams { top_k: 1, ..base() }, kept(&[2])),
        (
            SamplingParams {
                top_k: -1,
                ..base()
            },
            p.clone(),
        ),
        (
            SamplingParams {
                top_k: 99,
                ..base()
            },
            p.clone(),
        ),
        (
            SamplingParams {
                top_p: p[2] + p[5] + 1e-9,
                ..base()
            },
            kept(&[2, 5, 3]),
        ),
        (
            SamplingParams {
                top_p: p[2] + p[5] - 1e-9,
                ..base()
            },
            kept(&[2, 5]),
        ),
        (
            SamplingParams {
                top_p: 1e-12,
                ..base()
            },
            kept(&[2]),
        ),
        (
            SamplingParams {
                min_p: p[3] / p[2] - 1e-9,
                ..base()
            },
            kept(&[2, 5, 3]),
        ),
        (
            SamplingParams {
                top_k: 2,
                top_p: 0.99,
                min_p: 0.01,
                ..base()
            },
            kept(&[2, 5]),
        ),
        (
            SamplingParams {
                allowed_token_ids: Some(vec![7, 1, 7, 4]),
                ..base()
            },
            kept(&[1, 4, 7]),
        ),
    ];
    for (params, expected) in cases {
        assert_distributed(&histogram(&params, &LOGITS, 8_000), &expected);
    }
}

#[test]
fn biases_and_penalties_change_the_logits_as_documented() {
    let biased = SamplingParams {
        logit_bias: [(2, -100.0), (6, 2.5)].into(),
        ..greedy()
    };
    assert_eq!(first(&biased, &LOGITS), 6);

    let penalised = SamplingParams {
        repetition_penalty: 2.0,
        presence_penalty: 0.25,
        frequency_penalty: 0.5,
        ..greedy()
    };
    // Ids 2 (positive) and 1 (negative) stand in the prompt; id 5 is drawn, then penalised.
    let mut sampler = Sampler::new(&penalised, &[2, 1, 2], &[], 0, 0);
    assert_eq!(sampler.sample(&LOGITS).unwrap().id, 5);
    let left = sampler
        .settings
        .adjust(&LOGITS, &sampler.seen, sampler.drawn);
    let logit = |id: usize| left[id].logit;
    assert_eq!(logit(2), 1.0);
    assert_eq!(logit(1), -2.0);
    assert!((logit(5) - (f64::from(1.9f32) / 2.0 - 0.5 - 0.25)).abs() < 1e-12);
    assert_eq!(logit(0), f64::from(0.3f32));
    assert_eq!(sampler.sample(&LOGITS).unwrap().id, 3);
}

#[test]
fn stops_are_held_back_until_min_tokens() {
    let params = SamplingParams {
        min_tokens: 2,
        ..greedy()
    };
    let mut sampler = Sampler::new(&params, &[], &[2, 5], 0, 0);
    let ids: Vec<u32> = (0..3)
        .map(|_| sampler.sample(&LOGITS).unwrap().id)
        .collect();
    assert_eq!(ids, [3, 3, 2]);
}

#[test]
fn logprobs_are_of_the_raw_logits() {
    let params = SamplingParams {
        logprobs: Some(3),
        logit_bias: [(6, 50.0)].into(),
        temperature: 0.3,
        ..SamplingParams::default()
    };
    let drawn = sampler(&params, 0).sample(&LOGITS).unwrap();
    let logprob = drawn.logprob.unwrap();
    let p = softmax(&LOGITS, 1.0);
    assert_eq!((drawn.id, logprob.token_id, logprob.rank), (6, 6, Some(7)));
    assert!((logprob.logprob - p[6].ln()).abs() < 1e-12);
    let top: Vec<_> = logprob
        .top_logprobs
        .iter()
        .map(|entry| (entry.token_id, entry.rank.unwrap()))
        .collect();
    assert_eq!(top, [(6, 7), (2, 1), (5, 2), (3, 3)]);

    let alone = SamplingParams {
        logprobs: Some(0),
        ..greedy()
    };
    let logprob = sampler(&alone, 0).sample(&LOGITS).unwrap().logprob.unwrap();
    assert_eq!((logprob.rank, logprob.top_logprobs.len()), (Some(1), 0));
}

#[test]
fn logits_that_are_no_numbers_are_errors() {
    for bad in [f32::NAN, f32::INFINITY] {
        for params in [greedy(), SamplingParams::default()] {
            let result = sampler(&params, 0).sample(&[0.0, bad, 1.0]);
            assert!(matches!(result, Err(Error::Logit { id: 1, .. })));
        }
    }
    let nothing = sampler(&SamplingParams::default(), 0).sample(&[f32::NEG_INFINITY; 3]);
    assert!(matches!(nothing, Err(Error::NothingToSample)));
}

/// Logits that differ from one another, with a permutation of their ids.
fn permuted() -> impl Strategy<Value = (Vec<f32>, Vec<usize>)> {
    (2usize..700).prop_flat_map(|size| {
        let logits: Vec<f32> = (0..size).map(|i| i as f32 * 0.017 - 5.0).collect();
        let ids: Vec<usize> = (0..size).collect();
        (Just(logits).prop_shuffle(), Just(ids).prop_shuffle())
    })
}

proptest! {
    #[test]
    fn renamed_ids_draw_the_same(
        (logits, names) in permuted(),
        seed: u64,
        top_p in 0.05..1.0f64,
        top_k in 0i64..80,
    ) {
        let params = SamplingParams {
            top_p,
            top_k,
            logprobs: Some(5),
            ..SamplingParams::default()
        };
        let mut renamed = vec![0.0; logits.len()];
        for (id, name) in names.iter().enumerate() {
            renamed[*name] = logits[id];
        }
        let (mut plain, mut cipher) = (sampler(&params, seed), sampler(&params, seed));
        for _ in 0..4 {
            let (a, b) = (plain.sample(&logits).unwrap(), cipher.sample(&renamed).unwrap());
            prop_assert_eq!(names[a.id as usize], b.id as usize);
            prop_assert_eq!(a.logprob.unwrap().rank, b.logprob.unwrap().rank);
        }
    }

    #[test]
    fn what_is_drawn_passes_every_filter(
        logits in prop::collection::vec(-20.0f32..20.0, 1..300),
        seed: u64,
        temperature in 0.01..3.0f64,
        top_k in 0i64..20,
        top_p in 0.01..=1.0f64,
        min_p in 0.0..0.5f64,
    ) {
        let params = SamplingParams {
            temperature,
            top_k,
            top_p,
            min_p,
            ..SamplingParams::default()
        };
        let id = sampler(&params, seed).sample(&logits).unwrap().id as usize;
        let likelier: Vec<f64> = softmax(&logits, temperature)
            .into_iter()
            .zip(&logits)
            .filter(|(_, logit)| **logit > logits[id])
            .map(|(p, _)| p)
            .collect();
        prop_assert!(top_k == 0 || likelier.len() < top_k as usize);
        prop_assert!(likelier.iter().sum::<f64>() < top_p + 1e-9);
        let best = logits.iter().copied().fold(f32::MIN, f32::max);
        prop_assert!((f64::from(logits[id] - best) / temperature).exp() >= min_p * (1.0 - 1e-6));
    }

    #[test]
    fn the_same_seed_draws_the_same(
        logits in prop::collection::vec(-5.0f32..5.0, 2..50),
        seed: u64,
    ) {
        let params = SamplingParams::default();
        let draw = |index| {
            let mut sampler = Sampler::new(&params, &[], &[], seed, index);
            (0..16).map(|_| sampler.sample(&logits).unwrap().id).collect::<Vec<_>>()
        };
        prop_assert_eq!(draw(3), draw(3));
    }
}

use proptest::prelude::*;

use super::*;

const LENGTH: Finish = Finish {
    reason: FinishReason::Length,
    stop_reason: None,
};

fn stop(id: u32) -> Finish {
    Finish {
        reason: FinishReason::Stop,
        stop_reason: Some(id),
    }
}

#[test]
fn an_answer_ends_with_max_tokens_or_with_the_context() {
    let engine = engine(options());
    let short = run(&engine, request(&[1, 2, 5], greedy(7)));
    assert_eq!((short.ids[&0].len(), short.finishes[&0]), (7, LENGTH));
    let usage = short.usage.unwrap();
    assert_eq!(
        (
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.total_tokens
        ),
        (3, 7, 10)
    );

    let open = SamplingParams {
        max_tokens: None,
        ..greedy(1)
    };
    for sampling in [open, greedy(10_000)] {
        let full = run(&engine, request(&[1, 2, 5], sampling));
        assert_eq!(
            (full.ids[&0].len(), full.finishes[&0]),
            (CONTEXT - 3, LENGTH)
        );
    }
}

#[test]
fn a_shorter_context_can_be_set() {
    let engine = engine(EngineOptions {
        max_context: Some(20),
        ..options()
    });
    assert_eq!(engine.context(), 20);
    assert_eq!(run(&engine, request(&[1; 15], greedy(99))).ids[&0].len(), 5);
}

#[test]
fn an_answer_ends_with_a_stop_id_which_it_still_has() {
    let engine = engine(options());
    let all = run(&engine, request(&[9, 8], greedy(30)));
    let ids = &all.ids[&0];
    let place = (1..ids.len())
        .find(|place| !ids[..*place].contains(&ids[*place]))
        .unwrap();
    let sampling = SamplingParams {
        stop_token_ids: vec![ids[place]],
        ..greedy(30)
    };
    let stopped = run(&engine, request(&[9, 8], sampling.clone()));
    assert_eq!(stopped.ids[&0], ids[..=place]);
    assert_eq!(stopped.finishes[&0], stop(ids[place]));

    let later = SamplingParams {
        min_tokens: place + 1,
        ..sampling
    };
    let later = run(&engine, request(&[9, 8], later));
    assert_eq!(later.ids[&0][..place], ids[..place]);
    assert_ne!(later.ids[&0][place], ids[place]);
}

#[test]
fn the_models_own_end_ids_stop_unless_they_are_ignored() {
    let engine = engine(EngineOptions {
        end_ids: vec![7],
        ..options()
    });
    for end in [EOS, 7] {
        let sampling = SamplingParams {
            ignore_eos: false,
            logit_bias: [(end, 100.0)].into(),
            ..greedy(5)
        };
        let ended = run(&engine, request(&[1], sampling.clone()));
        assert_eq!(
            (&ended.ids[&0], ended.finishes[&0]),
            (&vec![end], stop(end))
        );
        let ignored = SamplingParams {
            ignore_eos: true,
            ..sampling
        };
        assert_eq!(run(&engine, request(&[1], ignored)).ids[&0], [end; 5]);
    }
}

#[test]
fn biases_and_allowed_ids_reach_the_sampler() {
    let engine = engine(options());
    let allowed = SamplingParams {
        allowed_token_ids: Some(vec![4, 30]),
        ..seeded(1, 40)
    };
    let ids = &run(&engine, request(&[1, 2], allowed)).ids[&0];
    assert!(ids.iter().all(|id| [4, 30].contains(id)));
    assert!([4, 30].iter().all(|id| ids.contains(id)));
    let biased = SamplingParams {
        logit_bias: [(11, 100.0)].into(),
        ..seeded(1, 9)
    };
    assert_eq!(run(&engine, request(&[1, 2], biased)).ids[&0], [11; 9]);
}

#[test]
fn logprobs_come_with_each_id() {
    let engine = engine(options());
    let sampling = SamplingParams {
        logprobs: Some(2),
        ..greedy(4)
    };
    let mut generation = engine.submit(request(&[6], sampling)).unwrap();
    let mut count = 0;
    while let Some(Event::Token { id, logprob, .. }) = generation.blocking_next() {
        let logprob = logprob.unwrap();
        assert_eq!((logprob.token_id, logprob.rank), (id, Some(1)));
        assert_eq!(logprob.top_logprobs.len(), 2);
        count += 1;
    }
    assert_eq!(count, 4);
}

#[test]
fn unseeded_answers_differ() {
    let engine = engine(options());
    let sampling = SamplingParams {
        seed: None,
        ..seeded(0, 40)
    };
    let answer = || run(&engine, request(&[1, 2], sampling.clone())).ids;
    assert_ne!(answer(), answer());
}

fn any_request() -> impl Strategy<Value = Request> {
    let sampling = (
        prop_oneof![Just(0.0), 0.3..1.5f64],
        any::<u64>(),
        1usize..12,
        1usize..4,
        prop::collection::vec(0..VOCAB, 0..4),
        any::<bool>(),
        prop_oneof![Just(1.0), 1.0..1.5f64],
        0i64..20,
    );
    let prompt = prop::collection::vec(0..VOCAB, 1..30);
    (prompt, sampling).prop_map(|(prompt, sampling)| {
        let (temperature, seed, max_tokens, n, stops, ignore_eos, repetition, top_k) = sampling;
        let sampling = SamplingParams {
            temperature,
            seed: Some(seed),
            max_tokens: Some(max_tokens),
            n: if temperature == 0.0 { 1 } else { n },
            stop_token_ids: stops,
            ignore_eos,
            repetition_penalty: repetition,
            top_k,
            ..SamplingParams::default()
        };
        request(&prompt, sampling)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_shares_a_batch_every_answer_is_as_if_alone(
        requests in prop::collection::vec(any_request(), 1..9),
        prefill_chunk in 1usize..40,
        max_batch in 3usize..7,
        cached_tokens in prop::sample::select(vec![0usize, 40, 1000]),
    ) {
        let decoder = decoder();
        let options = EngineOptions { prefill_chunk, max_batch, cached_tokens, ..options() };
        let engine = Engine::start(Arc::clone(&decoder), options).unwrap();
        let running: Vec<_> = requests
            .iter()
            .map(|request| engine.submit(request.clone()).unwrap())
            .collect();
        for (request, generation) in requests.iter().zip(running) {
            let outcome = collect(generation);
            prop_assert_eq!(&outcome.ids, &reference(&decoder, request));
            let generated = outcome.ids.values().map(Vec::len).sum::<usize>();
            prop_assert_eq!(outcome.usage.unwrap().completion_tokens, generated);
            prop_assert_eq!(outcome.finishes.len(), request.sampling.n);
        }
        engine.join();
        let counts = engine.counts();
        prop_assert_eq!((counts.running, counts.waiting), (0, 0));
        prop_assert_eq!(counts.finished, requests.len() as u64);
    }
}

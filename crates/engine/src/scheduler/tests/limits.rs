use super::*;

#[test]
fn the_queue_is_bounded() {
    let (engine, go) = stepped(EngineOptions {
        max_batch: 1,
        max_queue: 2,
        ..options()
    });
    let first = engine.submit(request(&[1], greedy(2))).unwrap();
    wait_for(|| engine.counts().waiting == 0);
    let second = engine.submit(request(&[1], greedy(2))).unwrap();
    let third = engine.submit(request(&[1], greedy(2))).unwrap();
    let refused = engine.submit(request(&[1], greedy(2)));
    assert_eq!(refused.unwrap_err(), SubmitError::Overloaded { waiting: 2 });
    assert_eq!(engine.counts().overloaded, 1);

    // A waiting request that is given up makes room.
    drop(second);
    let fourth = engine.submit(request(&[1], greedy(2))).unwrap();
    drop(go);
    for generation in [first, third, fourth] {
        assert_eq!(collect(generation).ids[&0].len(), 2);
    }
}

#[test]
fn a_cancelled_request_frees_its_place() {
    let (engine, go) = stepped(EngineOptions {
        max_batch: 1,
        ..options()
    });
    let mut long = engine.submit(request(&[1], greedy(90))).unwrap();
    go.send(()).unwrap();
    assert!(long.blocking_next().is_some());
    drop(long);
    drop(go);
    assert_eq!(run(&engine, request(&[2], greedy(3))).ids[&0].len(), 3);
    let counts = engine.counts();
    assert_eq!((counts.cancelled, counts.finished), (1, 1));
    assert!(counts.generated_tokens < 90, "{counts:?}");
}

#[test]
fn closing_finishes_what_was_accepted_and_refuses_the_rest() {
    let (engine, go) = stepped(EngineOptions {
        max_batch: 1,
        ..options()
    });
    let accepted: Vec<_> = (0..3)
        .map(|_| engine.submit(request(&[1, 2], greedy(4))).unwrap())
        .collect();
    engine.close();
    assert!(!engine.is_open());
    let refused = engine.submit(request(&[1], greedy(1)));
    assert_eq!(refused.unwrap_err(), SubmitError::ShuttingDown);
    drop(go);
    engine.join();
    for generation in accepted {
        assert_eq!(collect(generation).ids[&0].len(), 4);
    }
}

#[test]
fn aborting_ends_everything_at_once() {
    let (engine, go) = stepped(EngineOptions {
        max_batch: 1,
        ..options()
    });
    let running = engine.submit(request(&[1, 2], greedy(50))).unwrap();
    let waiting = engine.submit(request(&[1, 2], greedy(50))).unwrap();
    for _ in 0..3 {
        go.send(()).unwrap();
    }
    engine.abort();
    drop(go);
    engine.join();
    let (running, waiting) = (collect(running), collect(waiting));
    assert!(running.aborted && waiting.aborted);
    assert!(running.usage.unwrap().completion_tokens < 50);
    assert_eq!(waiting.usage.unwrap().completion_tokens, 0);
}

#[test]
fn dropping_the_last_handle_lets_answers_finish() {
    let engine = engine(options());
    let generation = engine.submit(request(&[1, 2], greedy(40))).unwrap();
    drop(engine);
    assert_eq!(collect(generation).ids[&0].len(), 40);
}

#[test]
fn what_cannot_be_done_is_refused_by_field() {
    let engine = engine(EngineOptions {
        end_ids: vec![7],
        ..options()
    });
    let base = || SamplingParams {
        ignore_eos: false,
        ..seeded(0, 4)
    };
    let cases: Vec<(&str, Vec<u32>, SamplingParams)> = vec![
        ("token_ids", vec![], base()),
        ("token_ids", vec![1, VOCAB], base()),
        ("token_ids", vec![u32::MAX], base()),
        ("token_ids", vec![1; CONTEXT], base()),
        ("n", vec![1], SamplingParams { n: 0, ..base() }),
        ("n", vec![1], SamplingParams { n: 5, ..base() }),
        (
            "n",
            vec![1],
            SamplingParams {
                n: 2,
                temperature: 0.0,
                ..base()
            },
        ),
        (
            "max_tokens",
            vec![1],
            SamplingParams {
                max_tokens: Some(0),
                ..base()
            },
        ),
        (
            "min_tokens",
            vec![1],
            SamplingParams {
                min_tokens: 5,
                ..base()
            },
        ),
        (
            "temperature",
            vec![1],
            SamplingParams {
                temperature: -0.1,
                ..base()
            },
        ),
        (
            "temperature",
            vec![1],
            SamplingParams {
                temperature: f64::NAN,
                ..base()
            },
        ),
        (
            "temperature",
            vec![1],
            SamplingParams {
                temperature: f64::INFINITY,
                ..base()
            },
        ),
        (
            "top_p",
            vec![1],
            SamplingParams {
                top_p: 0.0,
                ..base()
            },
        ),
        (
            "top_p",
            vec![1],
            SamplingParams {
                top_p: 1.1,
                ..base()
            },
        ),
        (
            "top_p",
            vec![1],
            SamplingParams {
                top_p: f64::NAN,
                ..base()
            },
        ),
        (
            "top_k",
            vec![1],
            SamplingParams {
                top_k: -2,
                ..base()
            },
        ),
        (
            "min_p",
            vec![1],
            SamplingParams {
                min_p: 1.5,
                ..base()
            },
        ),
        (
            "presence_penalty",
            vec![1],
            SamplingParams {
                presence_penalty: 2.5,
                ..base()
            },
        ),
        (
            "frequency_penalty",
            vec![1],
            SamplingParams {
                frequency_penalty: -3.0,
                ..base()
            },
        ),
        (
            "repetition_penalty",
            vec![1],
            SamplingParams {
                repetition_penalty: 0.0,
                ..base()
            },
        ),
        (
            "stop_token_ids",
            vec![1],
            SamplingParams {
                stop_token_ids: vec![VOCAB],
                ..base()
            },
        ),
        (
            "logit_bias",
            vec![1],
            SamplingParams {
                logit_bias: [(VOCAB, 1.0)].into(),
                ..base()
            },
        ),
        (
            "logit_bias",
            vec![1],
            SamplingParams {
                logit_bias: [(1, f64::NAN)].into(),
                ..base()
            },
        ),
        (
            "allowed_token_ids",
            vec![1],
            SamplingParams {
                allowed_token_ids: Some(vec![]),
                ..base()
            },
        ),
        (
            "allowed_token_ids",
            vec![1],
            SamplingParams {
                allowed_token_ids: Some(vec![VOCAB]),
                ..base()
            },
        ),
        (
            "allowed_token_ids",
            vec![1],
            SamplingParams {
                allowed_token_ids: Some(vec![EOS, 7]),
                min_tokens: 1,
                ..base()
            },
        ),
        (
            "logprobs",
            vec![1],
            SamplingParams {
                logprobs: Some(65),
                ..base()
            },
        ),
    ];
    for (field, prompt, sampling) in cases {
        match engine.submit(request(&prompt, sampling)) {
            Err(SubmitError::Invalid { param, message }) => {
                assert_eq!(param, field, "{message}");
                assert!(message.contains("expected") && message.contains("found"));
            }
            other => panic!("{field}: {other:?}"),
        }
    }
    assert_eq!(engine.counts().accepted, 0);
    assert!(engine.submit(request(&[1; CONTEXT - 1], base())).is_ok());
}

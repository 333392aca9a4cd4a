use super::*;

/// Fails, or panics, whenever the id 13 goes through the model.
fn fragile(panics: bool) -> Engine {
    probed(options(), move |chunks| {
        if !chunks.iter().any(|chunk| chunk.tokens.contains(&13)) {
            return Ok(());
        }
        assert!(!panics, "thirteen");
        Err(Error::EmptyChunk)
    })
}

#[test]
fn a_failure_harms_only_the_request_that_causes_it() {
    let decoder = decoder();
    for panics in [false, true] {
        let engine = fragile(panics);
        let sound = |seed| {
            let sampling = SamplingParams {
                logit_bias: [(13, -100.0)].into(),
                ..seeded(seed, 20)
            };
            request(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], sampling)
        };
        let first = engine.submit(sound(1)).unwrap();
        let bad = engine.submit(request(&[1, 13], greedy(4))).unwrap();
        let second = engine.submit(sound(2)).unwrap();
        let bad = collect(bad);
        let message = bad.failure.unwrap();
        assert_eq!(message.contains("thirteen"), panics, "{message}");
        assert!(bad.ids.is_empty() && bad.usage.is_none());
        assert_eq!(collect(first).ids, reference(&decoder, &sound(1)));
        assert_eq!(collect(second).ids, reference(&decoder, &sound(2)));
        let counts = engine.counts();
        assert_eq!((counts.failed, counts.finished), (1, 2));
    }
}

#[test]
fn logits_that_are_no_numbers_fail_their_request() {
    let config = decoder().config().clone();
    let broken = Decoder::from_tensors(config, Precision::F32, &mut |tensor| {
        let value = if tensor.name == "lm_head.weight" {
            f64::NAN
        } else {
            1.0
        };
        Ok(vec![value; tensor.shape.iter().product()])
    });
    let engine = Engine::start(broken.unwrap(), options()).unwrap();
    for _ in 0..2 {
        let outcome = run(&engine, request(&[1, 2], greedy(4)));
        assert!(outcome.failure.unwrap().contains("finite"));
    }
}

#[test]
fn nobody_waits_for_a_thread_that_died() {
    let shared = Arc::new(Shared::new(decoder().config().clone(), options()));
    let worker = Worker::new(Model::new(decoder()), Arc::clone(&shared));
    let waiting = Generation {
        events: shared.submit(request(&[1], greedy(1))).unwrap(),
        ended: false,
    };
    let died = std::thread::spawn(move || {
        let _clear = worker.last_act();
        panic!("on purpose");
    });
    assert!(died.join().is_err());
    assert!(collect(waiting).failure.unwrap().contains("unexpectedly"));
    let refused = shared.submit(request(&[1], greedy(1)));
    assert_eq!(refused.unwrap_err(), SubmitError::ShuttingDown);
}

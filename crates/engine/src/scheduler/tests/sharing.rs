use super::*;

fn cached(outcome: &Outcome) -> usize {
    let usage = outcome.usage.unwrap();
    usage.prompt_tokens_details.unwrap().cached_tokens
}

fn caching() -> EngineOptions {
    EngineOptions {
        cached_tokens: 200,
        ..options()
    }
}

#[test]
fn a_conversation_that_goes_on_reuses_its_beginning() {
    let (engine, fresh) = (engine(caching()), engine(options()));
    let mut prompt: Vec<u32> = (0..20).collect();
    let first = run(&engine, request(&prompt, greedy(6)));
    assert_eq!(cached(&first), 0);
    prompt.extend(&first.ids[&0]);
    prompt.extend([30, 31, 32]);
    let next = request(&prompt, greedy(6));
    let second = run(&engine, next.clone());
    // Everything but the answer's last id, which never went through the model, and the new ids.
    assert_eq!(cached(&second), 20 + 6 - 1);
    assert_eq!(second.ids, run(&fresh, next).ids);
    assert_eq!(engine.counts().prompt_tokens, 20 + 4);
    assert_eq!(engine.counts().cached_tokens, 25);
}

#[test]
fn an_equal_prompt_computes_its_last_token_only() {
    let engine = engine(caching());
    let prompt: Vec<u32> = (5..25).collect();
    let first = run(&engine, request(&prompt, seeded(3, 8)));
    let second = run(&engine, request(&prompt, seeded(3, 8)));
    assert_eq!(first.ids, second.ids);
    assert_eq!(cached(&second), 19);
    let other = run(&engine, request(&prompt[..10], seeded(3, 8)));
    assert_eq!(cached(&other), 9);
}

#[test]
fn salts_do_not_share() {
    let engine = engine(caching());
    let salted = |salt: Option<&str>| Request {
        salt: salt.map(str::to_owned),
        ..request(&[4; 12], greedy(2))
    };
    assert_eq!(cached(&run(&engine, salted(None))), 0);
    assert_eq!(cached(&run(&engine, salted(Some("a")))), 0);
    assert_eq!(cached(&run(&engine, salted(Some("b")))), 0);
    assert_eq!(cached(&run(&engine, salted(Some("a")))), 11);
    assert_eq!(cached(&run(&engine, salted(None))), 11);
}

#[test]
fn the_least_recently_used_prefix_goes_first() {
    let engine = engine(EngineOptions {
        cached_tokens: 40,
        ..options()
    });
    let ask = |id: u32| cached(&run(&engine, request(&[id; 16], greedy(1))));
    assert_eq!((ask(1), ask(2)), (0, 0));
    assert_eq!(ask(1), 15);
    assert_eq!(ask(9), 0);
    assert_eq!((ask(1), ask(2)), (15, 0));
}

#[test]
fn answers_to_one_prompt_share_it_and_draw_from_streams_of_their_own() {
    let engine = engine(options());
    let prompt: Vec<u32> = (0..30).collect();
    let several = SamplingParams {
        n: 4,
        ..seeded(5, 12)
    };
    let outcome = run(&engine, request(&prompt, several));
    assert_eq!(engine.counts().prompt_tokens, 30);
    assert_eq!(outcome.usage.unwrap().completion_tokens, 48);
    for index in 1..4 {
        assert_ne!(outcome.ids[&0], outcome.ids[&index]);
    }
    let alone = run(&engine, request(&prompt, seeded(5, 12)));
    assert_eq!(alone.ids[&0], outcome.ids[&0]);
}

#[test]
fn a_cancelled_request_leaves_its_cache() {
    let (engine, go) = stepped(caching());
    let prompt: Vec<u32> = (0..20).collect();
    let mut generation = engine.submit(request(&prompt, greedy(60))).unwrap();
    // Enough for the prompt, and too few for the answer.
    for _ in 0..30 {
        go.send(()).unwrap();
    }
    assert!(matches!(
        generation.blocking_next(),
        Some(Event::Token { .. })
    ));
    drop(generation);
    drop(go);
    wait_for(|| engine.counts().cancelled == 1);
    assert_eq!(cached(&run(&engine, request(&prompt, greedy(1)))), 19);
}

//! Any cutting of a stream gives the same events.
#![no_main]

use equicrypt_gateway::EventParser;

libfuzzer_sys::fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = input;
    let (mut whole, mut cut_up) = (Vec::new(), Vec::new());
    let one = EventParser::new(1 << 16).push(bytes, &mut whole);
    let mut parser = EventParser::new(1 << 16);
    let two = bytes
        .chunks(usize::from(cut).max(1))
        .try_for_each(|part| parser.push(part, &mut cut_up));
    assert_eq!((one.is_ok(), &whole), (two.is_ok(), &cut_up));
});

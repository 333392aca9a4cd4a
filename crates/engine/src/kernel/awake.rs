use std::sync::atomic::{AtomicBool, Ordering};

use rayon::Yield;

/// Runs `work` in the thread pool, all other threads of which look for parts of it to do until it is done.
///
/// A token passes through hundreds of small products. Threads that fall asleep between two of them are woken too late for the
/// next one: on two cores a token then takes half as long again.
pub(crate) fn awake<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let done = AtomicBool::new(false);
    rayon::scope(|scope| {
        let own = rayon::current_thread_index();
        let done = &done;
        scope.spawn_broadcast(move |_, context| {
            if own != Some(context.index()) {
                help(done);
            }
        });
        // However it ends.
        let _done = Done(done);
        work()
    })
}

fn help(done: &AtomicBool) {
    let mut idle = 0u32;
    while !done.load(Ordering::Acquire) {
        match rayon::yield_now() {
            Some(Yield::Executed) => idle = 0,
            _ => idle += 1,
        }
        if idle.is_multiple_of(POLITE) {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
}

struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// After so many looks in vain somebody else may have the core.
const POLITE: u32 = 256;

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;

    #[test]
    fn work_is_shared_and_nested() {
        let sum = || (0..10_000u64).into_par_iter().sum::<u64>();
        let sums = awake(|| {
            let inner = awake(sum);
            [inner, sum()]
        });
        assert_eq!(sums, [49_995_000; 2]);
        let threads: Vec<u64> = std::thread::scope(|scope| {
            let each: Vec<_> = (0..4).map(|_| scope.spawn(|| awake(sum))).collect();
            each.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(threads, [49_995_000; 4]);
    }

    #[test]
    fn a_panic_ends_it() {
        let caught = std::panic::catch_unwind(|| awake(|| panic!("as it should")));
        assert!(caught.is_err());
        assert_eq!(awake(|| 1), 1);
    }
}

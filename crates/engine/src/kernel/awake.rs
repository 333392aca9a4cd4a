use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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

/// A helper that finds nothing to do for a while must leave: it may have been begun by a thread that waits, in the middle of a
/// piece of this very work, for another piece of it; `done` would then never come.
fn help(done: &AtomicBool) {
    let (mut idle, mut since) = (0u32, Instant::now());
    while !done.load(Ordering::Acquire) {
        match rayon::yield_now() {
            Some(Yield::Executed) => idle = 0,
            _ => idle += 1,
        }
        match idle {
            0 => {}
            1 => since = Instant::now(),
            _ if idle.is_multiple_of(POLITE) => {
                if since.elapsed() > PATIENCE {
                    return;
                }
                std::thread::yield_now();
            }
            _ => std::hint::spin_loop(),
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
/// Longer than what one thread does alone between two products of a token.
const PATIENCE: Duration = Duration::from_millis(1);

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
    fn a_helper_that_is_waited_for_leaves() {
        // As when a thread begins to help while it waits for the rest of a piece of the work.
        let never = AtomicBool::new(false);
        let (one, other) = rayon::join(|| help(&never), || help(&never));
        assert_eq!((one, other), ((), ()));
    }

    #[test]
    fn a_panic_ends_it() {
        let caught = std::panic::catch_unwind(|| awake(|| panic!("as it should")));
        assert!(caught.is_err());
        assert_eq!(awake(|| 1), 1);
    }
}

//! How many tokens went out under each epoch, over all runs of the gateway.

mod file;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use equicrypt_spec::Manifest;

use self::file::StateFile;
use crate::Error;

/// Tokens that may go out under one epoch unless told otherwise, by the least number of homophones: where `cooccurrence`, told
/// text from the same source, passed 5 % of the tokens in held-out text. Measured on SmolLM2's vocabulary and the Linux kernel's
/// documentation, with homophones shared out in proportion to frequency; `equicrypt audit MODEL --traffic FILE --same-source FILE
/// --attack cooccurrence` draws the curve. Under a one-to-one vocabulary it has 6 % at 100 tokens, its first point.
pub const BUDGETS: &[(usize, u64)] = &[(16_384, 190_000), (1_024, 9_000), (0, 100)];

/// The entry of [`BUDGETS`] for this many homophones.
#[must_use]
pub fn default_budget(homophones: usize) -> u64 {
    let enough = BUDGETS.iter().find(|(least, _)| homophones >= *least);
    enough.map_or(0, |(_, budget)| *budget)
}

/// The tokens of prompts and answers under each epoch of one model and key, kept in a file.
///
/// The file is always ahead: tokens are reserved in it, a block at a time, before they go out, and what is left of a block is
/// given back at the end. A process that is killed has counted at most two blocks too many, and never too few. Several
/// processes may use one file.
pub struct Ledger {
    shared: Arc<Shared>,
    budget: Option<u64>,
    say: Box<dyn Fn(&str) + Send + Sync>,
}

/// What must be reserved behind a token that was taken.
#[derive(Debug, Clone, Copy)]
enum Need {
    Nothing,
    /// The file is ahead, and not by much.
    Soon,
    /// So much is not in the file.
    Now(u64),
}

/// One epoch's count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochCount {
    /// The epoch.
    pub epoch: u32,
    /// Tokens that went out under it, or may have.
    pub tokens: u64,
}

/// What reservations in the background need.
struct Shared {
    file: StateFile,
    accounts: Mutex<BTreeMap<u32, Account>>,
    /// Held while the file is changed; whether nothing is to be reserved in advance any longer.
    closed: Mutex<bool>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Account {
    /// In the file when it was last read.
    total: u64,
    /// Of that, reserved by this process and not spent; below zero what is not in the file yet.
    left: i128,
    /// Whether more is being reserved in advance.
    reserving: bool,
    /// Whether it was said that half of the budget is gone.
    warned: bool,
}

impl Ledger {
    /// The counts in the file `path`, which is made when it is first needed. `budget`: tokens that may go out under one epoch;
    /// none for any number.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or counts for another key or model: it is never started again from nothing.
    pub fn open(path: PathBuf, manifest: &Manifest, budget: Option<u64>) -> Result<Self, Error> {
        let file = StateFile::new(path, manifest);
        let accounts = (file.read()?.into_iter()).map(|(epoch, total)| {
            let account = Account {
                total,
                ..Account::default()
            };
            (epoch, account)
        });
        Ok(Self {
            shared: Arc::new(Shared {
                accounts: Mutex::new(accounts.collect()),
                file,
                closed: Mutex::new(false),
            }),
            say: Box::new(|_| ()),
            budget,
        })
    }

    /// The same, telling `say` once for each epoch that half of its budget is gone.
    #[must_use]
    pub fn warning(mut self, say: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.say = Box::new(say);
        self
    }

    /// Tokens that may go out under one epoch.
    #[must_use]
    pub fn budget(&self) -> Option<u64> {
        self.budget
    }

    /// Tokens that went out under this epoch.
    #[must_use]
    pub fn spent(&self, epoch: u32) -> u64 {
        let accounts = self.accounts();
        accounts.get(&epoch).map_or(0, Account::spent)
    }

    /// All epochs that had tokens.
    #[must_use]
    pub fn counts(&self) -> Vec<EpochCount> {
        let accounts = self.accounts();
        let counts = accounts.iter().map(|(epoch, account)| EpochCount {
            epoch: *epoch,
            tokens: account.spent(),
        });
        counts.collect()
    }

    /// Whether a prompt of so many tokens may go out.
    pub(crate) fn has_room(&self, epoch: u32, tokens: usize) -> bool {
        let spent = self.spent(epoch);
        // An answer has a token at least.
        (self.budget).is_none_or(|budget| spent.saturating_add(tokens as u64) < budget)
    }

    /// Why a prompt may not go out.
    pub(crate) fn refusal(&self, epoch: u32, tokens: usize) -> Error {
        Error::Budget {
            epoch,
            spent: self.spent(epoch),
            asked: tokens,
            budget: self.budget.unwrap_or(u64::MAX),
        }
    }

    /// Counts tokens of a prompt, before they are sent.
    ///
    /// # Errors
    /// If they are more than the budget has left, or the file cannot be written: then they must not be sent.
    pub(crate) async fn send(&self, epoch: u32, tokens: usize) -> Result<(), Error> {
        let need = {
            let mut accounts = self.accounts();
            let account = accounts.entry(epoch).or_default();
            let after = account.spent().saturating_add(tokens as u64);
            match self.budget {
                Some(budget) if after >= budget => None,
                _ => Some(self.take(account, tokens)),
            }
        };
        match need {
            Some(need) => {
                let covered = self.cover(epoch, need).await;
                if covered.is_err() {
                    self.unsent(epoch, tokens);
                }
                covered
            }
            None => Err(self.refusal(epoch, tokens)),
        }
    }

    /// Counts tokens of an answer; says whether it may go on. One that runs may pass the budget by a tenth.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) async fn receive(&self, epoch: u32, tokens: usize) -> Result<bool, Error> {
        let (need, spent) = {
            let mut accounts = self.accounts();
            let account = accounts.entry(epoch).or_default();
            (self.take(account, tokens), account.spent())
        };
        self.cover(epoch, need).await?;
        Ok((self.budget).is_none_or(|budget| spent < budget.saturating_add(budget / GRACE)))
    }

    /// Takes back the count of a prompt that was not sent after all.
    pub(crate) fn unsent(&self, epoch: u32, tokens: usize) {
        self.accounts().entry(epoch).or_default().left += tokens as i128;
    }

    /// Gives back what was reserved and not spent, and reserves nothing in advance any longer.
    pub fn close(&self) -> Result<(), Error> {
        let mut closed = self.shared.closed();
        *closed = true;
        let mut accounts = self.accounts();
        for (epoch, account) in accounts.iter_mut() {
            if account.left != 0 {
                account.total = self.shared.file.add(*epoch, -account.left)?;
                account.left = 0;
            }
        }
        Ok(())
    }

    /// Waits until the file counts what was taken, if it does not yet.
    async fn cover(&self, epoch: u32, need: Need) -> Result<(), Error> {
        let (shared, block) = (Arc::clone(&self.shared), self.block());
        // A flush to the disk takes milliseconds, and other answers go on meanwhile. It ends even if nobody waits for it any
        // longer.
        match need {
            Need::Nothing => {}
            Need::Soon => {
                tokio::task::spawn_blocking(move || shared.reserve_in_advance(epoch, block));
            }
            Need::Now(missing) => {
                let tokens = missing.saturating_add(block);
                let reserving = tokio::task::spawn_blocking(move || {
                    let _only = shared.closed();
                    shared.reserve(epoch, tokens)
                });
                let broken = |_| self.shared.file.bad("was not written");
                reserving.await.map_err(broken)??;
            }
        }
        self.warn(epoch);
        Ok(())
    }

    fn take(&self, account: &mut Account, tokens: usize) -> Need {
        account.left -= tokens as i128;
        match u64::try_from(account.left) {
            Err(_) => Need::Now(u64::try_from(-account.left).unwrap_or(u64::MAX)),
            Ok(left) if left < self.block() / 2 && !account.reserving => {
                account.reserving = true;
                Need::Soon
            }
            Ok(_) => Need::Nothing,
        }
    }

    fn warn(&self, epoch: u32) {
        let Some(budget) = self.budget else { return };
        let mut accounts = self.accounts();
        let account = accounts.entry(epoch).or_default();
        let spent = account.spent();
        if spent >= budget / 2 && !std::mem::replace(&mut account.warned, true) {
            drop(accounts);
            (self.say)(&format!(
                "epoch {epoch}: {spent} of the {budget} tokens of its budget went out; rekey the model (equicrypt rekey) and \
                 serve the new folder: its epoch is used as soon as a host has it"
            ));
        }
    }

    /// Tokens that are reserved at once: small beside the budget, and no flush for every few tokens.
    fn block(&self) -> u64 {
        let share = self.budget.map_or(MOST_RESERVED, |budget| budget / 100);
        share.clamp(LEAST_RESERVED, MOST_RESERVED)
    }

    fn accounts(&self) -> MutexGuard<'_, BTreeMap<u32, Account>> {
        self.shared.accounts()
    }
}

impl Shared {
    /// One at a time, so that the total is the latest.
    fn reserve(&self, epoch: u32, tokens: u64) -> Result<(), Error> {
        let total = self.file.add(epoch, tokens.into())?;
        let mut accounts = self.accounts();
        let account = accounts.entry(epoch).or_default();
        account.left += i128::from(tokens);
        account.total = total;
        Ok(())
    }

    fn reserve_in_advance(&self, epoch: u32, tokens: u64) {
        let closed = self.closed();
        if !*closed {
            // Whoever needs them will try again, and is told what is wrong.
            let _ = self.reserve(epoch, tokens);
        }
        let mut accounts = self.accounts();
        accounts.entry(epoch).or_default().reserving = false;
    }

    fn accounts(&self) -> MutexGuard<'_, BTreeMap<u32, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn closed(&self) -> MutexGuard<'_, bool> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // Too high a count is the worst that can come of it.
        let _ = self.close();
    }
}

impl Account {
    fn spent(&self) -> u64 {
        let spent = i128::from(self.total) - self.left;
        u64::try_from(spent.max(0)).unwrap_or(u64::MAX)
    }
}

/// The part of the budget by which a running answer may pass it.
const GRACE: u64 = 10;
const LEAST_RESERVED: u64 = 16;
const MOST_RESERVED: u64 = 1000;

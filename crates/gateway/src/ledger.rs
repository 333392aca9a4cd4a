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

/// Tokens that may go out under one epoch unless told otherwise: where the distribution-aware attack of the audit
/// passes 5 % of the occurrences in what it saw.
pub const DEFAULT_BUDGET: u64 = 10_000;

/// The tokens of prompts and answers under each epoch of one model and key, kept in a file.
///
/// The file is always ahead: tokens are reserved in it, a block at a time, before they go out, and what is left of a block is
/// given back at the end. A process that is killed has counted at most a block and a half too many, and never too few. Several
/// processes may use one file.
pub struct Ledger {
    file: Arc<StateFile>,
    budget: Option<u64>,
    say: Box<dyn Fn(&str) + Send + Sync>,
    accounts: Arc<Mutex<BTreeMap<u32, Account>>>,
}

/// One epoch's count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochCount {
    /// The epoch.
    pub epoch: u32,
    /// Tokens that went out under it, or may have.
    pub tokens: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Account {
    /// In the file when it was last read.
    total: u64,
    /// Of that, reserved by this process and not spent; below zero what is not in the file yet.
    left: i128,
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
            accounts: Arc::new(Mutex::new(accounts.collect())),
            file: Arc::new(file),
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
        let missing = {
            let mut accounts = self.accounts();
            let account = accounts.entry(epoch).or_default();
            let after = account.spent().saturating_add(tokens as u64);
            match self.budget {
                Some(budget) if after >= budget => None,
                _ => Some(self.take(account, tokens)),
            }
        };
        match missing {
            Some(missing) => {
                let covered = self.cover(epoch, missing).await;
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
        let (missing, spent) = {
            let mut accounts = self.accounts();
            let account = accounts.entry(epoch).or_default();
            (self.take(account, tokens), account.spent())
        };
        self.cover(epoch, missing).await?;
        Ok((self.budget).is_none_or(|budget| spent < budget.saturating_add(budget / GRACE)))
    }

    /// Takes back the count of a prompt that was not sent after all.
    pub(crate) fn unsent(&self, epoch: u32, tokens: usize) {
        self.accounts().entry(epoch).or_default().left += tokens as i128;
    }

    /// Gives back what was reserved and not spent.
    pub fn close(&self) -> Result<(), Error> {
        let mut accounts = self.accounts();
        for (epoch, account) in accounts.iter_mut() {
            if account.left != 0 {
                account.total = self.file.add(*epoch, -account.left)?;
                account.left = 0;
            }
        }
        Ok(())
    }

    /// Covers what was taken: the file is at least half a block ahead afterwards.
    async fn cover(&self, epoch: u32, missing: u64) -> Result<(), Error> {
        if missing > 0 {
            let reserved = missing.saturating_add(self.block() - self.block() / 2);
            let (file, accounts) = (Arc::clone(&self.file), Arc::clone(&self.accounts));
            // A flush to the disk takes milliseconds, and other answers go on meanwhile. It ends even if nobody waits for
            // it any longer.
            let reserving = tokio::task::spawn_blocking(move || {
                let total = file.add(epoch, reserved.into())?;
                let mut accounts = accounts.lock().unwrap_or_else(PoisonError::into_inner);
                let account = accounts.entry(epoch).or_default();
                account.left += i128::from(reserved);
                account.total = total;
                Ok::<_, Error>(())
            });
            (reserving.await).map_err(|_| self.file.bad("was not written"))??;
        }
        self.warn(epoch);
        Ok(())
    }

    /// Takes tokens from an account; returns how many more must be in the file.
    fn take(&self, account: &mut Account, tokens: usize) -> u64 {
        account.left -= tokens as i128;
        let missing = i128::from(self.block() / 2) - account.left;
        u64::try_from(missing).unwrap_or(0)
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
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
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

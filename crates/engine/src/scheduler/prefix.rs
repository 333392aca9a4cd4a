use crate::KvCache;

/// Caches of ended answers, for prompts that begin as they did. The least recently used go first.
pub(super) struct Prefixes {
    entries: Vec<Entry>,
    budget: usize,
    clock: u64,
}

struct Entry {
    salt: Option<String>,
    /// As many as the cache holds tokens.
    ids: Vec<u32>,
    cache: KvCache,
    used: u64,
}

impl Prefixes {
    /// Keeps at most `budget` tokens; forks count as if they shared nothing.
    pub(super) fn new(budget: usize) -> Self {
        Self {
            entries: Vec::new(),
            budget,
            clock: 0,
        }
    }

    /// A cache of the longest known beginning of `prompt`, at least one token short of it, because
    /// the logits after the last token are needed.
    pub(super) fn find(&mut self, salt: Option<&str>, prompt: &[u32]) -> Option<KvCache> {
        let usable = prompt.len().saturating_sub(1);
        let (shared, entry) = self
            .entries
            .iter_mut()
            .filter(|entry| entry.salt.as_deref() == salt)
            .map(|entry| (common_prefix(&entry.ids, prompt).min(usable), entry))
            .max_by_key(|(shared, entry)| (*shared, entry.used))?;
        if shared == 0 {
            return None;
        }
        self.clock += 1;
        entry.used = self.clock;
        let mut cache = entry.cache.fork();
        cache.truncate(shared);
        Some(cache)
    }

    /// Keeps a cache of `ids`; of more ids than the cache holds, the first.
    pub(super) fn keep(&mut self, salt: Option<&str>, mut ids: Vec<u32>, mut cache: KvCache) {
        let len = ids.len().min(cache.len()).min(self.budget);
        if len == 0 {
            return;
        }
        ids.truncate(len);
        cache.truncate(len);
        self.clock += 1;
        let used = self.clock;
        let same_salt = |entry: &&mut Entry| entry.salt.as_deref() == salt;
        if let Some(longer) = self
            .entries
            .iter_mut()
            .filter(same_salt)
            .find(|entry| entry.ids.starts_with(&ids))
        {
            longer.used = used;
            return;
        }
        self.entries
            .retain(|entry| entry.salt.as_deref() != salt || !ids.starts_with(&entry.ids));
        self.entries.push(Entry {
            salt: salt.map(str::to_owned),
            ids,
            cache,
            used,
        });
        while self.tokens() > self.budget {
            let oldest = (0..self.entries.len()).min_by_key(|entry| self.entries[*entry].used);
            let Some(oldest) = oldest else { break };
            self.entries.swap_remove(oldest);
        }
    }

    fn tokens(&self) -> usize {
        self.entries.iter().map(|entry| entry.ids.len()).sum()
    }
}

fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

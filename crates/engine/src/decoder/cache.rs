use std::fmt;
use std::sync::Arc;

use crate::kernel::Real;

/// Keys and values of one sequence, of every layer.
///
/// A token takes `layers * kv_heads * (key_dim + value_dim)` values of the decoder's precision, in pages of
/// [`KvCache::PAGE`] tokens: 46,080 bytes a token for SmolLM2-135M in f32. Growing never moves what
/// is stored. [Forks](KvCache::fork) share full pages until one of them writes to a page.
#[derive(Clone)]
pub struct KvCache {
    pub(super) pages: AnyPages,
}

/// The pages in the decoder's precision.
#[derive(Clone)]
pub(super) enum AnyPages {
    F32(Pages<f32>),
    F64(Pages<f64>),
}

impl KvCache {
    /// Tokens in a page.
    pub const PAGE: usize = PAGE;

    /// Tokens stored.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.pages {
            AnyPages::F32(pages) => pages.len,
            AnyPages::F64(pages) => pages.len,
        }
    }

    /// Whether no token is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets the tokens from position `len` on; does nothing if there are no more than that.
    pub fn truncate(&mut self, len: usize) {
        match &mut self.pages {
            AnyPages::F32(pages) => pages.truncate(len),
            AnyPages::F64(pages) => pages.truncate(len),
        }
    }

    /// A second cache with the same tokens: O(tokens / PAGE), the pages are shared.
    #[must_use]
    pub fn fork(&self) -> Self {
        self.clone()
    }

    /// Bytes that the pages take; pages shared with forks count in each of them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.pages {
            AnyPages::F32(pages) => pages.bytes(),
            AnyPages::F64(pages) => pages.bytes(),
        }
    }
}

impl fmt::Debug for KvCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvCache")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// Sizes of what is stored for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CacheShape {
    pub(crate) layers: usize,
    pub(crate) kv_heads: usize,
    /// Coordinates of a key.
    pub(crate) key_dim: usize,
    /// Coordinates of a value.
    pub(crate) value_dim: usize,
}

/// A page holds, for each layer, keys `[kv_heads, key_dim, PAGE]`, so that the scores of a whole page
/// are one vector, and values `[kv_heads, PAGE, value_dim]`, so that their weighted sum is.
#[derive(Clone)]
pub(crate) struct Pages<T> {
    shape: CacheShape,
    pages: Vec<Arc<Vec<T>>>,
    len: usize,
}

impl<T: Real> Pages<T> {
    pub(crate) fn new(shape: CacheShape) -> Self {
        Self {
            shape,
            pages: Vec::new(),
            len: 0,
        }
    }

    pub(crate) fn shape(&self) -> CacheShape {
        self.shape
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.pages.truncate(self.len.div_ceil(PAGE));
    }

    fn bytes(&self) -> usize {
        self.pages.len() * self.shape.page_size() * size_of::<T>()
    }

    /// Makes room for `tokens` more, in pages that nobody shares.
    pub(crate) fn reserve(&mut self, tokens: usize) {
        let pages = (self.len + tokens).div_ceil(PAGE);
        let size = self.shape.page_size();
        self.pages
            .resize_with(pages, || Arc::new(vec![T::zero(); size]));
        for page in &mut self.pages[self.len / PAGE..] {
            Arc::make_mut(page);
        }
    }

    /// Counts `tokens` more as stored, once all their layers are written.
    pub(crate) fn advance(&mut self, tokens: usize) {
        self.len += tokens;
    }

    /// Stores one token's keys `[kv_heads, key_dim]` and values `[kv_heads, value_dim]` of `layer`, at
    /// a position that was reserved.
    pub(crate) fn write(&mut self, layer: usize, position: usize, keys: &[T], values: &[T]) {
        let (shape, slot) = (self.shape, position % PAGE);
        let start = layer * shape.layer_size();
        let page = &mut Arc::make_mut(&mut self.pages[position / PAGE])[start..];
        let (all_keys, all_values) = page.split_at_mut(shape.kv_heads * shape.key_dim * PAGE);
        for (stored, new) in all_keys
            .chunks_exact_mut(shape.key_dim * PAGE)
            .zip(keys.chunks_exact(shape.key_dim))
        {
            for (stored, new) in stored.iter_mut().skip(slot).step_by(PAGE).zip(new) {
                *stored = *new;
            }
        }
        let dim = shape.value_dim;
        for (stored, new) in all_values
            .chunks_exact_mut(dim * PAGE)
            .zip(values.chunks_exact(dim))
        {
            stored[slot * dim..][..dim].copy_from_slice(new);
        }
    }

    /// The keys of one head in `layer` in page `page`: `[key_dim, PAGE]`.
    #[inline]
    pub(crate) fn keys(&self, page: usize, layer: usize, kv_head: usize) -> &[T] {
        let size = self.shape.key_dim * PAGE;
        let start = layer * self.shape.layer_size() + kv_head * size;
        &self.pages[page][start..][..size]
    }

    /// The values of one head in `layer` in page `page`: `[PAGE, value_dim]`.
    #[inline]
    pub(crate) fn values(&self, page: usize, layer: usize, kv_head: usize) -> &[T] {
        let (shape, size) = (self.shape, self.shape.value_dim * PAGE);
        let keys = shape.kv_heads * shape.key_dim * PAGE;
        let start = layer * shape.layer_size() + keys + kv_head * size;
        &self.pages[page][start..][..size]
    }
}

impl CacheShape {
    fn page_size(self) -> usize {
        self.layers * self.layer_size()
    }

    fn layer_size(self) -> usize {
        self.kv_heads * (self.key_dim + self.value_dim) * PAGE
    }
}

/// One AVX-512 vector of f32 scores.
pub(crate) const PAGE: usize = 16;

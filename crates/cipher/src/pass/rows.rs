//! Some rows of a source tensor, from bytes to values in the coordinates of the output, and back to bytes.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use equicrypt_checkpoint::Dtype;
use pulp::Arch;

use super::Pass;
use super::columns::{Packed, move_columns};
use super::ready::Ready;
use crate::Error;
use crate::plan::OutputTensor;
use crate::real::Real;
use crate::rewrite::{Action, LANES, Line, transpose_from, transpose_into};

/// Where one thread makes some rows. Memory that is given back to the system has to be cleared when it comes again, which takes
/// longer than what is done with it here.
#[derive(Default)]
pub(super) struct Room<T> {
    /// Rows of the source as they are stored.
    bytes: Vec<u8>,
    /// The same with their columns in another order.
    moved: Vec<u8>,
    packed: Packed,
    /// Rows as numbers, as wide as those of the output.
    pub(super) values: Vec<T>,
    old: Vec<T>,
    pub(super) lines: Vec<Line<T>>,
    pub(super) other: Vec<Line<T>>,
    /// Rows of the output as they will be stored.
    pub(super) out: Vec<u8>,
}

impl<T: Real> Pass<'_, T> {
    /// Makes `room.values`, in the form of `ready`, of the rows `rows` of the source: with their noise and their factors, and after the map of the
    /// columns.
    pub(super) fn load(
        &self,
        ready: &Ready<T>,
        rows: &[u32],
        room: &mut Room<T>,
    ) -> Result<(), Error> {
        let size = ready.dtype.size();
        let (width, form) = (ready.from.1, ready.form());
        self.read(ready, rows, &mut room.bytes)?;
        room.values.resize(rows.len() * form.stride, T::default());
        let monomial = ready.columns.as_ref().map(Action::as_monomial);
        if let Some(Some((source, factor))) = monomial
            && ready.column_factors.is_none()
            && ready.noise.is_none()
            && source.len() == width
        {
            room.moved.resize(room.bytes.len(), 0);
            let packed = &mut room.packed;
            move_columns(size, &room.bytes, source, &mut room.moved, packed);
            T::decode(ready.dtype, &room.moved, &mut room.values);
            for (row, values) in rows.iter().zip(room.values.chunks_exact_mut(width)) {
                scale_row(values, ready.row_factor(*row));
                scale_each(values, factor);
            }
            return Ok(());
        }
        for ((row, bytes), values) in (rows.iter())
            .zip(room.bytes.chunks_exact(width * size))
            .zip(room.values.chunks_exact_mut(form.stride))
        {
            let (values, added) = values.split_at_mut(width);
            T::decode(ready.dtype, bytes, values);
            added.fill(T::default());
            if let (Some((label, deviation)), Some(noise)) = (ready.noise, self.secrets.noise()) {
                noise.add(label, *row as usize, deviation, values);
            }
            scale_row(values, ready.row_factor(*row));
            if let Some(factors) = &ready.column_factors {
                scale_each(values, factors);
            }
        }
        match (&ready.columns, monomial) {
            (_, Some(Some((source, factor)))) => {
                for values in room.values.chunks_exact_mut(form.stride) {
                    room.old.clear();
                    room.old.extend_from_slice(values);
                    for ((to, from), factor) in values.iter_mut().zip(source).zip(factor) {
                        *to = *factor * room.old[*from as usize];
                    }
                }
            }
            (Some(columns), _) => {
                let length = room.lines.len().max(form.width);
                room.lines.resize(length, Line::default());
                for rows in room.values.chunks_mut(form.stride * LANES) {
                    transpose_into(rows, form, &mut room.lines);
                    columns.apply_to_lines(&mut room.lines, &mut room.other);
                    transpose_from(&room.lines, rows, form);
                }
            }
            (None, _) => {}
        }
        Ok(())
    }

    /// The bytes of these rows: those that follow one another in one go.
    fn read(&self, ready: &Ready<T>, rows: &[u32], bytes: &mut Vec<u8>) -> Result<(), Error> {
        let length = ready.from.1 * ready.dtype.size();
        bytes.resize(rows.len() * length, 0);
        for (run, bytes) in runs(rows, bytes, length) {
            let start = run as usize * length;
            match &ready.whole {
                Some(whole) => bytes.copy_from_slice(&whole[start..start + bytes.len()]),
                None => self.source.read(&ready.source, start as u64, bytes)?,
            }
        }
        Ok(())
    }
}

/// The values as `output` stores them, rounded.
pub(super) fn encode<T: Real>(
    output: &OutputTensor,
    values: &[T],
    bytes: &mut [u8],
) -> Result<(), Error> {
    let beyond = |value: &T| value.to_f64().is_finite() && value.to_f64().abs() > F16_MAX;
    if output.dtype == Dtype::F16 && values.iter().any(beyond) {
        return Err(Error::Overflow {
            tensor: output.spec.name.clone(),
            dtype: output.dtype.name(),
        });
    }
    T::encode(output.dtype, values, bytes);
    Ok(())
}

/// x_i <- f x_i.
pub(super) fn scale_row<T: Real>(values: &mut [T], factor: T) {
    if factor != T::from_f64(1.0) {
        Arch::new().dispatch(|| {
            values.iter_mut().for_each(|value| *value = *value * factor);
        });
    }
}

/// x_i <- f_i x_i.
fn scale_each<T: Real>(values: &mut [T], factors: &[T]) {
    Arch::new().dispatch(|| {
        for (value, factor) in values.iter_mut().zip(factors) {
            *value = *value * *factor;
        }
    });
}

/// The first of each run of rows that follow one another, and the part of `bytes` that is theirs.
fn runs<'a>(
    rows: &'a [u32],
    mut bytes: &'a mut [u8],
    length: usize,
) -> impl Iterator<Item = (u32, &'a mut [u8])> {
    let runs = rows.chunk_by(|one, next| one + 1 == *next);
    runs.map(move |run| {
        let (own, rest) = std::mem::take(&mut bytes).split_at_mut(run.len() * length);
        bytes = rest;
        (run[0], own)
    })
}

/// Things that threads take and give back.
#[derive(Default)]
pub(super) struct Pool<I>(Mutex<Vec<I>>);

/// One of a [`Pool`], until it is dropped.
pub(super) struct Taken<'a, I: Default>(&'a Pool<I>, I);

impl<I: Default> Pool<I> {
    /// One that was given back, or a new one.
    pub(super) fn take(&self) -> Taken<'_, I> {
        let items = self.0.lock();
        let item = items.unwrap_or_else(PoisonError::into_inner).pop();
        Taken(self, item.unwrap_or_default())
    }

    /// Drops all that were given back.
    pub(super) fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

impl<I: Default> Deref for Taken<'_, I> {
    type Target = I;

    fn deref(&self) -> &I {
        &self.1
    }
}

impl<I: Default> DerefMut for Taken<'_, I> {
    fn deref_mut(&mut self) -> &mut I {
        &mut self.1
    }
}

impl<I: Default> Drop for Taken<'_, I> {
    fn drop(&mut self) {
        let item = std::mem::take(&mut self.1);
        let items = self.0.0.lock();
        items.unwrap_or_else(PoisonError::into_inner).push(item);
    }
}

/// The largest finite value of IEEE 754 binary16.
const F16_MAX: f64 = 65_504.0;

use std::marker::PhantomData;

use equicrypt_machine::Lines;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::memory::Aligned;
use super::panel_matrix::Lanes;
use super::panels::{PANEL_VECTORS, Panels, Product, Strided, multiply};
use super::{Matrix, Real};
use crate::Error;

/// W and b of y = x W^T + b, laid out for products with many rows; see [`Panels`]. Always in full: many rows are bound by
/// arithmetic, not by the memory.
pub(crate) struct Packed<T> {
    /// The instructions whose registers the panels are made for.
    arch: Arch,
    inputs: usize,
    outputs: usize,
    values: Aligned<T>,
    /// As wide as whole panels.
    bias: Vec<T>,
}

impl<T: Real> Packed<T> {
    /// None if the bias has another length than y.
    pub(crate) fn new(weight: &Matrix<T>, bias: Option<&[T]>) -> Option<Self> {
        Self::new_for(Arch::new(), weight, bias)
    }

    fn new_for(arch: Arch, weight: &Matrix<T>, bias: Option<&[T]>) -> Option<Self> {
        let (inputs, outputs) = (weight.columns(), weight.rows());
        let lanes = arch.dispatch(Lanes::<T>(PhantomData));
        let panel = PANEL_VECTORS * lanes;
        let width = outputs.next_multiple_of(lanes);
        let mut padded = vec![T::zero(); width];
        if let Some(bias) = bias {
            if bias.len() != outputs {
                return None;
            }
            padded[..outputs].copy_from_slice(bias);
        }
        let mut values = Aligned::new(width * inputs);
        values
            .values_mut()
            .par_chunks_mut(panel * inputs)
            .enumerate()
            .for_each(|(index, values)| {
                let (first, step) = (index * panel, values.len() / inputs);
                let mut row = Vec::with_capacity(inputs);
                for output in first..outputs.min(first + step) {
                    row.clear();
                    weight.append_row(output, &mut row);
                    let places = values[output - first..].iter_mut().step_by(step);
                    for (to, from) in places.zip(&row) {
                        *to = *from;
                    }
                }
            });
        Some(Self {
            arch,
            inputs,
            outputs,
            values,
            bias: padded,
        })
    }

    /// Numbers in y.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// y = x W^T + b on this thread alone, with x `[n, inputs]` and y `[n, outputs]`; or y += x W^T + b.
    pub(crate) fn apply(&self, x: &[T], y: &mut [T], adds: bool) {
        self.arch.dispatch(Apply {
            packed: self,
            x,
            y,
            adds,
        });
    }

    /// y = x W^T + b on all cores.
    pub(crate) fn apply_to_all(&self, x: &[T]) -> Result<Vec<T>, Error> {
        if !x.len().is_multiple_of(self.inputs) {
            return Err(Error::LinearInput {
                expected: self.inputs,
                found: x.len(),
            });
        }
        let rows = x.len() / self.inputs;
        let mut y = vec![T::zero(); rows * self.outputs];
        let block = block_rows(rows);
        let blocks = y.par_chunks_mut(block * self.outputs);
        blocks
            .zip(x.par_chunks(block * self.inputs))
            .for_each(|(y, x)| self.apply(x, y, false));
        Ok(y)
    }
}

/// How many rows one thread computes at a time: so few that all have something to do, so many that a panel of weights is
/// worth fetching, and no more than the second-level cache holds.
pub(crate) fn block_rows(rows: usize) -> usize {
    let share = rows.div_ceil(2 * rayon::current_num_threads());
    share.next_multiple_of(8).clamp(16, 64)
}

struct Apply<'a, T> {
    packed: &'a Packed<T>,
    x: &'a [T],
    y: &'a mut [T],
    adds: bool,
}

impl<T: Real> WithSimd for Apply<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Packed {
            inputs, outputs, ..
        } = *self.packed;
        multiply(
            simd,
            Product {
                x: Strided {
                    values: self.x,
                    stride: inputs,
                    rows: self.x.len() / inputs,
                },
                panels: Panels {
                    values: self.packed.values.values(),
                    depth: inputs,
                    width: outputs,
                },
                inputs: 0..inputs,
                outputs: 0..outputs,
                bias: Some(&self.packed.bias),
                y: self.y,
                y_stride: outputs,
                adds: self.adds,
                continues: false,
                next: Lines::none(),
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Numbers, Storage};

    fn values(len: usize, seed: u64) -> Vec<f64> {
        (0..len as u64)
            .map(|i| ((i * 7919 + seed * 104_729) % 1009) as f64 / 1009.0 - 0.5)
            .collect()
    }

    fn packed(outputs: usize, inputs: usize, bias: Option<&[f64]>) -> Packed<f64> {
        let weight = Numbers::new(values(outputs * inputs, 2));
        Packed::new(
            &Matrix::new(outputs, inputs, weight, Storage::Exact).unwrap(),
            bias,
        )
        .unwrap()
    }

    #[test]
    fn products_are_right_at_every_edge_of_the_tiles() {
        for (rows, inputs, outputs) in [
            (1, 1, 1),
            (2, 8, 5),
            (3, 17, 24),
            (7, 33, 25),
            (8, 64, 48),
            (9, 5, 49),
            (23, 57, 130),
            (70, 3, 7),
        ] {
            let (x, w) = (values(rows * inputs, 1), values(outputs * inputs, 2));
            let bias = values(outputs, 3);
            let packed = packed(outputs, inputs, Some(&bias));
            let once = packed.apply_to_all(&x).unwrap();
            let mut twice = once.clone();
            packed.apply(&x, &mut twice, true);
            for (r, x) in x.chunks(inputs).enumerate() {
                for (o, w) in w.chunks(inputs).enumerate() {
                    let product: f64 = x.iter().zip(w).map(|(x, w)| x * w).sum();
                    let (expected, place) = (product + bias[o], r * outputs + o);
                    assert!((once[place] - expected).abs() < 1e-12);
                    assert!((twice[place] - 2.0 * expected).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn a_row_gets_the_same_bits_in_any_company() {
        let (rows, inputs, outputs) = (15, 75, 50);
        let packed = packed(outputs, inputs, None);
        let x = values(rows * inputs, 3);
        let together = packed.apply_to_all(&x).unwrap();
        for (x, together) in x.chunks(inputs).zip(together.chunks(outputs)) {
            assert_eq!(packed.apply_to_all(x).unwrap(), together);
        }
    }

    #[test]
    fn every_instruction_set_agrees() {
        let mut archs = vec![Arch::Scalar];
        #[cfg(target_arch = "x86_64")]
        archs.extend(pulp::x86::V3::try_new().map(Arch::V3));
        let (rows, inputs, outputs) = (15, 43, 77);
        let (x, bias) = (values(rows * inputs, 5), values(outputs, 6));
        let weight = Numbers::new(values(outputs * inputs, 2));
        let weight = Matrix::new(outputs, inputs, weight, Storage::Exact).unwrap();
        let packed = Packed::new(&weight, Some(&bias)).unwrap();
        let expected = packed.apply_to_all(&x).unwrap();
        for arch in archs {
            let packed = Packed::new_for(arch, &weight, Some(&bias)).unwrap();
            for (found, expected) in packed.apply_to_all(&x).unwrap().iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-12, "{arch:?}");
            }
        }
    }

    #[test]
    fn wrong_sizes_are_refused() {
        let weight = Matrix::new(2, 3, Numbers::new(vec![0.0; 6]), Storage::Exact).unwrap();
        assert!(Packed::new(&weight, Some(&[0.0; 3])).is_none());
        let packed = Packed::new(&weight, None).unwrap();
        assert!(packed.apply_to_all(&[0.0; 4]).is_err());
    }
}

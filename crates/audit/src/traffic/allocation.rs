//! How many homophones a plain id gets.

/// A public rule that shares extra cipher ids out among plain ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    /// Each next one to the id with the largest p_i / m_i: all homophones become equally frequent.
    Proportional,
    /// Each next one to the id with the largest sqrt(p_i) / m_i.
    SquareRoot,
}

/// m_i >= 1 for every plain id, with `extra` more than one each in all.
///
/// The largest quotients get them one by one (D'Hondt), so that m_i is proportional to p_i or to its root as far as whole
/// numbers allow.
#[must_use]
pub fn allocate(counts: &[u32], extra: usize, rule: Allocation) -> Vec<u32> {
    let weight = |count: u32| match rule {
        Allocation::Proportional => f64::from(count),
        Allocation::SquareRoot => f64::from(count).sqrt(),
    };
    let mut homophones = vec![1u32; counts.len()];
    let mut queue: std::collections::BinaryHeap<Quotient> = (0u32..)
        .zip(counts)
        .filter(|(_, count)| **count > 0)
        .map(|(id, count)| Quotient {
            value: weight(*count),
            id,
        })
        .collect();
    for _ in 0..extra {
        let Some(largest) = queue.pop() else {
            break;
        };
        let id = largest.id as usize;
        homophones[id] += 1;
        queue.push(Quotient {
            value: weight(counts[id]) / f64::from(homophones[id]),
            id: largest.id,
        });
    }
    homophones
}

#[derive(PartialEq)]
struct Quotient {
    value: f64,
    id: u32,
}

impl Eq for Quotient {}

impl Ord for Quotient {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let values = self.value.total_cmp(&other.value);
        values.then(other.id.cmp(&self.id))
    }
}

impl PartialOrd for Quotient {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_extra_ids_go_to_what_is_frequent() {
        let counts = [100, 50, 10, 0];
        assert_eq!(allocate(&counts, 0, Allocation::Proportional), [1; 4]);
        assert_eq!(
            allocate(&counts, 13, Allocation::Proportional),
            [10, 5, 1, 1]
        );
        let root = allocate(&counts, 13, Allocation::SquareRoot);
        assert_eq!(root.iter().sum::<u32>(), 17);
        assert!(root[0] > root[1] && root[1] > root[2] && root[2] > 1 && root[3] == 1);
    }
}

//! The plate: how warm it is at first, and what a step makes of it.

/// The share of a difference in temperature that flows to a neighbour in a step. From a quarter on it would oscillate.
const FLOW: f64 = 0.2;

/// Discs along each side of the plate.
const DISCS: usize = 9;

/// The temperatures at first, from 0 to 1, row by row: a cold plate with warm discs, and one warm edge.
pub(crate) fn start(size: usize) -> Vec<f64> {
    let at = |i: usize| (i as f64 + 0.5) / size as f64 * DISCS as f64;
    let mut field = vec![0.0; size * size];
    for (y, row) in field.chunks_exact_mut(size).enumerate() {
        for (x, point) in row.iter_mut().enumerate() {
            let (disc_x, disc_y) = (at(x).floor(), at(y).floor());
            let away = (at(x) - disc_x - 0.5).hypot(at(y) - disc_y - 0.5);
            // Warm to a degree that follows no simple order.
            let warmth = ((disc_x * 7.0 + disc_y * 11.0 + disc_x * disc_y * 3.0) % 10.0 + 1.0) / 10.0;
            *point = if x == 0 || away < 0.1 + 0.3 * warmth { if x == 0 { 1.0 } else { warmth } } else { 0.0 };
        }
    }
    field
}

/// The next temperatures of a row, from its own and those of the rows above and below it: the explicit five-point
/// scheme. The ends of the row keep theirs.
pub(crate) fn step_row(above: &[f64], row: &[f64], below: &[f64], new: &mut [f64]) {
    let inner = 1..row.len() - 1;
    new[0] = row[0];
    new[inner.end] = row[inner.end];
    let vertical = above[inner.clone()].iter().zip(&below[inner.clone()]);
    for ((new, near), (above, below)) in new[inner].iter_mut().zip(row.windows(3)).zip(vertical) {
        let &[left, here, right] = near else { unreachable!("windows of three") };
        *new = here + FLOW * (above + below + left + right - 4.0 * here);
    }
}

/// One process, private memory: what the others are compared with.
pub(crate) fn simulate(start: &[f64], size: usize, steps: u64, mut progress: impl FnMut(f64)) -> Vec<f64> {
    let (mut old, mut new) = (start.to_vec(), start.to_vec());
    for step in 0..steps {
        for y in 1..size - 1 {
            let row = |y: usize| &old[y * size..(y + 1) * size];
            step_row(row(y - 1), row(y), row(y + 1), &mut new[y * size..(y + 1) * size]);
        }
        (old, new) = (new, old);
        progress((step + 1) as f64 / steps as f64);
    }
    old
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_flows_to_all_four_neighbours() {
        let mut field = vec![0.0; 25];
        field[12] = 1.0;
        let after = simulate(&field, 5, 1, |_| {});
        assert_eq!([after[7], after[11], after[13], after[17]], [FLOW; 4]);
        assert_eq!(after[12], 1.0 - 4.0 * FLOW);
        assert!((after.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn edges_keep_their_temperature_and_an_even_slope_stays() {
        let slope: Vec<f64> = (0..64).map(|i| (i % 8) as f64).collect();
        assert_eq!(simulate(&slope, 8, 100, |_| {}), slope);
        let warm = start(16);
        let after = simulate(&warm, 16, 50, |_| {});
        assert_eq!((&after[..16], &after[240..]), (&warm[..16], &warm[240..]));
        assert!(after.iter().all(|t| (0.0..=1.0).contains(t)));
    }
}

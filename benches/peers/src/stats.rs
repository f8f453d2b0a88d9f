//! Medians and quartiles.

/// The middle of some numbers, and where a quarter of them is below and above. Of none: `None`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Spread {
    /// Infinite ones are allowed: what never came.
    pub(crate) fn of(numbers: &[f64]) -> Option<Self> {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (first, last) = (*sorted.first()?, sorted.len() - 1);
        let at = |part: f64| {
            let place = part * last as f64;
            let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            // Not by their difference if one is infinite.
            if below == above { below } else { below + (above - below) * place.fract() }
        };
        debug_assert!(!first.is_nan());
        Some(Self { low: at(0.25), median: at(0.5), high: at(0.75) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_quarters() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[3.0]), Some(Spread { low: 3.0, median: 3.0, high: 3.0 }));
        assert_eq!(Spread::of(&[5.0, 1.0, 4.0, 2.0, 3.0]), Some(Spread { low: 2.0, median: 3.0, high: 4.0 }));
        assert_eq!(Spread::of(&[2.0, 1.0]).map(|spread| spread.median), Some(1.5));
    }

    #[test]
    fn never_is_a_number() {
        let never = f64::INFINITY;
        assert_eq!(Spread::of(&[never, never]), Some(Spread { low: never, median: never, high: never }));
        assert_eq!(Spread::of(&[1.0, never, 1.0]).map(|spread| spread.median), Some(1.0));
    }
}

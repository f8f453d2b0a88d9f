//! Primes: counted one by one, in ranges; and, to check that, all at once by another method.

use std::ops::Range;

/// Numbers that are looked at together: a byte for each odd one, so that they stay in the cache.
const SEGMENT: u64 = 1 << 18;

/// The sieve of Eratosthenes, in segments.
pub(crate) struct Sieve {
    /// The odd primes that strike out all others.
    primes: Vec<u64>,
    is_struck: Vec<bool>,
}

impl Sieve {
    /// For numbers below `end`.
    pub(crate) fn new(end: u64) -> Self {
        let most = end.isqrt() as usize;
        let mut is_struck = vec![false; most + 1];
        let mut primes = Vec::new();
        for n in (3..=most).step_by(2) {
            if !is_struck[n] {
                primes.push(n as u64);
                (n * n..=most).step_by(n).for_each(|multiple| is_struck[multiple] = true);
            }
        }
        Self { primes, is_struck: Vec::new() }
    }

    /// How many primes there are in a range.
    pub(crate) fn count(&mut self, range: Range<u64>) -> u64 {
        let starts = range.clone().step_by(SEGMENT as usize);
        starts.map(|start| self.count_segment(start..range.end.min(start + SEGMENT))).sum()
    }

    fn count_segment(&mut self, Range { start, end }: Range<u64>) -> u64 {
        let first_odd = (start | 1).max(3);
        let odds = end.saturating_sub(first_odd).div_ceil(2) as usize;
        self.is_struck.clear();
        self.is_struck.resize(odds, false);
        for prime in self.primes.iter().copied().take_while(|prime| prime * prime < end) {
            // Odd multiples, from the square on: smaller ones have a smaller factor.
            let multiple = prime * (first_odd.div_ceil(prime) | 1).max(prime);
            let place = ((multiple - first_odd) / 2) as usize;
            self.is_struck.iter_mut().skip(place).step_by(prime as usize).for_each(|is_struck| *is_struck = true);
        }
        let odd_primes = self.is_struck.iter().filter(|is_struck| !**is_struck).count();
        odd_primes as u64 + u64::from((start..end).contains(&2))
    }
}

/// How many primes there are below a number, without looking for them: of all numbers up to each `end / i` those are left
/// out that a prime divides, one prime after the other (the method of Legendre and Meissel, as "Lucy Hedgehog" has it).
pub(crate) fn count_below(end: u64) -> u64 {
    let last = end.saturating_sub(1);
    let root = last.isqrt();
    // How many numbers are left from 2 up to i, and up to last / i.
    let mut up_to: Vec<_> = (0..=root).map(|i| i.saturating_sub(1)).collect();
    let mut up_to_part: Vec<_> = (0..=root).map(|i| last.checked_div(i).map_or(0, |part| part - 1)).collect();
    for prime in 2..=root {
        let smaller = up_to[prime as usize - 1];
        if up_to[prime as usize] == smaller {
            continue; // It is none.
        }
        for i in 1..=root.min(last / (prime * prime)) {
            let multiple = i * prime;
            let left = if multiple <= root { up_to_part[multiple as usize] } else { up_to[(last / multiple) as usize] };
            up_to_part[i as usize] -= left - smaller;
        }
        for i in (prime * prime..=root).rev() {
            up_to[i as usize] -= up_to[(i / prime) as usize] - smaller;
        }
    }
    up_to_part.get(1).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_prime(n: u64) -> bool {
        n > 1 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
    }

    #[test]
    fn both_methods_agree_with_division() {
        let mut count = 0;
        for end in 0..2000 {
            assert_eq!((Sieve::new(end).count(0..end), count_below(end)), (count, count), "below {end}");
            count += u64::from(is_prime(end));
        }
    }

    #[test]
    fn ranges_add_up() {
        let end = 10_000_000;
        let mut sieve = Sieve::new(end);
        for step in [1 << 16, 999_983, SEGMENT + 1] {
            let starts = (0..end).step_by(step as usize);
            assert_eq!(starts.map(|start| sieve.count(start..end.min(start + step))).sum::<u64>(), 664_579);
        }
        assert_eq!(count_below(end), 664_579);
        assert_eq!(count_below(10_000_000_000), 455_052_511);
    }
}

//! Chance, of this room. In its tests it can be the same in each run: a case that fails is then a case that can be tried
//! again.

/// At least 0 and less than 1.
pub(super) fn fraction() -> f64 {
    #[cfg(test)]
    if let Some(fraction) = seeded::draw() {
        return fraction;
    }
    rand::random()
}

/// Any number: in names, so that two are hardly ever the same.
pub(super) fn number() -> u32 {
    #[cfg(test)]
    if let Some(number) = seeded::draw() {
        return number;
    }
    rand::random()
}

#[cfg(test)]
pub(super) mod seeded {
    use std::cell::RefCell;

    use rand::distr::{Distribution, StandardUniform};
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    thread_local! {
        static SOURCE: RefCell<Option<StdRng>> = const { RefCell::new(None) };
    }

    /// From now on this decides on this thread.
    pub(in crate::engine) fn set(seed: u64) {
        SOURCE.set(Some(StdRng::seed_from_u64(seed)));
    }

    pub(super) fn draw<T>() -> Option<T>
    where
        StandardUniform: Distribution<T>,
    {
        SOURCE.with_borrow_mut(|source| source.as_mut().map(Rng::random))
    }
}

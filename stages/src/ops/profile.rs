//! How long operators take, for who brings a clock: nothing in this package reads one.

use std::collections::BTreeMap;

use candle_core::Device;

/// Returns nanoseconds since some moment.
pub type Clock = fn() -> u64;

/// What an operator is called, and how many products it adds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Work {
    name: &'static str,
    /// Rows and columns of the kernel, where there is one.
    kernel: Option<[usize; 2]>,
    forward: u64,
    backward: u64,
}

impl Work {
    /// Names an operator whose products are not worth counting.
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, kernel: None, forward: 0, backward: 0 }
    }

    /// Names an operator that adds up so many products, and on the way back as many for each of its
    /// gradients.
    pub(super) fn of_products(
        name: &'static str,
        kernel: Option<[usize; 2]>,
        products: usize,
        gradients: usize,
    ) -> Self {
        let products = products as u64;
        Self { name, kernel, forward: products, backward: products * gradients as u64 }
    }
}

/// How long all operators of one kind took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Nanoseconds on the way to the result.
    pub forward: u64,
    /// Nanoseconds on the way back.
    pub backward: u64,
    /// Products that were added up, both ways.
    pub products: u64,
}

/// Time by operator, e.g. `convolution 3x3`.
pub type Profile = BTreeMap<String, Share>;

/// Measures one operator after another.
pub(super) struct Stopwatch {
    clock: Clock,
    /// Waited for before the clock is read: a GPU works on after an operator has returned.
    device: Device,
    last: u64,
    profile: Profile,
}

impl Stopwatch {
    pub(super) fn start(clock: Clock, device: &Device) -> Self {
        let mut watch = Self { clock, device: device.clone(), last: 0, profile: Profile::new() };
        watch.skip();
        watch
    }

    fn now(&self) -> u64 {
        // a device that has failed says so at the next operator
        let _ = self.device.synchronize();
        (self.clock)()
    }

    /// Starts over, so that what was done since the last operator belongs to none.
    pub(super) fn skip(&mut self) {
        self.last = self.now();
    }

    /// Gives an operator the time since the one before it.
    pub(super) fn lap(&mut self, work: Work, back: bool) {
        let now = self.now();
        let name = match work.kernel {
            None => work.name.to_owned(),
            Some([rows, columns]) => format!("{} {rows}x{columns}", work.name),
        };
        let share = self.profile.entry(name).or_default();
        let passed = now.saturating_sub(self.last);
        if back {
            share.backward += passed;
            share.products += work.backward;
        } else {
            share.forward += passed;
            share.products += work.forward;
        }
        self.last = now;
    }

    pub(super) fn finish(self) -> Profile {
        self.profile
    }
}

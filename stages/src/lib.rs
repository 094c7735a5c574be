//! What can be done: every kind of stage, and the training kernels below them.

mod change;
mod choices;
pub mod context;
pub mod device;
mod device_checks;
mod kind;
pub mod kinds;
pub mod workload;

mod augment;
mod crc32c;
mod data;
#[cfg(test)]
mod golden;
mod layers;
mod loss;
#[cfg(test)]
mod matching;
mod metric;
mod model;
mod moment;
mod number;
mod ops;
mod optim;
mod rng;
mod schedule;
mod synthesis;
mod tensorboard;
mod training;
mod weights;

pub use context::{Context, DeviceChoice, Earlier, Report};
pub use kind::{Arity, Complaint, DynStage, Input, Kind, Pool, Read, Source, Stage};
pub use ops::{Clock, Parity, Profile, Share, Verdict};

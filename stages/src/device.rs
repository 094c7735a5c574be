//! Where a stage computes: which device a choice means on this machine, and opening it.

use anyhow::Context as _;
use candle_core::Device;

use crate::context::DeviceChoice;

/// What a [`DeviceChoice`] means on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// Never [`DeviceChoice::Auto`].
    pub device: DeviceChoice,
    /// Why a program that could use a GPU will not, in one line.
    pub notice: Option<String>,
}

/// Finds out which device a choice means, without opening it.
///
/// # Errors
///
/// When a GPU is asked for and cannot be had; says what would be right.
pub fn probe(choice: DeviceChoice) -> Result<Probed, String> {
    resolve(choice, cfg!(feature = "cuda"), count_gpus)
}

fn resolve(
    choice: DeviceChoice,
    built_for_gpu: bool,
    count: impl FnOnce() -> Result<usize, String>,
) -> Result<Probed, String> {
    let on_cpu = |notice| Ok(Probed { device: DeviceChoice::Cpu, notice });
    match choice {
        DeviceChoice::Cpu => on_cpu(None),
        DeviceChoice::Auto if !built_for_gpu => on_cpu(None),
        DeviceChoice::Auto => match count() {
            Ok(0) => on_cpu(Some("no GPU found: running on the CPU".to_owned())),
            Ok(_) => Ok(Probed { device: DeviceChoice::Cuda(0), notice: None }),
            Err(error) => on_cpu(Some(format!("{error}: running on the CPU"))),
        },
        DeviceChoice::Cuda(_) if !built_for_gpu => Err(format!(
            "device {choice}: this pipe was built without CUDA; build it with `--features cuda`, \
             or use `--device auto`"
        )),
        DeviceChoice::Cuda(number) => match count() {
            Ok(found) if number < found => Ok(Probed { device: choice, notice: None }),
            Ok(0) => Err(format!("device {choice}: no GPU found; `--device auto` uses the CPU")),
            Ok(found) => Err(format!("device {choice}: the GPUs here are 0 to {}", found - 1)),
            Err(error) => Err(format!("device {choice}: {error}; `--device auto` uses the CPU")),
        },
    }
}

/// Opens the device that a choice means, for a stage to compute on.
///
/// # Errors
///
/// When it cannot be opened.
pub fn open(choice: DeviceChoice) -> anyhow::Result<Device> {
    match probe(choice).map_err(anyhow::Error::msg)?.device {
        DeviceChoice::Cuda(number) => open_gpu(number),
        DeviceChoice::Cpu | DeviceChoice::Auto => Ok(Device::Cpu),
    }
}

#[cfg(feature = "cuda")]
fn open_gpu(number: usize) -> anyhow::Result<Device> {
    // A stream of its own: tensors that threads share would race on candle's stream per thread.
    let device = guarded(|| Device::new_cuda_with_stream(number))
        .map_err(anyhow::Error::msg)?
        .with_context(|| format!("cannot open GPU {number}"))?;
    crate::ops::prepare(&device).with_context(|| format!("cannot use GPU {number}"))?;
    Ok(device)
}

#[cfg(not(feature = "cuda"))]
fn open_gpu(number: usize) -> anyhow::Result<Device> {
    Device::new_cuda(number).with_context(|| format!("cannot open GPU {number}"))
}

#[cfg(feature = "cuda")]
fn count_gpus() -> Result<usize, String> {
    use candle_core::cuda_backend::cudarc::driver::{CudaContext, sys::cudaError_enum};
    match guarded(CudaContext::device_count)? {
        Ok(count) => Ok(usize::try_from(count).unwrap_or(0)),
        // how a driver says so
        Err(error) if error.0 == cudaError_enum::CUDA_ERROR_NO_DEVICE => Ok(0),
        Err(error) => Err(format!("the CUDA driver does not answer ({:?})", error.0)),
    }
}

#[cfg(not(feature = "cuda"))]
fn count_gpus() -> Result<usize, String> {
    Ok(0)
}

/// Calls into the driver, whose absence is a panic.
#[cfg(feature = "cuda")]
fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
    std::panic::set_hook(print);
    result.map_err(|_| "there is no CUDA driver".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(choice: &str, built: bool, gpus: Result<usize, &str>, expected: &str) {
        let found = resolve(choice.parse().unwrap(), built, || gpus.map_err(str::to_owned));
        let told = match found {
            Ok(Probed { device, notice }) => {
                notice.map_or(device.to_string(), |notice| format!("{device}; {notice}"))
            }
            Err(error) => format!("error: {error}"),
        };
        assert!(told.starts_with(expected), "{told}");
    }

    #[test]
    fn a_choice_is_resolved() {
        let none = Err("there is no CUDA driver");
        check("cpu", true, none, "cpu");
        check("auto", false, none, "cpu");
        check("auto", true, Ok(2), "cuda:0");
        check("auto", true, Ok(0), "cpu; no GPU found: running on the CPU");
        check("auto", true, none, "cpu; there is no CUDA driver: running on the CPU");
        check("cuda:1", true, Ok(2), "cuda:1");
        check("cuda:2", true, Ok(2), "error: device cuda:2: the GPUs here are 0 to 1");
        check("cuda", true, none, "error: device cuda:0: there is no CUDA driver");
        check("cuda", false, none, "error: device cuda:0: this pipe was built without CUDA");
    }

    #[test]
    fn the_cpu_opens_everywhere() {
        assert!(open(DeviceChoice::Cpu).unwrap().is_cpu());
    }
}

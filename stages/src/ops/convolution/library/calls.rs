//! The calls of cuDNN. Arrays are NHWC, f32 or bf16; sums are f32 in any case.
#![expect(unsafe_code, reason = "cuDNN is a library of C")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_void;
use std::ptr;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use candle_core::backend::BackendStorage as _;
use candle_core::cuda_backend::cudarc::cudnn::result::{self, CudnnError};
use candle_core::cuda_backend::cudarc::cudnn::sys;
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, DevicePtr, DevicePtrMut as _, DeviceRepr,
};
use candle_core::cuda_backend::{CudaDType, CudaDevice, CudaStorage, DeviceId};
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Shape, Tensor};
use half::bf16;

use super::described::Described;
use super::{Direction, Offer, Request, choose};
use crate::ops::convolution::geometry::Geometry;

/// Computes one direction from two arrays in cuDNN's layouts; nothing where it has no algorithm to be taken.
pub(super) fn run(
    geometry: &Geometry,
    direction: Direction,
    first: &Tensor,
    second: &Tensor,
) -> Result<Option<Tensor>> {
    let request = Request::new(geometry)?;
    let told = || format!("{} in {:?}, {}", direction.name(), first.dtype(), request.told());
    let device = first.device().as_cuda_device()?;
    let dtype = first.dtype();
    let chosen = with_library(device, |library| library.choice(request, direction, dtype));
    let Some(prepared) = chosen.with_context(told)? else { return Ok(None) };
    let call = Call { request, direction, prepared };
    let done = first.contiguous()?.apply_op2_no_bwd(&second.contiguous()?, &call);
    Ok(Some(done.with_context(told)?))
}

/// An algorithm of one direction.
#[derive(Clone, Copy, Debug)]
enum Algorithm {
    Forward(sys::cudnnConvolutionFwdAlgo_t),
    ByInput(sys::cudnnConvolutionBwdDataAlgo_t),
    ByWeight(sys::cudnnConvolutionBwdFilterAlgo_t),
}

/// What was chosen for a request, and the arithmetic that goes with it.
#[derive(Clone, Copy, Debug)]
struct Choice {
    algorithm: Algorithm,
    math: sys::cudnnMathType_t,
    scratch: usize,
}

/// How a request is answered: kept, because cuDNN is told of it anew at a price.
struct Prepared {
    described: Described,
    choice: Choice,
}

/// A handle of cuDNN for the stream of a device, with what all convolutions share.
struct Library {
    handle: sys::cudnnHandle_t,
    choices: HashMap<(Request, Direction, DType), Option<Rc<Prepared>>>,
    scratch: Option<CudaSlice<u8>>,
}

thread_local! {
    // a handle must not be used by two threads at once
    static LIBRARIES: RefCell<HashMap<DeviceId, Library>> = RefCell::new(HashMap::new());
}

fn with_library<R>(device: &CudaDevice, work: impl FnOnce(&mut Library) -> Result<R>) -> Result<R> {
    LIBRARIES.with_borrow_mut(|libraries| {
        let library = match libraries.entry(device.id()) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(closed) => closed.insert(Library::open(device)?),
        };
        work(library)
    })
}

impl Library {
    fn open(device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        stream.context().bind_to_thread().context("the GPU cannot be used from this thread")?;
        let handle = result::create_handle().context("cuDNN cannot be started")?;
        let library = Self { handle, choices: HashMap::new(), scratch: None };
        // SAFETY: the handle was just made, and the device keeps the stream as long as any tensor lives.
        unsafe { result::set_stream(handle, stream.cu_stream().cast()) }
            .context("cuDNN does not take the stream")?;
        Ok(library)
    }

    /// Returns the algorithm for a request; asks cuDNN the first time alone.
    fn choice(
        &mut self,
        request: Request,
        direction: Direction,
        dtype: DType,
    ) -> Result<Option<Rc<Prepared>>> {
        let key = (request, direction, dtype);
        if let Some(prepared) = self.choices.get(&key) {
            return Ok(prepared.clone());
        }
        let described = Described::new(&request, dtype)?;
        let choice = self.ask(&described, direction, dtype)?;
        match choice {
            Some(choice) => {
                tracing::debug!(?choice, ?dtype, "{}: {}", direction.name(), request.told())
            }
            None => tracing::warn!(
                "cuDNN has no algorithm that gives the same bytes each time for a {} in {dtype:?}, {}: it is \
                 composed of other operations, which is slow",
                direction.name(),
                request.told()
            ),
        }
        let prepared = choice.map(|choice| -> Result<_> {
            // SAFETY: the description was just made.
            unsafe { result::set_convolution_math_type(described.convolution.0, choice.math)? };
            Ok(Rc::new(Prepared { described, choice }))
        });
        let prepared = prepared.transpose()?;
        self.choices.insert(key, prepared.clone());
        Ok(prepared)
    }

    fn ask(
        &self,
        described: &Described,
        direction: Direction,
        dtype: DType,
    ) -> Result<Option<Choice>> {
        let Described { images, weight, output, convolution } = described;
        let (handle, images, output) = (self.handle, images.0, output.0);
        let (weight, convolution) = (weight.0, convolution.0);
        // in f32 cuDNN may otherwise round to 10 bits on its way (TF32), also with its default
        let plain = sys::cudnnMathType_t::CUDNN_FMA_MATH;
        let exact = |math| {
            dtype != DType::F32 || [plain, sys::cudnnMathType_t::CUDNN_DEFAULT_MATH].contains(&math)
        };
        let math = |given| if dtype == DType::F32 { plain } else { given };
        macro_rules! take {
            ($ask:ident, $variant:ident, $($description:expr),+) => {{
                const MOST: usize = 16;
                let mut count = 0;
                // SAFETY: plain numbers, for which zeros are valid.
                let mut found = unsafe { [std::mem::zeroed(); MOST] };
                // SAFETY: the descriptions live, and there is room for as many answers as are asked for.
                unsafe {
                    result::$ask(
                        handle, $($description),+, MOST as i32, &raw mut count, found.as_mut_ptr(),
                    )
                }
                .context("cuDNN names no algorithm")?;
                let found = &found[..usize::try_from(count).unwrap_or(0).min(MOST)];
                let offers: Vec<Offer> = found
                    .iter()
                    .map(|one| Offer {
                        works: one.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS,
                        repeats: one.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC,
                        exact: exact(one.mathType),
                        scratch: one.memory,
                    })
                    .collect();
                choose(&offers).map(|place| {
                    let one = &found[place];
                    let algorithm = Algorithm::$variant(one.algo);
                    Choice { algorithm, math: math(one.mathType), scratch: one.memory }
                })
            }};
        }
        Ok(match direction {
            Direction::Forward => take!(
                get_convolution_forward_algorithm,
                Forward,
                images,
                weight,
                convolution,
                output
            ),
            Direction::ByInput => take!(
                get_convolution_backward_data_algorithm,
                ByInput,
                weight,
                output,
                convolution,
                images
            ),
            Direction::ByWeight => take!(
                get_convolution_backward_filter_algorithm,
                ByWeight,
                images,
                output,
                convolution,
                weight
            ),
        })
    }

    /// Makes the shared scratch at least so large, and returns where it is.
    fn scratch(&mut self, device: &CudaDevice, length: usize) -> Result<&mut CudaSlice<u8>> {
        if self.scratch.as_ref().is_none_or(|scratch| scratch.len() < length.max(1)) {
            self.scratch = None; // given back first, so that both need not fit
            // SAFETY: scratch is written before it is read, by cuDNN.
            let scratch = unsafe { device.alloc::<u8>(length.max(1)) };
            self.scratch = Some(scratch.with_context(|| format!("{length} bytes of scratch"))?);
        }
        self.scratch.as_mut().context("it was made above")
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: nobody else has the handle. Where it fails nothing is left to be done.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

/// One convolution, or one of its gradients, as an operation of candle's.
struct Call {
    request: Request,
    direction: Direction,
    prepared: Rc<Prepared>,
}

impl CustomOp2 for Call {
    fn name(&self) -> &'static str {
        self.direction.name()
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        candle_core::bail!("cuDNN computes on a GPU alone")
    }

    fn cuda_fwd(
        &self,
        first: &CudaStorage,
        first_layout: &Layout,
        second: &CudaStorage,
        second_layout: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        let sides = [(first, first_layout), (second, second_layout)];
        let made = match first.dtype() {
            DType::BF16 => self.launch::<bf16>(sides),
            _ => self.launch::<f32>(sides),
        };
        // candle's errors hold one line
        let made = made.map_err(|error| candle_core::Error::Msg(format!("{error:#}")))?;
        Ok((made, Shape::from(self.request.result(self.direction).as_slice())))
    }
}

impl Call {
    fn launch<T: CudaDType + DeviceRepr>(
        &self,
        [(first, first_layout), (second, second_layout)]: [(&CudaStorage, &Layout); 2],
    ) -> Result<CudaStorage> {
        let device = first.device().clone();
        let stream = device.cuda_stream();
        let length: usize = self.request.result(self.direction).iter().product();
        // SAFETY: every number is written below, before anybody reads one.
        let mut output = unsafe { device.alloc::<T>(length)? };
        let view = |storage: &'_ CudaStorage, layout: &Layout| -> Result<_> {
            let (start, end) = layout.contiguous_offsets().context("it is not contiguous")?;
            let slice = storage.as_cuda_slice::<T>()?;
            let (pointer, guard) = slice.device_ptr(&stream);
            drop(guard); // all work is on one stream
            anyhow::ensure!(end <= slice.len(), "{end} of {} numbers", slice.len());
            Ok(pointer + (start * size_of::<T>()) as u64)
        };
        let (first, second) = (view(first, first_layout)?, view(second, second_layout)?);
        with_library(&device, |library| {
            let handle = library.handle;
            let scratch = library.scratch(&device, self.prepared.choice.scratch)?;
            let bytes = scratch.len();
            let (scratch, _scratch) = scratch.device_ptr_mut(&stream);
            let (result, _result) = output.device_ptr_mut(&stream);
            self.call(handle, [first, second, result], (scratch, bytes)).context("cuDNN refused it")
        })?;
        Ok(CudaStorage::wrap_cuda_slice(output, device))
    }

    fn call(
        &self,
        handle: sys::cudnnHandle_t,
        arrays: [u64; 3],
        (scratch, bytes): (u64, usize),
    ) -> Result<(), CudnnError> {
        // the result is one times what is computed, and nothing of what was there
        let (one, none) = (1_f32, 0_f32);
        let (one, none) = (ptr::from_ref(&one).cast(), ptr::from_ref(&none).cast());
        let Described { images, weight, output, convolution } = &self.prepared.described;
        let (images, weight, output) = (images.0, weight.0, output.0);
        let [first, second, result] = arrays.map(|address| address as *mut c_void);
        let scratch = scratch as *mut c_void;
        // SAFETY: the arrays are as long as the descriptions say, and live on the handle's stream until the
        // work is done; the scratch is as long as it is said to be.
        unsafe {
            match self.prepared.choice.algorithm {
                Algorithm::Forward(algorithm) => result::convolution_forward(
                    handle,
                    one,
                    images,
                    first,
                    weight,
                    second,
                    convolution.0,
                    algorithm,
                    scratch,
                    bytes,
                    none,
                    output,
                    result,
                ),
                Algorithm::ByInput(algorithm) => result::convolution_backward_data(
                    handle,
                    one,
                    weight,
                    first,
                    output,
                    second,
                    convolution.0,
                    algorithm,
                    scratch,
                    bytes,
                    none,
                    images,
                    result,
                ),
                Algorithm::ByWeight(algorithm) => result::convolution_backward_filter(
                    handle,
                    one,
                    images,
                    first,
                    output,
                    second,
                    convolution.0,
                    algorithm,
                    scratch,
                    bytes,
                    none,
                    weight,
                    result,
                ),
            }
        }
    }
}

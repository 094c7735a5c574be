//! A convolution described in the terms of cuDNN.
#![expect(unsafe_code, reason = "cuDNN is a library of C")]

use anyhow::Result;
use candle_core::DType;
use candle_core::cuda_backend::cudarc::cudnn::{result, sys};

use super::Request;

/// Descriptions in cuDNN's own memory, given back when dropped.
pub(super) struct Described {
    pub(super) images: Array,
    pub(super) weight: Filter,
    pub(super) output: Array,
    pub(super) convolution: Convolution,
}

pub(super) struct Array(pub(super) sys::cudnnTensorDescriptor_t);
pub(super) struct Filter(pub(super) sys::cudnnFilterDescriptor_t);
pub(super) struct Convolution(pub(super) sys::cudnnConvolutionDescriptor_t);

impl Described {
    pub(super) fn new(request: &Request, dtype: DType) -> Result<Self> {
        const LAYOUT: sys::cudnnTensorFormat_t = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;
        let kind = match dtype {
            DType::F32 => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
            DType::BF16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
            other => anyhow::bail!("a convolution on a GPU is of f32 or bf16, not {other:?}"),
        };
        let described = Self {
            images: Array(result::create_tensor_descriptor()?),
            weight: Filter(result::create_filter_descriptor()?),
            output: Array(result::create_tensor_descriptor()?),
            convolution: Convolution(result::create_convolution_descriptor()?),
        };
        let Self { images, weight, output, convolution } = &described;
        let Request { padding, stride, dilation, groups, .. } = *request;
        let math = match dtype {
            DType::F32 => sys::cudnnMathType_t::CUDNN_FMA_MATH,
            _ => sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
        };
        // SAFETY: all four were just made.
        unsafe {
            result::set_tensor4d_descriptor(images.0, LAYOUT, kind, request.images)?;
            result::set_filter4d_descriptor(weight.0, kind, LAYOUT, request.weight)?;
            result::set_tensor4d_descriptor(output.0, LAYOUT, kind, request.output)?;
            result::set_convolution2d_descriptor(
                convolution.0,
                padding[0],
                padding[1],
                stride[0],
                stride[1],
                dilation[0],
                dilation[1],
                sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION,
                sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
            )?;
            result::set_convolution_group_count(convolution.0, groups)?;
            result::set_convolution_math_type(convolution.0, math)?;
        }
        Ok(described)
    }
}

macro_rules! given_back {
    ($($kind:ident by $destroy:ident),+) => {$(
        impl Drop for $kind {
            fn drop(&mut self) {
                // SAFETY: it was made once and nobody else has it.
                let _ = unsafe { result::$destroy(self.0) };
            }
        }
    )+};
}
given_back! {
    Array by destroy_tensor_descriptor,
    Filter by destroy_filter_descriptor,
    Convolution by destroy_convolution_descriptor
}
